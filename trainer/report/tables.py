"""Tables as text, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from ...metrics.writers.jsonl import json_value
from .comparing import Cell, Table, differing, final, metrics_of, spent
from .run import Run

_WIDEST = 32  # characters of a cell in a table of text
_GAP = 2


def text(table: Table, width: int) -> str:
    """Return a table for a terminal: columns that do not fit beside the others follow below, with the first one again."""
    cells = [[_short(cell) for cell in row] for row in (table.columns, *map(shown, table.rows))]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    groups = _groups(table)
    blocks = ["\n".join(_line(row, widths, part) for row in cells) for part in _parts(groups, widths, width)]
    return "\n\n".join([table.title, *blocks])


def _groups(table: Table) -> list[list[int]]:
    """Return the columns after the first one, those together that must not be torn apart."""
    groups: list[list[int]] = []
    for column, name in enumerate(table.columns[1:], 1):
        if name in table.glued and groups:
            groups[-1].append(column)
        else:
            groups.append([column])
    return groups


def _parts(groups: Sequence[Sequence[int]], widths: Sequence[int], width: int) -> list[list[int]]:
    """Return the columns of each block."""
    parts, room = [[0]], width - widths[0]
    for group in groups:
        needed = sum(_GAP + widths[column] for column in group)
        if needed > room and len(parts[-1]) > 1:
            parts, room = [*parts, [0]], width - widths[0]
        parts[-1] += group
        room -= needed
    return parts


def _line(row: Sequence[str], widths: Sequence[int], part: Sequence[int]) -> str:
    cells = [row[0].ljust(widths[0]), *(row[column].rjust(widths[column]) for column in part[1:])]
    return (" " * _GAP).join(cells).rstrip()


def _short(cell: str) -> str:
    return cell if len(cell) <= _WIDEST else f"{cell[: _WIDEST - 3]}..."


def shown(row: Sequence[Cell]) -> list[str]:
    """Return the cells of a row as a reader wants them: four digits of a number that is not whole."""
    return [_cell(cell) for cell in row]


def _cell(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if 9999.5 <= abs(cell) < 1e9 else f"{cell:.4g}"
    return str(cell)


def markdown(table: Table) -> str:
    """Return a table in Markdown, with its title as a heading."""
    rows = [table.columns, ["---"] * len(table.columns), *map(shown, table.rows)]
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([f"## {table.title}", "", *lines])


def to_csv(runs: Sequence[Run]) -> str:
    """Return one line per run, with all metrics, all differing bindings and all times."""
    metrics, bindings = metrics_of(runs), differing(runs)
    rows = [
        _fields(run, metrics, {name: values[number] for name, values in bindings.items()})
        for number, run in enumerate(runs)
    ]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue().rstrip("\n")


def _fields(run: Run, metrics: Sequence[Any], bindings: dict[str, str | None]) -> dict[str, Cell]:
    found: dict[str, Cell] = {
        "run": run.name,
        "folder": str(run.folder),
        "ended": run.ending.state,
        "reason": run.ending.reason,
        "step": run.step,
    }
    for metric in metrics:
        step, value = run.best(metric) or (None, None)
        found |= {f"{metric}": final(run, metric), f"{metric} best": value, f"{metric} best step": step}
    found |= {f"config {name}": value for name, value in bindings.items()}
    found |= {f"time {name}": value for name, value in spent(run).items()}
    return found | {"damaged lines": run.damaged}


def to_json(runs: Sequence[Run]) -> str:
    """Return everything as JSON. As in metrics.jsonl, numbers that are not finite are strings."""
    bindings = differing(runs)
    entries = [
        {
            "run": run.name,
            "folder": str(run.folder),
            "ended": run.ending.state,
            "reason": run.ending.reason,
            "step": run.step,
            "metrics": {str(metric): _metric(run, metric) for metric in run.metrics},
            "differs": {name: values[number] for name, values in bindings.items()},
            "time": spent(run),
            "damaged_lines": run.damaged,
            "half_written_line": run.is_torn,
        }
        for number, run in enumerate(runs)
    ]
    return json.dumps({"runs": json_value(entries)}, indent=2, allow_nan=False)


def _metric(run: Run, metric: Any) -> dict[str, Any]:
    step, value = run.best(metric) or (None, None)
    return {"final": final(run, metric), "best": value, "best_step": step, "better": run.mode(metric)}
