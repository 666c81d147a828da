"""Whether a training that is killed at random moments and restarted equals one that was never killed.

python -m benchmarks.survival                                     # 140 kills over all settings; prints the table
python -m benchmarks.survival --kills 20 --setting stream --seed 7
python -m benchmarks.survival --write                             # also writes docs/survival.md

The exit code is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..harness.report import DOCS, progress
from .kills import PAUSE, Result, survive
from .settings import SETTINGS
from .table import page, table, verdict

PAGE = DOCS / "survival.md"


def shares(kills: int, names: list[str]) -> dict[str, int]:
    """Return the number of kills of each setting, at least one."""
    total = sum(SETTINGS[name].share for name in names)
    given = {name: max(1, kills * SETTINGS[name].share // total) for name in names}
    given[names[0]] = max(1, given[names[0]] + kills - sum(given.values()))
    return given


def measure(kills: int, names: list[str], seed: int, jobs: int = 1) -> dict[str, Result]:
    """Return the result of each setting."""
    with tempfile.TemporaryDirectory(prefix="survival_") as folder, ThreadPoolExecutor(jobs) as pool:

        def one(name: str, share: int) -> Result:
            return survive(SETTINGS[name], share, seed, Path(folder) / name, lambda text: _report(f"{name}: {text}"))

        running = {name: pool.submit(one, name, share) for name, share in shares(kills, names).items()}
        return {name: future.result() for name, future in running.items()}


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    chosen = _parser().parse_args(arguments)
    names = chosen.setting or list(SETTINGS)
    started = time.monotonic()
    results = measure(chosen.kills, names, chosen.seed, chosen.jobs)
    print(f"{table(results)}\n\n{verdict(results)}")
    if chosen.write:
        command = " ".join(["python -m benchmarks.survival", *(text for text in arguments if text != "--write")])
        PAGE.write_text(page(results, command, time.monotonic() - started, PAUSE), encoding="utf-8")
    return 1 if any(result.differences for result in results.values()) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.survival", description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=140, help="kills in total (140)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments to kill at (0)")
    parser.add_argument("--setting", action="append", choices=list(SETTINGS), help="only this setting; repeatable")
    parser.add_argument("--jobs", type=int, default=1, help="settings to run at the same time (1)")
    parser.add_argument("--write", action="store_true", help=f"also write docs/{PAGE.name}")
    return parser


def _report(text: str) -> None:
    progress(f"{time.strftime('%H:%M:%S')} {text}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
