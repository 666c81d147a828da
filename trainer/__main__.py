"""`python -m tallyloop.trainer`, and the `tallyloop` command."""

from __future__ import annotations

import sys


def run() -> None:
    """Run the command line, and exit with its code."""
    from .command.cli import main

    sys.exit(main(sys.argv))


if __name__ == "__main__":
    run()
