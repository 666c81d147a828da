"""The table, as Markdown that is aligned to be read as text too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.report import aligned

COLUMNS = (("keras", 1), ("keras", 2), ("keras", 4), ("tallyloop", 2), ("tallyloop", 4))
HEADER = ["case", "exact", "Keras n=1", "n=2", "n=4", "Tallyloop n=2", "n=4"]
Rows = Mapping[int, Sequence[dict]]  # replicas -> what `column` gives


def table(found: Rows) -> str:
    """The table, and below it the errors by their numbers."""
    errors: list[str] = []
    lines = [HEADER]
    for cells in zip(*(found[n] for n in sorted(found)), strict=True):
        by_replicas = dict(zip(sorted(found), cells, strict=True))
        texts = [_cell(by_replicas[n][side], errors) for side, n in COLUMNS]
        lines.append([cells[0]["name"], cells[0]["exact"], *texts])
    notes = [f"{number}. `` {message} ``" for number, message in enumerate(errors, 1)]
    return "\n".join([*aligned(lines), *(["", "Errors:", "", *notes] if notes else [])])


def wrong(found: Rows, side: str = "tallyloop") -> list[str]:
    """The cases that `side` does not get right."""
    cells = [row for column in found.values() for row in column if row[side] is not None]
    return sorted({row["name"] for row in cells if not row[side]["right"]})


def _cell(cell: dict | None, errors: list[str]) -> str:
    if cell is None:
        return "-"
    if "error" not in cell:
        return cell["text"] + ("" if cell["right"] else " ✗")
    if cell["error"] not in errors:
        errors.append(cell["error"])
    return f"error {errors.index(cell['error']) + 1}"
