"""Names that look like the one that was typed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LIKE = 0.7  # with difflib's 0.6, "Trainer" is like "RandomInvert"
_AS_NEAR = 0.02


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Returns the known name that is most like `name`, case aside, and a second that is as near."""
    by_lower = {candidate.lower(): candidate for candidate in sorted(known, reverse=True)}
    found = difflib.get_close_matches(name.lower(), by_lower, n=2, cutoff=_LIKE)
    if len(found) == 2 and _likeness(name, found[0]) - _likeness(name, found[1]) > _AS_NEAR:
        found.pop()
    return [by_lower[candidate] for candidate in found]


def _likeness(name: str, candidate: str) -> float:
    # The arguments' order matters to the result; this is get_close_matches's.
    return difflib.SequenceMatcher(None, candidate, name.lower()).ratio()


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns `: did you mean "x"?`, or nothing when no known name is like it."""
    found = " or ".join(f'"{candidate}"' for candidate in nearest(name, known))
    return f": did you mean {found}?" if found else ""
