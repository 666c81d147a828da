"""`tallyloop-init DIR` writes a project that trains at once. TensorFlow is not loaded."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ...metrics.errors import UsageError
from ..errors import DONE, WRONG_USAGE

_TEMPLATE = Path(__file__).parent / "template"  # each file ends in .txt, as it is none of this package's
_USAGE = "Usage: tallyloop-init DIR\n\nWrites a project to DIR, a new or an empty folder: a task, a config, a test, a README."


def create(folder: Path) -> list[Path]:
    """Write the project; returns its files.

    Raises:
      UsageError: the folder has something in it, or cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"DIR = {str(folder)!r}: expected a new or an empty folder, got a file; choose another.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        present = sorted(path.name for path in folder.iterdir())
        if present:
            raise UsageError(
                f"DIR = {str(folder)!r}: expected a new or an empty folder, got one with {present[0]!r} in it; choose another."
            )
        written = [folder / template.stem for template in sorted(_TEMPLATE.glob("*.txt"))]
        for path in written:
            text = (_TEMPLATE / f"{path.name}.txt").read_text(encoding="utf-8")
            path.write_text(text.replace("PROJECT", folder.resolve().name), encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"DIR = {str(folder)!r}: expected a folder that can be written, got {error.strerror}: choose another."
        ) from error
    return written


def main(argv: Sequence[str]) -> int:
    """Run the command line; return the exit code.

    Args:
      argv: the name of the program, then its arguments.
    """
    if any(argument in ("-h", "--help") for argument in argv[1:]):
        print(_USAGE)
        return DONE
    try:
        if len(argv) != 2 or argv[1].startswith("-"):
            raise UsageError(f"tallyloop-init: expected one argument, a folder, got {list(argv[1:])}.\n{_USAGE}")
        folder = Path(argv[1])
        names = ", ".join(path.name for path in create(folder))
    except UsageError as error:
        print(f"Error: {error}", file=sys.stderr)
        return WRONG_USAGE
    print(f"Wrote {names} to {folder}. Train:\n")
    print(f"  cd {shlex.quote(str(folder))}\n  tallyloop --gin_file=train.gin --model_dir=runs/first")
    return DONE


def run() -> None:
    """Run the command line, and exit with its code."""
    sys.exit(main(sys.argv))


if __name__ == "__main__":
    run()
