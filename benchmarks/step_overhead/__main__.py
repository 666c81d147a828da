"""The cost of a step of the Trainer, beside handwritten loops, beside other frameworks, or beside another checkout.

python -m benchmarks.step_overhead                      # prints the table
python -m benchmarks.step_overhead --only "2 replicas"  # only rows whose name contains this
python -m benchmarks.step_overhead --write              # also writes docs/step_overhead.md
python -m benchmarks.step_overhead --against ../base    # this checkout beside another one, in one run

The exit code is 1 if a goal is missed. JAX, PyTorch and Orbit (tf-models-official, with tf_keras) are measured where they are
installed.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from tallyloop.trainer import mirrored, one_device

from ..harness.command import Command, Goal, Measured, Row, figures, rows_with
from ..harness.paired import Calls, Contestant, Gated
from ..harness.problem import Digits, Many
from . import against, other_frameworks, peers
from .by_hand import ByHand
from .peers import ORBIT_LAP
from .training import LAP, LOOP, by_trainer, make_two_devices

ONE, TWO, SINGLE, MANY = "1 replica", "2 replicas", "1 step per loop", "metrics"
ROWS = (
    Row(ONE, "Trainer / the expert's loop", "trainer", "expert", Goal("<=", 0.95)),
    Row(TWO, "Trainer / the expert's loop", "trainer", "expert", Goal("<=", 0.75)),
    Row(ONE, "Trainer with jit_compile / the expert's loop", "trainer jit", "expert", Goal("<=", 0.45)),
    Row(SINGLE, "Trainer / the expert's loop", "trainer", "expert", Goal("<=", 1.10)),
    Row(ONE, "Trainer / the limit", "trainer", "limit"),
    Row(ONE, "Trainer / the limit with the 16 metrics", "trainer", "limit with metrics"),
    Row(TWO, "Trainer / the limit", "trainer", "limit"),
    Row(MANY, "256 metrics / 16 metrics", "256", "16", Goal("<=", 1.25)),
    Row(SINGLE, "Keras fit with 2 metrics / Trainer", "fit", "trainer", Goal(">=", 3)),
    Row(ONE, "Keras fit with 2 metrics, 50 steps per execution / Trainer", "fit", "trainer"),
    Row(ONE, "the same, both with jit_compile", "fit jit", "trainer jit"),
    Row(SINGLE, "Orbit's Controller / Trainer", "orbit", "trainer", Goal(">=", 1.5)),
    Row(ONE, "strategy.reduce of each metric at each step / Trainer", "naive", "trainer"),
    Row(TWO, "strategy.reduce of each metric at each step / Trainer", "naive", "trainer"),
    Row(ONE, "Trainer with jit_compile / the same loop by hand", "trainer jit", "hand jit", Goal("<=", 1.10)),
    Row(ONE, "the same loop by hand / JAX's lax.scan with 16 metrics", "hand jit", "jax"),
    Row(ONE, "Keras fit with 2 metrics, 50 steps per execution / the limit", "fit", "limit"),
    Row(ONE, "Trainer with jit_compile / JAX's lax.scan with 16 metrics", "trainer jit", "jax", Goal("<=", 1.15)),
    Row(ONE, "PyTorch without metrics / Trainer with jit_compile", "torch", "trainer jit", Goal(">=", 3)),
    Row(SINGLE, "Trainer - the limit", "trainer", "limit", None, "us", 0),
    Row(SINGLE, "the limit with the 16 metrics - the limit", "limit with metrics", "limit", None, "us", 0),
    Row(SINGLE, "Trainer - the limit with the 16 metrics", "trainer", "limit with metrics", Goal("<=", 60), "us", 0),
)
ABOUT = """
Each figure is the median, over the rounds, of the ratio (or the difference) of two times measured one right after the other in
one process. All of them train an MLP 64-128-10 on scikit-learn's digits with plain SGD and a global batch of 64.

