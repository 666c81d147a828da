"""Whether a run gives the same on any number of replicas and workers.

python -m benchmarks.invariance                # prints the table
python -m benchmarks.invariance --only masked  # the settings with that in their name
python -m benchmarks.invariance --write        # writes docs/invariance.md too

The exit code is 1 if any cell is beyond its tolerance.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.matrix.compare import Difference, difference
from benchmarks.matrix.measure import Result
from benchmarks.matrix.placements import PLACEMENTS, REFERENCE, results
from benchmarks.matrix.settings import ROUNDING, SETTINGS
from benchmarks.matrix.table import Cells, beyond, table
from benchmarks.report import machine

PAGE = Path(__file__).parents[1] / "docs" / "invariance.md"
STEPS = 50

_TOP = """# The invariance matrix

Each row is a way to train, each column a number of replicas (logical CPU devices) and workers (processes on one machine,
connected as several machines are). Every cell is the same run of {steps} batches of 16 digits, in the same order; its two
numbers say how far the final weights, and the metrics of an evaluation on 103 other digits, are from those of one device
without any distribution, and ✓ that both are within what the column "allowed" states.

```bash
python -m benchmarks.invariance
```

"""
_BOTTOM = """

- **Weights.** The largest difference of an element of a variable, divided by the largest absolute value in that variable;
  then the largest over all variables, moving statistics included, and over each replica's copy on each worker.
- **Metrics.** The largest difference of a metric, divided by its absolute value where that is more than 1: the loss, the
  accuracy, the accuracy of each of the ten classes, and a Keras AUC.
- **What is left is rounding.** A sum of 16 float32 numbers depends on their order in the last bit or two. On one device alone,
  with each batch summed in two halves (`gradient_accumulation=2`, batches of 8), the row "plain" differs by {plain}.
- **bfloat16** has 8 bits, and each replica rounds the gradient of its own share to them, so the row has a tolerance of its
  own. Again on one device alone, with each batch in two halves, the weights and metrics differ by {bfloat16}.

Measured in {seconds:.0f} seconds on {machine}.
"""


def measure(names: Sequence[str], steps: int = STEPS) -> tuple[Cells, dict[str, Difference]]:
    """Runs the settings everywhere, a placement at a time.

    Args:
      names: of the settings.
      steps: how many batches are trained on.

    Returns:
      The cells; and for the settings of which it is measured, what another rounding makes of them on one device.
    """
    halves = [name for name in ROUNDING if name.removesuffix(" in halves") in names]
    (reference,) = _measured("one device", REFERENCE, [*names, *halves], steps)
    cells = {}
    for title, placement in PLACEMENTS.items():
        found = _measured(title, placement, names, steps)
        cells[title] = {name: difference(reference[name], [each[name] for each in found]) for name in names}
    alone = {name.removesuffix(" in halves"): reference[name] for name in halves}
    return cells, {name: difference(reference[name], [result]) for name, result in alone.items()}


def _measured(title: str, placement, names: Sequence[str], steps: int) -> list[dict[str, Result]]:
    started = time.monotonic()
    found = results(placement, names, steps)
    print(f"{title}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    return found


def page(cells: Cells, rounding: dict[str, Difference], seconds: float) -> str:
    """The page of the docs."""
    alone = {name: f"{found.weights:.1e} and {found.metrics:.1e}" for name, found in rounding.items()}
    return _TOP.format(steps=STEPS) + table(cells) + _BOTTOM.format(**alone, seconds=seconds, machine=machine())


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.invariance", description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="the settings whose names have it")
    parser.add_argument("--write", action="store_true", help=f"write docs/{PAGE.name} too")
    chosen = parser.parse_args(arguments)
    if chosen.only and chosen.write:
        parser.error("--write is for the whole table: leave out --only")
    names = [name for name in SETTINGS if not chosen.only or any(text in name for text in chosen.only)]
    if not names:
        parser.error(f"no setting has {' or '.join(chosen.only)} in its name")
    return _report(names, chosen.write)


def _report(names: list[str], write: bool) -> int:
    started = time.monotonic()
    cells, rounding = measure(names)
    print(table(cells))
    if write:
        PAGE.write_text(page(cells, rounding, time.monotonic() - started), encoding="utf-8")
    wrong = beyond(cells)
    if wrong:
        print(f"Beyond the tolerance: {', '.join(wrong)}.", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
