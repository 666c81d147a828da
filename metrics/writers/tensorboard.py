"""Summaries as TensorBoard charts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.summary_pb2 import Summary as SummaryProto  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.tensor_pb2 import TensorProto  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.types_pb2 import DT_FLOAT, DT_STRING  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.plugins.image import metadata as image_metadata
from tensorboard.plugins.scalar import metadata as scalar_metadata

from .best_so_far import BestSoFar
from .better import Mode
from .event_files import EventFile, drop_after, insert
from .matrix_image import matrix_png
from .run_files import METRICS
from .summary import Summary, is_scalar, scalars

_IMAGE = image_metadata.create_summary_metadata(display_name=None, description=None)
_SCALAR = scalar_metadata.create_summary_metadata(display_name=None, description=None)
_TOTAL = "loss/total"  # what `composite_loss` records, and the Trainer as `loss` again
_ROUNDING = 1e-6  # between the two


class TensorBoardWriter:
    """Writes event files below `model_dir`, one TensorBoard run per split.

    The tags are the metric paths, so a metric's train and eval curves share a chart. Values are float32, as everywhere in
    TensorBoard. Nothing is created before the first write.

    A matrix, such as a confusion matrix, is written as an image. Other arrays are not drawn: a chart holds one number per
    step, and a histogram would lose which class a number belongs to. `metrics.jsonl` has them all.

    The best value so far of a metric of an evaluation is `best/METRIC`, if it is known which side is better. `loss/total` is left
    out while it is the same as `loss`.

    Args:
      model_dir: the run's folder.
      sides: metric, or DATASET/METRIC -> which side of it is better; of others, their name may tell.
    """

    def __init__(self, model_dir: str | Path, sides: Mapping[str, Mode] = MappingProxyType({})):
        self._model_dir = Path(model_dir)
        self._files: dict[str, EventFile] = {}
        self._best = BestSoFar(self._model_dir / METRICS, sides)
        self._with_total: set[str] = set()  # the splits whose `loss/total` has differed from `loss`
        self._restored_step: int | None = None

    def write(self, summary: Summary) -> None:
        """Write the scalars and matrices of a summary; they are in the file when this returns."""
        event = self._event(summary)
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
        event = self._event(summary)
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
        self._best.forget()
        self._restored_step = step
        folders = [self._model_dir / split for split in ("train", "eval")]
        return sum(drop_after(path, step) for folder in folders for path in folder.rglob("*tfevents*"))

    def flush(self) -> None:
        """Do nothing: a point is in its file when `write` returns."""

    def close(self) -> None:
        """Do nothing: no file is held open."""

    def _event(self, summary: Summary) -> Event:
        numbers = scalars(summary)
        if self._is_double(summary.split, numbers):
            del numbers[_TOTAL]
        best = {f"best/{path}": value for path, value in self._best.update(summary).items() if path != _TOTAL}
        values = [scalar_value(tag, value) for tag, value in (numbers | best | summary.times).items()]
        values += [
            _image(tag, np.asarray(value))
            for tag, value in summary.metrics.items()
            if not is_scalar(value) and np.ndim(value) == 2
        ]
        return Event(step=summary.step, summary=SummaryProto(value=values))

    def _is_double(self, split: str, numbers: Mapping[str, float]) -> bool:
        """Return whether the total loss is there, and is the loss; once they have differed in a split, it shows both."""
        if "loss" not in numbers or _TOTAL not in numbers:
            return False
        loss, total = numbers["loss"], numbers[_TOTAL]
        if not (math.isclose(loss, total, rel_tol=_ROUNDING) or (math.isnan(loss) and math.isnan(total))):
            self._with_total.add(split)
        return split not in self._with_total

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
