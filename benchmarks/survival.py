"""A real training, killed at random moments and started again, beside the same training left alone.

python -m benchmarks.survival                                     # 100 kills over all settings; prints the table
python -m benchmarks.survival --kills 20 --setting stream --seed 7
python -m benchmarks.survival --write                             # writes docs/survival.md too

The exit code is 1 if anything differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.survival_kills import PAUSE, Result, survive
from benchmarks.survival_settings import SETTINGS
from benchmarks.survival_table import page, table, verdict

PAGE = Path(__file__).parents[1] / "docs" / "survival.md"


def shares(kills: int, names: list[str]) -> dict[str, int]:
    """How many of the kills each setting gets; at least one."""
    total = sum(SETTINGS[name].share for name in names)
    given = {name: max(1, kills * SETTINGS[name].share // total) for name in names}
    given[names[0]] = max(1, given[names[0]] + kills - sum(given.values()))
    return given


def measure(kills: int, names: list[str], seed: int, jobs: int = 1) -> dict[str, Result]:
    """Setting -> what became of it."""
    with tempfile.TemporaryDirectory(prefix="survival_") as folder, ThreadPoolExecutor(jobs) as pool:

        def one(name: str, share: int) -> Result:
            return survive(SETTINGS[name], share, seed, Path(folder) / name, lambda text: _say(f"{name}: {text}"))

        running = {name: pool.submit(one, name, share) for name, share in shares(kills, names).items()}
        return {name: future.result() for name, future in running.items()}


def main(arguments: list[str]) -> int:
    """Runs the command; returns its exit code."""
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
    parser.add_argument("--kills", type=int, default=100, help="how many in all (100)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    parser.add_argument("--setting", action="append", choices=list(SETTINGS), help="only this one; repeatable")
    parser.add_argument("--jobs", type=int, default=1, help="how many settings to try at the same time (1)")
    parser.add_argument("--write", action="store_true", help=f"write docs/{PAGE.name} too")
    return parser


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
