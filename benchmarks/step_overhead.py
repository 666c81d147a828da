"""What the Trainer costs, beside loops that are written by hand and beside other frameworks.

python -m benchmarks.step_overhead                      # prints the table
python -m benchmarks.step_overhead --only "2 replicas"  # the rows with that in their name
python -m benchmarks.step_overhead --write              # writes docs/step_overhead.md too

The exit code is 1 if a goal is missed. JAX, PyTorch and Orbit (tf-models-official, with tf_keras) are measured where they are
installed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from tallyloop.trainer import mirrored, one_device

from benchmarks.overhead import other_frameworks, peers
from benchmarks.overhead.by_hand import ByHand
from benchmarks.overhead.peers import LAP, ORBIT_LAP
from benchmarks.overhead.problem import Digits, Many, input_with_values
from benchmarks.paired import Calls, Contestant, Gated, laps, ratio
from benchmarks.report import aligned

PAGE = Path(__file__).parents[1] / "docs" / "step_overhead.md"
ROUNDS = 60
LOOP = 50  # steps
MICROSECONDS = "us"


class Row(NamedTuple):
    """A line of the table: `one` / `other`, or with `unit` their difference, of the contestants of a group."""

    group: str
    title: str
    one: str
    other: str
    goal: tuple[str, float] | None = None
    unit: str = ""


ONE, TWO, SINGLE, MANY = "1 replica", "2 replicas", "1 step a loop", "metrics"
ROWS = (
    Row(ONE, "Trainer / the expert's loop", "trainer", "expert", ("<=", 0.95)),
    Row(TWO, "Trainer / the expert's loop", "trainer", "expert", ("<=", 0.75)),
    Row(ONE, "Trainer with jit_compile / the expert's loop", "trainer jit", "expert", ("<=", 0.45)),
    Row(SINGLE, "Trainer / the expert's loop", "trainer", "expert", ("<=", 1.10)),
    Row(ONE, "Trainer / the limit", "trainer", "limit"),
    Row(TWO, "Trainer / the limit", "trainer", "limit"),
    Row(MANY, "256 metrics / 16 metrics", "256", "16", ("<=", 1.25)),
    Row(SINGLE, "Keras fit with 2 metrics / Trainer", "fit", "trainer", (">=", 3)),
    Row(ONE, "Keras fit with 2 metrics, 50 steps an execution / Trainer", "fit", "trainer", (">=", 2.5)),
    Row(ONE, "the same, both with jit_compile", "fit jit", "trainer jit", (">=", 5)),
    Row(SINGLE, "Orbit's Controller / Trainer", "orbit", "trainer", (">=", 1.5)),
    Row(ONE, "strategy.reduce of each metric at each step / Trainer", "naive", "trainer"),
    Row(TWO, "strategy.reduce of each metric at each step / Trainer", "naive", "trainer"),
    Row(ONE, "Trainer with jit_compile / JAX's lax.scan with 16 metrics", "trainer jit", "jax", ("<=", 1.15)),
    Row(ONE, "PyTorch without metrics / Trainer with jit_compile", "torch", "trainer jit", (">=", 3)),
    Row(SINGLE, "Trainer - the limit, microseconds", "trainer", "limit", ("<=", 100), MICROSECONDS),
)


def contestants(group: str, folder: Path) -> dict[str, Contestant]:
    """Those of a group that can run here, by name."""
    made = {
        ONE: lambda: _in_loops(folder, one_device(), LOOP) | _compiled(folder),
        TWO: lambda: _in_loops(folder, mirrored(), LOOP),
        SINGLE: lambda: _in_loops(folder, one_device(), 1) | _by_single_steps(folder),
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


def _compiled(folder: Path) -> dict[str, Contestant | None]:
    return {
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
    run = peers.trainer(folder / str(count), one_device(), LOOP, Many(count), input_with_values())
    return Gated(run, LAP)


def _optional(run: Callable[[], None] | None, steps: int = LAP) -> Contestant | None:
    return None if run is None else Calls(run, steps)


def measure(rows: Sequence[Row], rounds: int) -> dict[Row, float | None]:
    """The figure of each row; None where a contestant is not installed."""
    figures: dict[Row, float | None] = {}
    for group in dict.fromkeys(row.group for row in rows):
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            times = laps(contestants(group, Path(folder)), rounds)
        print(f"{group}: {time.monotonic() - started:.0f} s; {_medians(times)}", file=sys.stderr, flush=True)
        figures |= {row: _figure(row, times) for row in rows if row.group == group}
    return {row: figures[row] for row in rows}


def _medians(times: Mapping[str, list[float]]) -> str:
    return ", ".join(f"{name} {median(each) * 1e6:.0f} us" for name, each in times.items())


def _figure(row: Row, times: Mapping[str, list[float]]) -> float | None:
    if row.one not in times or row.other not in times:
        return None
    if row.unit == MICROSECONDS:
        return 1e6 * median(a - b for a, b in zip(times[row.one], times[row.other], strict=True))
    return ratio(times, row.one, row.other)


def missed(row: Row, figure: float | None) -> bool:
    """Whether a figure is beyond its goal."""
    if row.goal is None or figure is None:
        return False
    sign, limit = row.goal
    return figure > limit if sign == "<=" else figure < limit


def table(figures: Mapping[Row, float | None]) -> str:
    """A line a row."""
    lines = [["where", "what", "measured", "goal", ""]]
    for row, figure in figures.items():
        shown = "not installed" if figure is None else f"{figure:.0f} us" if row.unit else f"{figure:.2f}"
        goal = "reported" if row.goal is None else f"{row.goal[0]} {row.goal[1]:g} {row.unit}".strip()
        lines.append([row.group, row.title, shown, goal, "✗" if missed(row, figure) else ""])
    return "\n".join(aligned(lines))


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step_overhead", description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="the rows whose names have it")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"laps of {LAP} steps each ({ROUNDS})")
    parser.add_argument("--write", action="store_true", help=f"write docs/{PAGE.name} too")
    chosen = parser.parse_args(arguments)
    rows = [row for row in ROWS if not chosen.only or any(text in f"{row.group} {row.title}" for text in chosen.only)]
    two_cpus()
    figures = measure(rows, chosen.rounds)
    print(table(figures))
    return 1 if any(missed(*pair) for pair in figures.items()) else 0


def two_cpus() -> None:
    """Makes two logical devices of the CPU, for two replicas."""
    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
