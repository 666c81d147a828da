"""What actions write to TensorBoard besides the metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from ...metrics.writers.media import histogram_value, image_value, text_value
from ...metrics.writers.tensorboard import scalar_value
from .run_writer import NullWriter, RunWriter


class Board:
    """Writes texts, images, histograms and numbers to the event files of a run, at its current step.

    All workers may call the methods; the chief of a run with a `model_dir` writes.

    Args:
      writer: the run's.
      step: returns the current step.
    """

    def __init__(self, writer: RunWriter | NullWriter, step: Callable[[], int]):
        self._writer = writer
        self._step = step

    def text(self, tag: str, text: str | Sequence[str], split: str = "train") -> None:
        """Write a text, or several, which TensorBoard shows as Markdown.

        Args:
          tag: its name; `/` groups names, as in those of metrics.
          text: the text.
          split: the TensorBoard run: "train" or "eval".
        """
        self._write(text_value(tag, text), split)

    def images(self, tag: str, images: Any, split: str = "train") -> None:
        """Write images.

        Args:
          tag: their name; `/` groups names, as in those of metrics.
          images: (images, height, width, channels), integers from 0 to 255 or floating-point numbers from 0 to 1.
          split: the TensorBoard run: "train" or "eval".
        """
        self._write(image_value(tag, images), split)

    def histogram(self, tag: str, numbers: Any, split: str = "train") -> None:
        """Write the histogram of an array.

        Args:
          tag: its name; `/` groups names, as in those of metrics.
          numbers: an array of any shape.
          split: the TensorBoard run: "train" or "eval".
        """
        self._write(histogram_value(tag, numbers), split)

    def scalar(self, tag: str, number: float, split: str = "train") -> None:
        """Write a number that isn't a metric, so that it is in no metrics.jsonl.

        Args:
          tag: its name; `/` groups names, as in those of metrics.
          number: the point of this step.
          split: the TensorBoard run: "train" or "eval".
        """
        self._write(scalar_value(tag, float(number)), split)

    def arrange(self, charts: Mapping[str, Mapping[str, Sequence[str]]], automatic: bool = True) -> None:
        """Arrange the charts of the dashboard Custom Scalars.

        Args:
          charts: title of a group -> title of a chart -> regular expressions, of which one matches the whole name of each metric
            in the chart.
          automatic: whether the charts of all metrics follow.
        """
        self._writer.arrange(charts, automatic)

    def graph(self, graph: tf.Graph) -> None:
        """Write a graph; it takes the place of an earlier one."""
        self._writer.graph(graph.as_graph_def(add_shapes=True).SerializeToString())

    def _write(self, value: Any, split: str) -> None:
        self._writer.add(split, self._step(), value)
