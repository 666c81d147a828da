"""What Keras `fit` and `evaluate` give on several replicas, and what Tallyloop gives.

python -m benchmarks.versus_keras                  # prints the table
python -m benchmarks.versus_keras --only dropout   # the cases with that in their name
python -m benchmarks.versus_keras --write          # writes docs/versus_keras.md too

The exit code is 1 if Tallyloop is wrong anywhere.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import machine
from benchmarks.versus.table import table, wrong

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "versus_keras.md"
REPLICAS = (1, 2, 4)

_TOP = """# Against Keras

What Keras' `fit` and `evaluate` give under a `tf.distribute` strategy, and what Tallyloop gives for the same model,
data and optimizer. Each row is one case: the exact answer, worked out in NumPy, by hand or by a plain loop on one device,
then what either gives on `n` replicas (logical CPU devices; in the rows of two workers, two processes). A number that is not
the exact one has a ✗, and an error stands below the table. dW is the largest difference of a weight from its exact
value, so that 0, up to the rounding of float32, is right.

```bash
python -m benchmarks.versus_keras
```

"""


def measure(texts: list[str]) -> dict[int, list[dict]]:
    """Replicas -> the cells of the cases chosen, computed in a process for each number of replicas."""
    # One after the other: replicas that wait for one another are far slower where another process has the cores.
    return {replicas: _column(replicas, texts) for replicas in REPLICAS}


def _column(replicas: int, texts: list[str]) -> list[dict]:
    command = [sys.executable, "-m", "benchmarks.versus.column", str(replicas), *texts]
    cells = []
    with (
        tempfile.TemporaryFile("w+") as noise,
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=noise, text=True) as process,
    ):
        for line in process.stdout:
            cells.append(json.loads(line))
            print(f"n={replicas}: {cells[-1]['name']}", file=sys.stderr)
        if process.wait() != 0:
            noise.seek(0)
            raise RuntimeError(f"n={replicas} died with exit code {process.returncode}:\n{noise.read()[-3000:]}")
    return cells


def page(found: dict[int, list[dict]], seconds: float) -> str:
    """The page of the docs."""
    return f"{_TOP}{table(found)}\n\nMeasured in {seconds:.0f} seconds on {machine()}.\n"


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versus_keras", description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="the cases whose names have it")
    parser.add_argument("--write", action="store_true", help=f"write docs/{PAGE.name} too")
    chosen = parser.parse_args(arguments)
    if chosen.only and chosen.write:
        parser.error("--write is for the whole table: leave out --only")
    started = time.monotonic()
    found = measure(chosen.only)
    if not found[1]:
        parser.error(f"no case has {' or '.join(chosen.only)} in its name")
    print(table(found))
    if chosen.write:
        PAGE.write_text(page(found, time.monotonic() - started), encoding="utf-8")
    return 1 if wrong(found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
