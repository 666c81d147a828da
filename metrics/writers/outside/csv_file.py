"""A run as tables of comma-separated values."""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Mapping
from pathlib import Path

import gin

from ...atomic_file import replace_file
from ...errors import UsageError
from ..summary import RunDescription, Summary
from .past import numbers, past, remember, remembered

_STEP = "step"
_TABLES = ("train.csv", "eval.csv", "eval/*.csv")
_Row = dict[str, str]


@gin.register(module="tallyloop")
class CsvWriter:
    """Writes a table per split, `csv/train.csv` and `csv/eval.csv` in the run's folder: a row per summary, a column per metric.

    Numbers keep all their digits. Arrays are left out. A metric that comes later gets a column at the end, and the rows before it
    are empty there.

    Args:
      folder: where the tables are written, which no other run may use; None is `csv` in the run's folder.
    """

    def __init__(self, folder: str | Path | None = None):
        self._given = folder
        self._tables: dict[str, _Table] = {}

    def begin(self, run: RunDescription) -> None:
        """Drop the rows past the step that the run goes on from, and add those that a killed process has left out.

        Raises:
          UsageError: the folder has tables that are not of this run, which would lose rows.
        """
        self._folder = run.folder / "csv" if self._given is None else Path(self._given)
        tables = [path for name in _TABLES for path in sorted(self._folder.glob(name))]
        if self._given is not None:
            _claim(self._folder, run.folder, tables)
        self._tables = {}
        for path in tables:
            split = path.relative_to(self._folder).with_suffix("").as_posix()
            self._table(split).truncate_after(run.step)
        for summary in past(run):
            if summary.step > self._table(summary.split).last_step:
                self.write(summary)

    def write(self, summary: Summary) -> None:
        """Write a row; one of the same step is replaced."""
        self._table(summary.split).put(summary.step, numbers(summary))

    def _table(self, split: str) -> _Table:
        if split not in self._tables:
            self._tables[split] = _Table(self._folder / f"{split}.csv")
        return self._tables[split]


def _claim(folder: Path, run: Path, tables: list[Path]) -> None:
    """Note in a folder that it is of this run, or find that noted. A name of the run's own, so that both may be moved."""
    names, mark = run / "csv_run.json", folder / ".csv_run.json"
    name, noted = remembered(names).get("id"), remembered(mark)
    if noted.get("id", name) != name or (tables and not noted):
        whose = f"those of {noted['run']}" if noted else f"{tables[0].name}, which no run has claimed"
        raise UsageError(
            f"CsvWriter.folder = {str(folder)!r}: expected a folder for this run alone, and it has {whose}; bind another "
            "one, which gets all rows from metrics.jsonl"
        )
    if not noted:
        facts = {"id": name or secrets.token_hex(8), "run": str(run)}
        folder.mkdir(parents=True, exist_ok=True)
        remember(names, facts)
        remember(mark, facts)


class _Table:
    """A CSV file whose rows begin with a step, in rising order. It is read once, and appended to; a new column rewrites it."""

    def __init__(self, path: Path):
        self._path = path
        self._columns, self._steps = [_STEP], list[int]()
        if path.exists():
            self._columns, rows = self._read()
            self._steps = [int(row[_STEP]) for row in rows]
            self._write(rows)  # without what a kill has torn

    @property
    def last_step(self) -> int:
        """The step of the last row; -1 without any."""
        return self._steps[-1] if self._steps else -1

    def truncate_after(self, step: int) -> None:
        """Drop the rows past a step."""
        if self.last_step > step:
            self._write([row for row in self._read()[1] if int(row[_STEP]) <= step])

    def put(self, step: int, values: Mapping[str, float]) -> None:
        """Append a row; it takes the place of those from its step on."""
        self.truncate_after(step - 1)
        new = [name for name in values if name not in self._columns]
        if new or not self._path.exists():
            rows = self._read()[1] if self._path.exists() else []
            self._columns += new
            self._write(rows)
        self._steps.append(step)
        with self._path.open("a", newline="") as file:
            file.write(
                _lines(self._columns, [{_STEP: str(step), **{name: repr(each) for name, each in values.items()}}])
            )

    def _read(self) -> tuple[list[str], list[_Row]]:
        """Return the columns and the complete rows."""
        whole = self._path.read_text().rpartition("\n")[0]
        reader = csv.DictReader(io.StringIO(whole))
        rows = [row for row in reader if (row.get(_STEP) or "").isdigit() and None not in row.values()]
        return list(reader.fieldnames or [_STEP]), rows

    def _write(self, rows: list[_Row]) -> None:
        self._steps = [int(row[_STEP]) for row in rows]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        header = {name: name for name in self._columns}
        replace_file(self._path, [_lines(self._columns, [header, *rows]).encode()])


def _lines(columns: list[str], rows: list[_Row]) -> str:
    text = io.StringIO(newline="")
    csv.DictWriter(text, columns, restval="", lineterminator="\n").writerows(rows)
    return text.getvalue()
