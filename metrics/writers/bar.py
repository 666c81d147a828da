"""A progress bar at the bottom of a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

_SEPARATOR = "  "
_NARROWEST_BAR = 10  # columns


class Bar:
    """A line that is redrawn in place, with permanent lines above it.

    It is drawn only on request: there is no thread, and no work between two frames.

    Args:
      stream: the terminal.
    """

    def __init__(self, stream: TextIO):
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream, force_terminal=True, highlight=False)
        # What the program prints goes above the bar, unless it is redirected to a file: there it must arrive.
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )

    def show(self, parts: list[str], done: float | None = None) -> None:
        """Draw the line.

        Args:
          parts: its texts, from left to right.
          done: the fraction of the run that is done, from 0 to 1; None draws no bar.
        """
        if not self._live.is_started:
            self._live.start()
            # Live hides the cursor, and a run that is killed could not bring it back.
            self._console.show_cursor(True)
        self._live.update(_Frame(parts, done), refresh=True)

    def print_above(self, line: str) -> None:
        """Print a line that stays."""
        self._console.print(line, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the last frame on the terminal."""
        self._live.stop()


@dataclass(frozen=True)
class _Frame:
    """One line of parts that never wraps: parts that do not fit are left out, from the right.

    The bar comes after the first part and takes the columns that the parts leave.
    """

    parts: list[str]
    done: float | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        from rich.text import Text

        parts = list(self.parts)
        # Some terminals wrap a line that is as wide as they are; hence one column less.
        width = options.max_width - 1
        while len(parts) > 1 and len(_SEPARATOR.join(parts)) > width:
            parts.pop()
        spare = width - len(_SEPARATOR.join(parts)) - len(_SEPARATOR)
        if self.done is not None and spare >= _NARROWEST_BAR:
            parts.insert(1, _bar(self.done, spare, "#-" if options.ascii_only else "━╌"))
        line = Text(_SEPARATOR.join(parts), no_wrap=True, overflow="ellipsis", end="")
        line.truncate(width, overflow="ellipsis")
        yield line


def _bar(done: float, width: int, glyphs: str) -> str:
    filled = round(width * min(done, 1.0))
    return glyphs[0] * filled + glyphs[1] * (width - filled)
