"""What the bundled configs reach, beside references on the same data.

python -m benchmarks.results                        # prints the table
python -m benchmarks.results digits autoencoder     # of these configs only
python -m benchmarks.results --write                # also writes docs/results.md and the curves in docs/images/

The exit code is 1 if a goal is missed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before a reference imports TensorFlow

from ..harness.report import DOCS, progress
from .config import Config
from .configs import CONFIGS
from .curves import svg
from .page import Measured, Part, kept, page, part_of, table
from .run import Run, train

PAGE = "results.md"
IMAGES = "images"


def measured(config: Config, folder: Path, seed: int, more: Sequence[str] = ()) -> tuple[Run, list[Measured]]:
    """Train a config in a folder, and measure its figures and their references."""
    made = config.prepare(folder) if config.prepare else ()
    seeded = (f"Trainer.seed={seed}",) if seed else ()
    run = train(config.name, (*config.parameters, *made, *seeded, *more), folder / config.name)
    run = run._replace(prepared=tuple(made))
    progress(f"{config.name}: trained in {run.seconds:.0f} s")
    found = []
    for figure in config.figures:
        reference = figure.reference(run) if figure.reference else None
        found.append(Measured(figure, figure.measure(run), reference))
        progress(f"{config.name}: {figure.what}: {found[-1].result}, {reference}")
    return run, found


def curves(config: Config, run: Run) -> str:
    """Return the picture of the config's metric in all splits of the run."""
    return svg(f"{config.name}.gin", config.curve, {split: run.points(config.curve, split) for split in run.splits})


def write(parts: Mapping[str, Part], pictures: Mapping[str, str], docs: Path = DOCS) -> None:
    """Write the page and the pictures; what the page says of other configs stays."""
    known = kept(docs / PAGE) | dict(parts)
    ordered = {config.name: known[config.name] for config in CONFIGS if config.name in known}
    (docs / IMAGES).mkdir(exist_ok=True)
    for name, picture in pictures.items():
        (docs / IMAGES / f"{name}.svg").write_text(picture, encoding="utf-8")
    (docs / PAGE).write_text(page(ordered), encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    names = [config.name for config in CONFIGS]
    found = argparse.ArgumentParser(prog="python -m benchmarks.results", description=__doc__.splitlines()[0])
    found.add_argument("names", nargs="*", metavar="NAME", help=f"of configs: {', '.join(names)}; all by default")
    found.add_argument("--seed", type=int, default=0, help="Trainer.seed (0)")
    found.add_argument(
        "--gin_param", action="append", default=[], metavar="BINDING", help="a binding for these configs; repeatable"
    )
    found.add_argument("--write", action="store_true", help=f"also write docs/{PAGE} and its pictures")
    return found


def main(arguments: Sequence[str]) -> int:
    """Run the command; return its exit code."""
    chosen, known = parser().parse_args(arguments), {config.name: config for config in CONFIGS}
    if unknown := [name for name in chosen.names if name not in known]:
        progress(f"{unknown[0]!r}: expected the name of a config, one of {', '.join(known)}")
        return 2
    parts, pictures, missed = {}, {}, False
    with tempfile.TemporaryDirectory() as folder:
        for config in (known[name] for name in chosen.names or known):
            run, found = measured(config, Path(folder), chosen.seed, chosen.gin_param)
            parts[config.name] = part_of(config, run, found, chosen.seed)
            pictures[config.name] = curves(config, run)
            missed |= any(each.missed for each in found)
    print(table(parts.values()))
    if chosen.write:
        write(parts, pictures)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
