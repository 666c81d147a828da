"""The table: settings by placements."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.report import aligned

from .compare import Difference
from .settings import SETTINGS

Cells = Mapping[str, Mapping[str, Difference]]  # placement -> setting -> how far it is from one device


def table(cells: Cells) -> str:
    """In each cell the differences of weights and metrics, and a verdict; in the second column what they may be."""
    settings = next(iter(cells.values()))
    rows = [[name, _allowed(name), *(_cell(name, column[name]) for column in cells.values())] for name in settings]
    return "\n".join(aligned([["setting", "allowed", *cells], *rows]))


def beyond(cells: Cells) -> list[str]:
    """The cells that are beyond their tolerance."""
    return [
        f"{name} on {placement}"
        for placement, column in cells.items()
        for name, found in column.items()
        if not found.is_within(SETTINGS[name])
    ]


def _allowed(name: str) -> str:
    return f"{SETTINGS[name].weights:.0e}, {SETTINGS[name].metrics:.0e}"


def _cell(name: str, found: Difference) -> str:
    return f"{found.weights:.1e}, {found.metrics:.1e} {'✓' if found.is_within(SETTINGS[name]) else '✗'}"
