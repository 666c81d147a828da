"""Suggestions for a mistyped name. Imports nothing heavy, as the flags need it before a run starts."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_CUTOFF = 0.7  # with difflib's default of 0.6, "Trainer" resembles "RandomInvert"
_TIE = 0.02


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
