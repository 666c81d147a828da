"""Whether a run gives the same result on any number of replicas and workers.

python -m benchmarks.invariance                # prints the table
python -m benchmarks.invariance --only masked  # only settings whose name contains this
python -m benchmarks.invariance --write        # also writes docs/invariance.md

The exit code is 1 if any cell is beyond its tolerance.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence

from ..harness.report import DOCS, aligned, machine, progress
from .compare import Difference, difference
from .measure import Result
from .placements import PLACEMENTS, REFERENCE, Placement, results
from .settings import ROUNDING, SETTINGS

PAGE = DOCS / "invariance.md"
STEPS = 50
Cells = Mapping[str, Mapping[str, Difference]]  # placement -> setting -> how far it is from one device

_TOP = """# The invariance matrix

For users who want to know whether they can trust a run on several devices: how far its weights and metrics are from those of a
run on one device.

Each row is a way to train, each column a number of replicas (logical CPU devices) and workers (processes on one machine,
connected as several machines are). Every cell is the same run of {steps} batches of 16 digits, in the same order. Its two numbers
are the distances of the final weights, and of the metrics of an evaluation on 103 other digits, from those of one device without
any distribution; ✓ means that both are within the column "allowed".

```bash
python -m benchmarks.invariance
```

"""
_BOTTOM = """

- **Weights.** The largest difference of an element of a variable, divided by the largest absolute value in that variable; then
  the largest over all variables, moving statistics included, and over each replica's copy on each worker.
- **Metrics.** The largest difference of a metric, divided by its absolute value if that is larger than 1. The metrics are the
  loss, the accuracy, the accuracy of each of the ten classes, and a Keras AUC.
- **The rest is rounding.** The last bit or two of a sum of 16 float32 numbers depend on their order. On one device, with each
  batch summed in two halves (`gradient_accumulation=2`, batches of 8), the row "plain" differs by {plain}.
- **bfloat16** has 8 bits of precision, and each replica rounds the gradient of its own share to them, so this row has its own
  tolerance. Again on one device, with each batch in two halves, the weights and metrics differ by {bfloat16}.

Measured in {seconds:.0f} seconds on {machine}.
"""


def measure(names: Sequence[str], steps: int = STEPS) -> tuple[Cells, dict[str, Difference]]:
    """Run the settings everywhere, one placement after the other.

    Args:
      names: of the settings.
      steps: batches to train on.

    Returns:
      The cells; and the differences that another order of rounding makes on one device, for the settings in `ROUNDING`.
    """
    halves = [name for name in ROUNDING if name.removesuffix(" in halves") in names]
    (reference,) = _measured("one device", REFERENCE, [*names, *halves], steps)
    cells = {}
    for title, placement in PLACEMENTS.items():
        found = _measured(title, placement, names, steps)
        cells[title] = {name: difference(reference[name], [each[name] for each in found]) for name in names}
    alone = {name.removesuffix(" in halves"): reference[name] for name in halves}
    return cells, {name: difference(reference[name], [result]) for name, result in alone.items()}


def _measured(title: str, placement: Placement, names: Sequence[str], steps: int) -> list[dict[str, Result]]:
    started = time.monotonic()
    found = results(placement, names, steps)
    progress(f"{title}: {time.monotonic() - started:.0f} s")
    return found


def page(cells: Cells, rounding: dict[str, Difference], seconds: float) -> str:
    """Return the page of the docs."""
    alone = {name: f"{found.weights:.1e} and {found.metrics:.1e}" for name, found in rounding.items()}
    return _TOP.format(steps=STEPS) + table(cells) + _BOTTOM.format(**alone, seconds=seconds, machine=machine())


def table(cells: Cells) -> str:
    """Return the table: each cell has the differences of weights and metrics and a verdict, column 2 the tolerances."""
    settings = next(iter(cells.values()))
    rows = [[name, _allowed(name), *(_cell(name, column[name]) for column in cells.values())] for name in settings]
    return "\n".join(aligned([["setting", "allowed", *cells], *rows]))


def beyond(cells: Cells) -> list[str]:
    """Return the cells that are beyond their tolerance."""
    return [
        f"{name} on {placement}"
        for placement, column in cells.items()
        for name, found in column.items()
        if not found.is_within(SETTINGS[name])
    ]


def _allowed(name: str) -> str:
    return f"{SETTINGS[name].weights:.0e}, {SETTINGS[name].metrics:.0e}"


def _cell(name: str, found: Difference) -> str:
    return f"{found.weights:.1e}, {found.metrics:.1e} {'✓' if found.is_within(SETTINGS[name]) else '✗'}"


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.invariance", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only", action="append", default=[], metavar="TEXT", help="only settings whose name contains TEXT; repeatable"
    )
    parser.add_argument("--write", action="store_true", help=f"also write docs/{PAGE.name}")
    chosen = parser.parse_args(arguments)
    if chosen.only and chosen.write:
        parser.error(f"--write = True: expected the whole table, got --only = {chosen.only}; leave out one of them")
    names = [name for name in SETTINGS if not chosen.only or any(text in name for text in chosen.only)]
    if not names:
        parser.error(f"--only = {chosen.only}: expected a part of a setting's name, one of {', '.join(SETTINGS)}")
    return _report(names, chosen.write)


def _report(names: list[str], write: bool) -> int:
    started = time.monotonic()
    cells, rounding = measure(names)
    print(table(cells))
    if write:
        PAGE.write_text(page(cells, rounding, time.monotonic() - started), encoding="utf-8")
    wrong = beyond(cells)
    if wrong:
        progress(f"Beyond the tolerance: {', '.join(wrong)}.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