- **Trainer** records 16 metrics and writes them every 100 steps.
- **The expert's loop** is a `tf.function` with `tf.range` over `next()` of a distributed dataset, without metrics, logging or
  checkpoints.
- **The limit** is the same step on one constant batch.

Replicas are logical devices of the CPU.
"""


def contestants(group: str, folder: Path) -> dict[str, Contestant]:
    """Return the contestants of a group that can run here, by name."""
    made = {
        ONE: lambda: _in_loops(folder, one_device(), LOOP) | _recording(LOOP) | _compiled(folder),
        TWO: lambda: _in_loops(folder, mirrored(), LOOP),
        SINGLE: lambda: _in_loops(folder, one_device(), 1) | _recording(1) | _by_single_steps(folder),
        MANY: lambda: {str(count): _with_metrics(folder, count) for count in (16, 256)},
    }[group]()
    return {name: contestant for name, contestant in made.items() if contestant is not None}


def _in_loops(folder: Path, strategy: tf.distribute.Strategy, steps: int) -> dict[str, Contestant]:
    by_hand = ByHand(strategy, steps, LAP // steps)
    return {
        "expert": Calls(by_hand.expert(), LAP),
        "limit": Calls(by_hand.limit(), LAP),
        "naive": Calls(by_hand.naive(), LAP),
        "trainer": Gated(by_trainer(folder / "run", strategy, steps, Digits()), LAP),
    }


def _recording(steps: int) -> dict[str, Contestant]:
    by_hand = ByHand(one_device(), steps, LAP // steps)
    return {"limit with metrics": Calls(by_hand.limit_with_metrics(), LAP)}


def _compiled(folder: Path) -> dict[str, Contestant | None]:
    return {
        "hand jit": Calls(ByHand(one_device(), LOOP, LAP // LOOP).compiled(), LAP),
        "trainer jit": Gated(by_trainer(folder / "jit", one_device(), LOOP, Digits(), jit_compile=True), LAP),
        "fit": Gated(peers.fit(LOOP, False), LAP),
        "fit jit": Gated(peers.fit(LOOP, True), LAP),
        "jax": _optional(other_frameworks.jax_scan(LOOP, LAP // LOOP)),
        "torch": _optional(other_frameworks.torch_loop(LAP)),
    }


def _by_single_steps(folder: Path) -> dict[str, Contestant | None]:
    return {
        "fit": Gated(peers.fit(1, False), LAP),
        "orbit": _optional(peers.orbit(folder / "orbit", one_device()), ORBIT_LAP),
    }


def _with_metrics(folder: Path, count: int) -> Contestant:
    return Gated(by_trainer(folder / str(count), one_device(), LOOP, Many(count)), LAP)


def _optional(run: Callable[[], None] | None, steps: int = LAP) -> Contestant | None:
    return None if run is None else Calls(run, steps)


def measure(rows: Sequence[Row], rounds: int) -> Measured:
    """Measure the rows; the figure is None where a contestant is not installed."""
    make_two_devices()
    with tempfile.TemporaryDirectory() as folder:
        return Measured(figures(rows, lambda group: contestants(group, Path(folder) / group), rounds))


COMMAND = Command(
    name="step_overhead",
    title="The cost of a step",
    reader="users with short steps, and contributors who change the loop",
    shows="what a step of the `Trainer` costs beside handwritten loops and beside other frameworks",
    about=ABOUT,
    rows=ROWS,
    measure=measure,
    rounds=60,
    a_round=f"laps of {LAP} steps each",
)


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    parser = COMMAND.parser()
    parser.add_argument(
        "--against", type=Path, metavar="CHECKOUT", help="compare with the Trainer of another checkout; no page"
    )
    chosen = parser.parse_args(arguments)
    if chosen.against is None:
        return COMMAND.report(chosen, arguments)
    if chosen.write:
        parser.error("--write = True: expected False with --against, as the page has no such row; leave out --write")
    rows = rows_with(chosen.only, against.ROWS)
    return against.compare(chosen.against, rows, chosen.rounds) if rows else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
