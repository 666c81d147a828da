"""The results of Keras `fit` and `evaluate` on several replicas, beside those of Tallyloop.

python -m benchmarks.versus_keras                  # prints the table
python -m benchmarks.versus_keras --only dropout   # only cases whose name contains this
python -m benchmarks.versus_keras --write          # also writes docs/versus_keras.md

The exit code is 1 if Tallyloop is wrong anywhere.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence

from ..harness.processes import ROOT, command
from ..harness.report import DOCS, aligned, machine, progress

PAGE = DOCS / "versus_keras.md"
REPLICAS = (1, 2, 4)
COLUMNS = (("keras", 1), ("keras", 2), ("keras", 4), ("tallyloop", 2), ("tallyloop", 4))
HEADER = ["case", "exact", "Keras n=1", "n=2", "n=4", "Tallyloop n=2", "n=4"]
Rows = Mapping[int, Sequence[dict]]  # replicas -> the cells of `column`

_TOP = """# Against Keras

For users of Keras who train under a `tf.distribute` strategy: what `fit` and `evaluate` compute there, beside Tallyloop with the
same model, data and optimizer.

Each row is one case. It has the exact answer, worked out in NumPy, by hand or by a plain loop on one device, then the results on
`n` replicas (logical CPU devices, or two processes in the rows of two workers). A wrong number has a ✗; errors are listed below
the table. dW is the largest difference of a weight from its exact value: right is 0, up to float32 rounding.

```bash
python -m benchmarks.versus_keras
```

"""


def measure(texts: list[str]) -> dict[int, list[dict]]:
    """Return the cells of the chosen cases for each number of replicas, each computed in its own process."""
    # One after the other: replicas that wait for each other are far slower when another process occupies the cores.
    return {replicas: _column(replicas, texts) for replicas in REPLICAS}


def _column(replicas: int, texts: list[str]) -> list[dict]:
    line = command("versus_keras.column", replicas, *texts)
    cells = []
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(line, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        for each in process.stdout:
            cells.append(json.loads(each))
            progress(f"n={replicas}: {cells[-1]['name']}")
        if process.wait() != 0:
            errors.seek(0)
            raise RuntimeError(f"n={replicas} died with exit code {process.returncode}:\n{errors.read()[-3000:]}")
    return cells


def page(found: dict[int, list[dict]], seconds: float) -> str:
    """Return the page of the docs."""
    return f"{_TOP}{table(found)}\n\nMeasured in {seconds:.0f} seconds on {machine()}.\n"


def table(found: Rows) -> str:
    """Return the table in Markdown, and below it the numbered errors."""
    errors: list[str] = []
    lines = [HEADER]
    for cells in zip(*(found[n] for n in sorted(found)), strict=True):
        by_replicas = dict(zip(sorted(found), cells, strict=True))
        texts = [_cell(by_replicas[n][side], errors) for side, n in COLUMNS]
        lines.append([cells[0]["name"], cells[0]["exact"], *texts])
    notes = [f"{number}. `` {message} ``" for number, message in enumerate(errors, 1)]
    return "\n".join([*aligned(lines), *(["", "Errors:", "", *notes] if notes else [])])


def wrong(found: Rows, side: str = "tallyloop") -> list[str]:
    """Return the cases that `side` gets wrong."""
    cells = [row for column in found.values() for row in column if row[side] is not None]
    return sorted({row["name"] for row in cells if not row[side]["right"]})


def _cell(cell: dict | None, errors: list[str]) -> str:
    if cell is None:
        return "-"
    if "error" not in cell:
        return cell["text"] + ("" if cell["right"] else " ✗")
    if cell["error"] not in errors:
        errors.append(cell["error"])
    return f"error {errors.index(cell['error']) + 1}"


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versus_keras", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only", action="append", default=[], metavar="TEXT", help="only cases whose name contains TEXT; repeatable"
    )
    parser.add_argument("--write", action="store_true", help=f"also write docs/{PAGE.name}")
    chosen = parser.parse_args(arguments)
    if chosen.only and chosen.write:
        parser.error(f"--write = True: expected the whole table, got --only = {chosen.only}; leave out one of them")
    started = time.monotonic()
    found = measure(chosen.only)
    if not found[1]:
        parser.error(f"--only = {chosen.only}: expected a part of a case's name, as docs/{PAGE.name} lists them")
    print(table(found))
    if chosen.write:
        PAGE.write_text(page(found, time.monotonic() - started), encoding="utf-8")
    return 1 if wrong(found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
