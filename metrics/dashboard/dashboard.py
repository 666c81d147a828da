"""The writer of what a run tells TensorBoard about itself."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..writers.run_files import METRICS
from ..writers.summary import Ending, RunDescription, Summary, scalars

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
    from tensorboard.compat.proto.summary_pb2 import Summary as SummaryProto  # pyright: ignore[reportAttributeAccessIssue]

    from ..writers.event_files import EventFile
    from .layout import Charts

_SUFFIX: Final = ".run"
README: Final = "README.md"
_MOST: Final = 100_000  # characters of it


class Dashboard:
    """Writes an event file in the run's folder itself, beside the folders of its splits.

    It holds the run's row in HParams, its texts, its graph, and the layout of its charts. TensorBoard keeps the first row that it
    reads of a run, so each start of the run replaces the file. What is in it can be made again from the run's other files.

    Args:
      model_dir: the run's folder.
    """

    def __init__(self, model_dir: Path):
        self._folder = model_dir
        self._file: EventFile | None = None
        self._step = 0
        self._paths: set[str] = set()  # of the metrics so far
        self._own: Charts = {}
        self._automatic = True
        self._readme = ""

    def begin(self, run: RunDescription) -> None:
        """Replace the file of the start before."""
        from ..writers.event_files import (
            EventFile,  # TensorBoard loads in the thread that writes, beside the first steps.
        )
        from .hparams import start_value

        # Without a row until the new file is there, rather than with that of the start before.
        for old in self._folder.glob(f"*tfevents*{_SUFFIX}"):
            old.unlink()
        self._step, self._readme = run.step, ""
        self._file = EventFile(self._folder, suffix=_SUFFIX)
        self._add(start_value(run.hparams))
        self._write_readme()
        for title, text in run.texts.items():
            self._write_text(title, text)
        self._paths = _paths_in(self._folder / METRICS)
        self._write_layout()

    def write(self, summary: Summary) -> None:
        """Write the layout again if the summary has metrics that it lacks."""
        self._step = max(self._step, summary.step)
        found = {*scalars(summary), *summary.times}
        if self._file is not None and not found <= self._paths:
            self._paths |= found
            self._write_layout()

    def arrange(self, charts: Charts, automatic: bool) -> None:
        """Put a user's charts first in the layout; without the `automatic` ones, show these alone."""
        self._own, self._automatic = charts, automatic
        if self._file is not None:
            self._write_layout()

    def graph(self, graph_def: bytes) -> None:
        """Write a serialized `GraphDef`."""
        from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]

        self._append(Event(graph_def=graph_def))

    def end(self, ending: Ending) -> None:
        """Write how the run ended, and the README as it is now."""
        from .hparams import end_value

        self._write_readme()
        self._write_text("run/end", _escaped(ending.reason))
        if (value := end_value(ending)) is not None:
            self._add(value)

    def flush(self) -> None:
        """Do nothing: all is in the file when a method returns."""

    def close(self) -> None:
        """Do nothing: no file is held open."""

    def _write_layout(self) -> None:
        from .layout import charts_of, layout_value

        automatic = charts_of(self._paths) if self._automatic or not self._own else {}
        if charts := {**self._own, **{title: each for title, each in automatic.items() if title not in self._own}}:
            self._add(layout_value(charts))

    def _write_readme(self) -> None:
        try:
            text = (self._folder / README).read_text(errors="replace")[:_MOST]
        except OSError:  # there is none, or it is not for us
            text = ""
        if text != self._readme:
            self._readme = text
            self._write_text("run/readme", text)

    def _write_text(self, title: str, text: str) -> None:
        from ..writers.media import text_value

        self._add(text_value(title, text))

    def _add(self, value: SummaryProto.Value) -> None:
        from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
        from tensorboard.compat.proto.summary_pb2 import Summary as SummaryProto  # pyright: ignore[reportAttributeAccessIssue]

        self._append(Event(step=self._step, summary=SummaryProto(value=[value])))

    def _append(self, event: Event) -> None:
        if self._file is None:
            return
        try:
            self._file.append(event)
        except OSError:
            self._file = None  # it may end in half a record, which no reader gets past
            raise


def _paths_in(path: Path) -> set[str]:
    """Return the paths of the numbers in a metrics.jsonl."""
    lines = path.read_bytes().splitlines() if path.exists() else []
    return {name for line in lines for name, value in _metrics(line) if not isinstance(value, list)}


def _metrics(line: bytes) -> Iterable[tuple[str, object]]:
    try:
        return json.loads(line)["metrics"].items()
    except (ValueError, KeyError, TypeError, AttributeError):  # torn, or not ours
        return ()


def _escaped(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    return "".join(f"    {line}\n" for line in text.splitlines())
