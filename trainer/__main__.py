"""`python -m tallyloop.trainer`, and the `tallyloop` command."""

import sys


def run() -> None:
    """Runs the command line; exits with its code."""
    from .launch.cli import main

    sys.exit(main(sys.argv))


if __name__ == "__main__":
    run()
