"""A terminal's screen: what is seen of text with the control codes that rich and the spinner use."""

import os
import re
import select
import time

_CODE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


class Screen:
    """Rows of text, with all that has been scrolled out above.

    Args:
      columns: of a row; longer lines wrap.
      rows: of the terminal.
    """

    def __init__(self, columns=80, rows=24):
        self.columns, self.rows = columns, rows
        self.lines, self.row, self.column = [""], 0, 0
        self.cursor_is_shown = True
        self.colors = set()

    @property
    def top(self):
        """The first row that is on the screen; those above cannot be reached any more."""
        return max(0, len(self.lines) - self.rows)

    @property
    def text(self):
        return [line.rstrip() for line in self.lines]

    def feed(self, text):
        while text:
            code = _CODE.match(text)
            if code:
                self._control(code[1], code[2])
            else:
                self._put(text[0])
            text = text[code.end() :] if code else text[1:]
        return self

    def _control(self, argument, letter):
        if letter == "A":
            self.row = max(self.top, self.row - int(argument or 1))
        elif letter == "K":
            line = self.lines[self.row]
            self.lines[self.row] = "" if argument == "2" else line[: self.column]
        elif letter in "hl" and argument == "?25":
            self.cursor_is_shown = letter == "h"
        elif letter == "m":
            self.colors.add(argument)
        elif letter not in "m":
            raise ValueError(f"unknown control code {argument}{letter}")

    def _put(self, char):
        if char == "\r":
            self.column = 0
        elif char == "\n":
            self.row, self.column = self.row + 1, 0
            if self.row == len(self.lines):
                self.lines.append("")
        else:
            if self.column == self.columns:
                self._put("\n")
            line = self.lines[self.row].ljust(self.column)
            self.lines[self.row] = line[: self.column] + char + line[self.column + 1 :]
            self.column += 1


def read(terminal, until, seconds=120):
    """Return what is written to the other end of a pseudo-terminal, until it is closed or `until(text)`."""
    found, end = b"", time.monotonic() + seconds
    while time.monotonic() < end and not until(found.decode(errors="ignore")):
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                found += os.read(terminal, 65536)
            except OSError:  # it is closed
                break
    return found.decode()
