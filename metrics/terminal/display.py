"""The live part of a terminal: a progress bar, and a table below it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from .scores import Line

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.text import Text

_SEPARATOR = "  "
_NARROWEST_BAR = 10  # columns
_BEFORE_THE_BAR = 3  # parts that count more than the bar
_STYLES = {True: "green", False: "red", None: ""}
_ASCII = str.maketrans({"▲": "+", "▼": "-", "…": "~"})


class Display:
    """Lines at the bottom of a terminal that are redrawn in place, with permanent lines above them.

    They are drawn only on request: there is no thread, and no work between two frames. NO_COLOR is respected.

    Args:
      stream: the terminal.
    """

    def __init__(self, stream: TextIO):
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=stream, force_terminal=True, highlight=False)
        # What the program prints goes above, unless it is redirected to a file: there it must arrive.
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )

    @property
    def is_shown(self) -> bool:
        """True if a frame is on the terminal."""
        return self._live.is_started

    @property
    def size(self) -> tuple[int, int]:
        """The columns that a line may have, and the rows that a table may have: together with the bar, half of them all."""
        # Some terminals wrap a line that is as wide as they are; hence one column less.
        return self._console.width - 1, max(3, self._console.height // 2 - 2)

    def show(self, parts: list[str], done: float | None = None, table: Sequence[Line] = ()) -> None:
        """Draw a frame.

        Args:
          parts: the texts of the first line, from left to right; those that do not fit are left out, from the right.
          done: the fraction of the run that is done, from 0 to 1; None draws no bar.
          table: the lines below it.
        """
        if not self._live.is_started:
            self._live.start()
            # Live hides the cursor, and a run that is killed could not bring it back.
            self._console.show_cursor(True)
        self._live.update(_Frame(parts, done, table), refresh=True)

    def print_above(self, line: str) -> None:
        """Print a line that stays."""
        self._console.print(line, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Leave the last frame on the terminal."""
        self._live.stop()


@dataclass(frozen=True)
class _Frame:
    """A line with a bar, and a table; no line wraps.

    The bar comes after the first part and takes the columns that the parts leave.
    """

    parts: list[str]
    done: float | None
    table: Sequence[Line]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        from rich.text import Text

        width = options.max_width - 1
        first = Text(self._first(width, options.ascii_only), no_wrap=True, overflow="ellipsis", end="")
        first.truncate(width, overflow="ellipsis")
        yield first
        for line in self.table:
            text = Text("\n", no_wrap=True, end="")
            for cell in line:
                text.append(cell.text.translate(_ASCII) if options.ascii_only else cell.text, _STYLES[cell.good])
            text.rstrip()
            text.truncate(width, overflow="crop")
            yield text

    def _first(self, width: int, ascii_only: bool) -> str:
        parts = list(self.parts)
        room = width - (0 if self.done is None else _NARROWEST_BAR + len(_SEPARATOR))
        while len(parts) > _BEFORE_THE_BAR and len(_SEPARATOR.join(parts)) > room:
            parts.pop()
        while len(parts) > 1 and len(_SEPARATOR.join(parts)) > width:
            parts.pop()
        spare = width - len(_SEPARATOR.join(parts)) - len(_SEPARATOR)
        if self.done is not None and spare >= _NARROWEST_BAR:
            parts.insert(1, _bar(self.done, spare, "#-" if ascii_only else "━╌"))
        return _SEPARATOR.join(parts)


def _bar(done: float, width: int, glyphs: str) -> str:
    filled = round(width * min(done, 1.0))
    return glyphs[0] * filled + glyphs[1] * (width - filled)
