"""Calling a traced function with as little Python as can be."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

_NODE = re.compile(r"\{\{node ([^}]+)\}\}")
_OURS = Path(__file__).parent
_NOT_THE_USERS = tuple(
    map(str, (Path(tf.__file__).parent, Path(keras.__file__).parent, _OURS, _OURS.parent / "metrics"))
)


class DirectCall:
    """A traced function as the one operation that it is, where all is on one CPU.

    TensorFlow's own call matches each argument with its specification, in Python. That takes longer than a small step, and
    is in vain where the arguments are always alike. (TensorFlow 2.21 cannot place an operation on several devices, and an
    accelerator would be given all arguments in its own memory.)

    Args:
      traced: has one output.
      graphs: where to look for the operation that an error names.
    """

    def __init__(self, traced: tf.types.experimental.ConcreteFunction, graphs: Iterable[tf.Graph]):
        self._traced = traced
        self._graphs = graphs
        self._captured = list(traced.captured_inputs)
        (self._output,) = traced.outputs

    def __call__(self, *arguments: Any) -> tf.Tensor:
        """Calls it with nests of tensors like those that it was traced with; returns its output.

        Raises:
          tf.errors.OpError: an operation failed; a note says which line of the user's code made it.
        """
        try:
            (output,) = tf.raw_ops.StatefulPartitionedCall(
                args=[*tf.nest.flatten(arguments), *self._captured], Tout=[self._output.dtype], f=self._traced
            )
            return output
        except tf.errors.OpError as error:
            for place in self._places(error.message):
                error.add_note(place)
            raise

    def _places(self, message: str) -> Iterable[str]:
        """Where each operation that the message names was made: the innermost line of neither TensorFlow nor Keras nor us."""
        names = set(_NODE.findall(message))
        for operation in (op for graph in self._graphs for op in graph.get_operations() if op.name in names):
            frames = [frame for frame in operation.traceback if not frame.filename.startswith(_NOT_THE_USERS)]
            if frames:
                yield f"{operation.name} is made here:\n{''.join(traceback.format_list(frames[-1:])).rstrip()}"
