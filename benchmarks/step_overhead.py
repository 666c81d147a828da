"""What the Trainer costs, beside loops that are written by hand and beside other frameworks.

python -m benchmarks.step_overhead                      # prints the table
python -m benchmarks.step_overhead --only "2 replicas"  # the rows with that in their name
python -m benchmarks.step_overhead --write              # writes docs/step_overhead.md too

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

from benchmarks.goals import Command, Measured, Row, figures
from benchmarks.overhead import other_frameworks, peers
from benchmarks.overhead.by_hand import ByHand
from benchmarks.overhead.peers import LAP, ORBIT_LAP
from benchmarks.overhead.problem import Digits, Many
from benchmarks.paired import Calls, Contestant, Gated

ROUNDS = 60
LOOP = 50  # steps
_ABOUT = """Each row is the median, over the rounds, of the ratio of two times measured one right after the other, in one process.
All train an MLP 64-128-10 on scikit-learn's digits, global batch 64, by plain SGD. The **expert's loop** is a `tf.function` with
`tf.range` over `next()` of a distributed dataset, without metrics, logging or checkpoints. The **limit** is the same
step on one constant batch. The `Trainer` records 16 metrics and writes them every 100 steps. Replicas are logical devices of
the CPU.
"""


ONE, TWO, SINGLE, MANY = "1 replica", "2 replicas", "1 step a loop", "metrics"
ROWS = (
    Row(ONE, "Trainer / the expert's loop", "trainer", "expert", ("<=", 0.95)),
    Row(TWO, "Trainer / the expert's loop", "trainer", "expert", ("<=", 0.75)),
    Row(ONE, "Trainer with jit_compile / the expert's loop", "trainer jit", "expert", ("<=", 0.45)),
    Row(SINGLE, "Trainer / the expert's loop", "trainer", "expert", ("<=", 1.10)),
    Row(ONE, "Trainer / the limit", "trainer", "limit"),
    Row(ONE, "Trainer / the limit with the 16 metrics", "trainer", "limit with metrics"),
    Row(TWO, "Trainer / the limit", "trainer", "limit"),
    Row(MANY, "256 metrics / 16 metrics", "256", "16", ("<=", 1.25)),
    Row(SINGLE, "Keras fit with 2 metrics / Trainer", "fit", "trainer", (">=", 3)),
    Row(ONE, "Keras fit with 2 metrics, 50 steps an execution / Trainer", "fit", "trainer", (">=", 2.5)),
    Row(ONE, "the same, both with jit_compile", "fit jit", "trainer jit", (">=", 5)),
    Row(SINGLE, "Orbit's Controller / Trainer", "orbit", "trainer", (">=", 1.5)),
    Row(ONE, "strategy.reduce of each metric at each step / Trainer", "naive", "trainer"),
    Row(TWO, "strategy.reduce of each metric at each step / Trainer", "naive", "trainer"),
    Row(ONE, "Trainer with jit_compile / the same loop by hand", "trainer jit", "hand jit"),
    Row(ONE, "the same loop by hand / JAX's lax.scan with 16 metrics", "hand jit", "jax"),
    Row(ONE, "Keras fit with 2 metrics, 50 steps an execution / the limit", "fit", "limit"),
    Row(ONE, "Trainer with jit_compile / JAX's lax.scan with 16 metrics", "trainer jit", "jax", ("<=", 1.15)),
    Row(ONE, "PyTorch without metrics / Trainer with jit_compile", "torch", "trainer jit", (">=", 3)),
    Row(SINGLE, "Trainer - the limit", "trainer", "limit", ("<=", 100), "us", 0),
    Row(SINGLE, "the limit with the 16 metrics - the limit", "limit with metrics", "limit", None, "us", 0),
    Row(SINGLE, "Trainer - the limit with the 16 metrics", "trainer", "limit with metrics", None, "us", 0),
)


def contestants(group: str, folder: Path) -> dict[str, Contestant]:
    """Those of a group that can run here, by name."""
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
        "trainer": Gated(peers.trainer(folder / "run", strategy, steps, Digits()), LAP),
    }


def _recording(steps: int) -> dict[str, Contestant]:
    by_hand = ByHand(one_device(), steps, LAP // steps)
    return {"limit with metrics": Calls(by_hand.limit_with_metrics(), LAP)}


def _compiled(folder: Path) -> dict[str, Contestant | None]:
    return {
        "hand jit": Calls(ByHand(one_device(), LOOP, LAP // LOOP).compiled(), LAP),
        "trainer jit": Gated(peers.trainer(folder / "jit", one_device(), LOOP, Digits(), jit_compile=True), LAP),
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
    run = peers.trainer(folder / str(count), one_device(), LOOP, Many(count))
    return Gated(run, LAP)


def _optional(run: Callable[[], None] | None, steps: int = LAP) -> Contestant | None:
    return None if run is None else Calls(run, steps)


def measure(rows: Sequence[Row], rounds: int) -> Measured:
    """The figure of each row; None where a contestant is not installed."""
    two_cpus()
    with tempfile.TemporaryDirectory() as folder:
        return Measured(figures(rows, lambda group: contestants(group, Path(folder) / group), rounds))


def two_cpus() -> None:
    """Makes two logical devices of the CPU, for two replicas."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


COMMAND = Command(
    name="step_overhead",
    title="The cost of a step",
    about=__doc__.partition("python -m")[0] + _ABOUT,
    rows=ROWS,
    measure=measure,
    rounds=ROUNDS,
    a_round=f"laps of {LAP} steps each",
)


if __name__ == "__main__":
    sys.exit(COMMAND.run(sys.argv[1:]))
