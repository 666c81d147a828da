"""Summaries as TensorBoard charts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.summary_pb2 import Summary as SummaryProto  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.tensor_pb2 import TensorProto  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_STRING  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar import metadata as scalar_metadata

from .event_files import EventFile, drop_after, insert
from .matrix_image import matrix_png
from .summary import Summary, is_scalar, scalars

_IMAGE = image_metadata.create_summary_metadata(display_name=None, description=None)
_SCALAR = scalar_metadata.create_summary_metadata(display_name=None, description=None)


class TensorBoardWriter:
    """Writes event files below `model_dir`, one TensorBoard run per split.

    The tags are the metric paths, so a metric's train and eval curves share a chart. Values are float32, as everywhere in
    TensorBoard. Nothing is created before the first write.

    A matrix, such as a confusion matrix, is written as an image. Other arrays are not drawn: a chart holds one number per
    step, and a histogram would lose which class a number belongs to. `metrics.jsonl` has them all.

    Args:
      model_dir: the run's folder.
    """

    def __init__(self, model_dir: str | Path):
        self._model_dir = Path(model_dir)
        self._files: dict[str, EventFile] = {}
        self._restored_step: int | None = None

    def write(self, summary: Summary) -> None:
        """Write the scalars and matrices of a summary; they are in the file when this returns."""
        event = _event(summary)
        if event.summary.value:
            self._append(summary.split, event)

    def add(self, split: str, step: int, value: SummaryProto.Value) -> None:
        """Write something else than a metric; it is in the file when this returns."""
        self._append(split, Event(step=step, summary=SummaryProto(value=[value])))

    def upsert(self, summary: Summary) -> None:
        """Write a summary so that its split has one point per step, in order of the steps.

        This serves an evaluation of any checkpoint at any time: TensorBoard takes a step that goes back for a restart, and
        forgets all later points. A running TensorBoard shows a point inserted among older ones once it is restarted.
        """
        event = _event(summary)
        if event.summary.value and not insert(self._model_dir / summary.split, event):
            self._append(summary.split, event)

    def truncate_after(self, step: int) -> int:
        """Take every point past `step` off the charts. A resume from `step` has to call this first.

        A TensorBoard started later never sees the points. One that is already running with its fast data server (the
        default) drops a metric's points when the metric's first new point arrives; with `--load_fast=false`, when the
        split's next file is opened.

        Returns:
          The number of summaries dropped.
        """
        # Later summaries go into new files, which tell a running TensorBoard about the step.
        self._files.clear()
        self._restored_step = step
        folders = [self._model_dir / split for split in ("train", "eval")]
        return sum(drop_after(path, step) for folder in folders for path in folder.rglob("*tfevents*"))

    def flush(self) -> None:
        """Do nothing: a point is in its file when `write` returns."""

    def close(self) -> None:
        """Do nothing: no file is held open."""

    def _append(self, split: str, event: Event) -> None:
        if split not in self._files:
            restart_step = None if self._restored_step is None else self._restored_step + 1
            self._files[split] = EventFile(self._model_dir / split, restart_step)
        try:
            self._files[split].append(event)
        except OSError:
            # The file may end in half a record, and no reader gets past that.
            del self._files[split]
            raise


def _event(summary: Summary) -> Event:
    values = [scalar_value(tag, value) for tag, value in (scalars(summary) | summary.times).items()]
    values += [
        _image(tag, np.asarray(value))
        for tag, value in summary.metrics.items()
        if not is_scalar(value) and np.ndim(value) == 2
    ]
    return Event(step=summary.step, summary=SummaryProto(value=values))


def scalar_value(tag: str, value: float) -> SummaryProto.Value:
    """Return a number as a point of a chart."""
    tensor = TensorProto(dtype=DT_FLOAT, tensor_shape=TensorShapeProto(), float_val=[value])
    return SummaryProto.Value(tag=tag, tensor=tensor, metadata=_SCALAR)


def _image(tag: str, matrix: np.ndarray) -> SummaryProto.Value:
    png, width, height = matrix_png(matrix)
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=3)])
    parts = [str(width).encode(), str(height).encode(), png]
    return SummaryProto.Value(
        tag=tag, tensor=TensorProto(dtype=DT_STRING, tensor_shape=shape, string_val=parts), metadata=_IMAGE
    )
