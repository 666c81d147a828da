"""Steps beside the run: they are made on its own state, which is then as it was before."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ..checkpointing.snapshot import Snapshots, write
from ..step.batches import data_errors_located, fetch_one
from .train_session import TrainSession


@contextlib.contextmanager
def unchanged(session: TrainSession) -> Iterator[None]:
    """Put back, at the end of the context, all that a checkpoint holds. All workers call this."""
    session.state.before_save()
    state = session.state.checkpoint()
    with tempfile.TemporaryDirectory(prefix="tallyloop-") as folder:
        prefix = Path(folder) / "state"
        write(Snapshots(state).take(), prefix)
        try:
            with session.loop.fetching.uncounted():
                yield
        finally:
            state.read(str(prefix)).assert_existing_objects_matched().expect_partial()
            session.state.after_restore()


class Probed(NamedTuple):
    """The effect of a step on a variable.

    Attributes:
      path: the variable's.
      weights: its value.
      gradient: of the loss, before clipping; None if the loss doesn't depend on the variable.
      update: what would be added to the weights.
    """

    path: str
    weights: np.ndarray
    gradient: np.ndarray | None
    update: np.ndarray


class UpdateProbe:
    """Makes the update of the first batch of the train data, again and again, and undoes it.

    Args:
      session: whose model, optimizer and step these are.
    """

    def __init__(self, session: TrainSession):
        self._session = session
        self._feed = session.open_feed()
        with data_errors_located(self._feed, 0):
            self._batch = fetch_one(self._feed, 0)
        # Called as it was traced: TensorFlow takes several probes for one function that is traced again, and warns.
        self._update = tf.function(self._updated, autograph=False).get_concrete_function()

    @property
    def graph(self) -> tf.Graph:
        """The update, as it was traced."""
        return self._update.graph

    def run(self) -> list[Probed]:
        """Return what the update would do to each trainable variable. All workers call this."""
        variables = self._session.variables
        before = [variable.numpy() for variable in variables]
        kept = [(variable, variable.numpy()) for variable in self._session.changed_by_update]
        try:
            gradients = self._update()
            after = [variable.numpy() for variable in variables]
        finally:
            for variable, value in kept:
                variable.assign(value)
        return [
            Probed(variable.path, old, _numpy(gradients.get(i)), new - old)
            for i, (variable, old, new) in enumerate(zip(variables, before, after, strict=True))
        ]

    def _updated(self) -> dict[int, tf.Tensor]:
        return self._session.loop.update_by(self._feed, *self._batch)


def _numpy(tensor: tf.Tensor | None) -> np.ndarray | None:
    return None if tensor is None else tensor.numpy()
