"""The table that a tuning prints, row by row."""

from __future__ import annotations

from collections.abc import Iterable

from .measured import Measured
from .settings import AS_GIVEN, Setting

_COLUMNS = {
    "step time": 10,
    "of given": 10,
    "spread": 14,
    "compiling": 11,
    "1st step": 10,
    "examples/s": 12,
    "memory": 10,
}  # -> width


class Table:
    """Makes the lines of a table.

    Args:
      names: those of all settings that may get a row.
    """

    def __init__(self, names: Iterable[str]):
        self._width = max(map(len, (AS_GIVEN.name, *names)))

    def header(self) -> str:
        """Return the first lines."""
        line = (
            f"{'setting':<{self._width}}{''.join(f'{name:>{width}}' for name, width in _COLUMNS.items())}  pays after"
        )
        return f"{line}\n{'-' * len(line)}"

    def row(self, measured: Measured, given: Measured | None = None) -> str:
        """Return the line of a setting; without `given`, that of the config as given."""
        if given is None:
            ratio = spread = pays = ""
        else:
            low, high = measured.spread
            ratio, spread, pays = f"{measured.ratio:.2f}", f"{low:.2f}-{high:.2f}", _pays(measured, given)
        values = (
            brief(measured.step),
            ratio,
            spread,
            brief(measured.start.compiling),
            brief(measured.start.first_step),
            f"{measured.examples_per_second:,.0f}",
            f"{measured.memory / 1e6:,.0f} MB",
        )
        numbers = "".join(f"{value:>{width}}" for value, width in zip(values, _COLUMNS.values(), strict=True))
        return f"{measured.setting.name:<{self._width}}{numbers}  {pays}".rstrip()

    def failed_row(self, setting: Setting, reason: str) -> str:
        """Return the line of a setting that cannot be trained."""
        return f"{setting.name:<{self._width}}  failed: {' '.join(reason.split())}"


def brief(seconds: float) -> str:
    """Return a time in three digits, such as 84.1 ms."""
    factor, unit = next((each for each in ((1, "s"), (1e3, "ms")) if seconds * each[0] >= 1), (1e6, "us"))
    value = seconds * factor
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def _pays(measured: Measured, given: Measured) -> str:
    if not measured.is_faster:
        return ""
    steps = measured.pays_after(given)
    return "at once" if steps == 0 else f"{steps:,} steps"
