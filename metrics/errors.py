"""The errors that every package raises for a user's mistake and for damaged data, and suggestions for mistyped names.

They live in `metrics` because it is the one package that all the others may import, and import nothing heavy: the flags need
them before a run starts.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

_CUTOFF = 0.7  # with difflib's default of 0.6, "Trainer" resembles "RandomInvert"
_TIE = 0.02


class UsageError(ValueError):
    """Something that the user wrote, bound or supplied is wrong.

    The message names the flag, binding, file or line, the value it got, what it expected, and the fix. The command line
    shows the message alone, without a traceback, and exits with code 2.
    """

    # AutoGraph re-raises an exception with the user's line only if it knows that the constructor takes a message.
    if not TYPE_CHECKING:  # to a type checker it is inherited
        __init__ = Exception.__init__


class DataError(RuntimeError):
    """An example cannot be read, or the map function raises for it.

    The message names the source, the file and the index where known, the reason and the fix. The run itself is set up
    correctly, so the command line shows the message alone and exits with code 1.
    """


def closest(name: str, known: Iterable[str]) -> list[str]:
    """Return the known name most similar to `name`, ignoring case, and a second one if it is as similar."""
    by_lower = {candidate.lower(): candidate for candidate in sorted(known, reverse=True)}
    found = difflib.get_close_matches(name.lower(), by_lower, n=2, cutoff=_CUTOFF)
    if len(found) == 2 and _similarity(name, found[0]) - _similarity(name, found[1]) > _TIE:
        found.pop()
    return [by_lower[candidate] for candidate in found]


def _similarity(name: str, candidate: str) -> float:
    # The ratio depends on the order of the arguments; this is the order of get_close_matches.
    return difflib.SequenceMatcher(None, candidate, name.lower()).ratio()


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `: did you mean "x"?`, or an empty string if no known name is similar."""
    found = " or ".join(f'"{candidate}"' for candidate in closest(name, known))
    return f": did you mean {found}?" if found else ""
