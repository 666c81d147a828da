"""Going back to a step: from the newest checkpoint before it, or from the start of the run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ...metrics.device.accumulator import Drained
from ...metrics.errors import UsageError
from ..distribution import workers
from ..loop.model_weights import ModelWeights
from ..loop.probing import unchanged
from ..loop.schedule import Schedule
from ..loop.train_session import TrainSession
from ..step.batches import data_errors_located, fetch_one, whole_batch
from ..step.first_non_finite import first_in_batch
from ..step.watching import own_shards
from .examining import examine
from .result import Replay
from .run_folder import Agreement, RunFolder, compare, losses_in


class Replaying:
    """Replays a step of a run; afterwards, the session is as it was before.

    Args:
      session: what is trained, traced.
      weights: gives it the weights of the start.
      schedule: when the run wrote summaries and checkpoints.
      folder: the run's; None if it has none.
      repeats: whether the run begins with the same weights each time, as it has a seed.
      steps_per_update: how many steps add up to an update.
    """

    def __init__(
        self,
        session: TrainSession,
        weights: ModelWeights,
        schedule: Schedule,
        folder: RunFolder | None,
        repeats: bool,
        steps_per_update: int,
    ):
        self._session = session
        self._weights = weights
        self._schedule = schedule
        self._folder = folder
        self._repeats = repeats
        self._steps_per_update = steps_per_update
        self._written = folder.losses() if folder else {}
        self._agreement = Agreement([], [])

    def replay(self, step: int, another_model: Callable[[], keras.Model]) -> Replay:
        """Return what happened in the step.

        Args:
          step: its number, from 1.
          another_model: makes one more model like the run's.

        Raises:
          UsageError: the run has not made that step, it cannot be reached, or there are several workers.
        """
        if workers.is_multi_worker(self._session.strategy):
            raise UsageError(
                f"Replay of step {step}: Trainer.strategy has several workers: expected one process. Give "
                "--gin_param=Trainer.strategy=@mirrored(), which gives the same numbers up to rounding."
            )
        if self._folder is not None:
            self._folder.check(step, self._schedule.checkpoint_interval)
        with unchanged(self._session):
            checkpoint = self._go_back(step)
            self._train_to(step - 1)
            return self._look(step, checkpoint, another_model)

    def _go_back(self, step: int) -> int | None:
        """Restore the newest checkpoint before the step; return its step, or None at the start of the run."""
        found = None if self._folder is None else self._session.restore_before(step, self._folder.checkpoints)
        if found is None:
            if not self._repeats:
                raise UsageError(
                    f"Replay of step {step}: there is no checkpoint before it, and with Trainer.seed = None the run cannot be "
                    "repeated from its start: expected a later step, or a seed."
                )
            self._weights.begin()
        return found

    def _train_to(self, end: int) -> None:
        session = self._session
        while (step := session.progress.step) < end:
            wanted = min(self._schedule.loop_steps(step, session.loop_length.longest), end - step)
            if not session.loop.run(step, wanted):
                at = session.progress.step + 1
                raise UsageError(
                    f"Replay of step {end + 1}: on the way there, the loss or a gradient is not finite at step {at}, where the "
                    f"run stopped or was rolled back: expected a step up to {at}. Replay that one: --step={at}"
                )
            if self._schedule.summarizes(session.progress.step):
                self._compare(session.drain())

    def _compare(self, drained: Drained) -> None:
        step = self._session.progress.step
        if step in self._written:
            values, _ = self._session.registry.finish(drained.tallies(), 1.0)
            compare(self._agreement, step, self._written[step], losses_in(values))

    def _look(self, step: int, checkpoint: int | None, another_model: Callable[[], keras.Model]) -> Replay:
        session = self._session
        alone = step == 1 or self._schedule.summarizes(step - 1)  # the run's next summary began with this step
        session.drain()
        looked = self._look_ahead(step)
        weights = [variable.numpy() for variable in session.model.variables]
        before = [variable.numpy() for variable in session.variables]
        started = time.monotonic()
        finite = session.loop.run(step - 1, 1)
        seconds = time.monotonic() - started
        drained = session.drain()
        values, _ = session.registry.finish(drained.tallies(), seconds)
        if alone and step in self._written:
            compare(self._agreement, step, self._written[step], losses_in(values))
        after = [variable.numpy() for variable in session.variables]
        paths = [variable.path for variable in session.variables]
        if not finite and looked["first_non_finite"] is None:
            looked["first_non_finite"] = self._elsewhere(step)
        return Replay(
            step=step,
            checkpoint=checkpoint,
            replicas=session.strategy.num_replicas_in_sync,
            finite=finite,
            metrics=values,
            by_replica=self._by_replica(drained, seconds),
            weights=dict(zip(paths, before, strict=True)),
            updates={path: new - old for path, old, new in zip(paths, before, after, strict=True)},
            agreement=self._agreement,
            make_model=lambda: _assigned(another_model(), weights),
            **looked,
        )

    def _elsewhere(self, step: int) -> str:
        """Describe where to look for a number that isn't finite, if there is none in the eager pass of the step."""
        earlier = (step - 1) % self._steps_per_update
        if earlier:
            return f"an earlier step of this update: replay step {step - 1}" + (
                f", or from {step - earlier} on" if earlier > 1 else ""
            )
        return "the compiled step alone: run eagerly, all numbers were finite"

    def _look_ahead(self, step: int) -> dict[str, Any]:
        """Return what is computed beside the run, before the step: batch, examples, layers and gradients."""
        session, feed = self._session, self._session.feed
        with unchanged(session):
            with data_errors_located(feed, step - 1):
                part, examples = fetch_one(feed, step - 1)
            batch = tf.nest.map_structure(lambda tensor: tensor.numpy(), whole_batch(feed, part, examples))
            shards = list(own_shards(session.strategy, feed, part, examples))
            examined = examine(shards, session.losses, session.train_step)
            gradients = self._gradients(part, examples)
            numbers = [*examined.losses.values(), *gradients.values()]
            bad = any(each.non_finite for each in examined.layers) or not all(np.isfinite(n).all() for n in numbers)
            first = first_in_batch(shards, session.losses, session.train_step) if bad else None
        return {
            "batch": batch,
            "rows": feed.rows(step - 1),
            "place": feed.describe(step - 1),
            "examined": examined,
            "gradients": gradients,
            "first_non_finite": first,
        }

    def _gradients(self, part: Any, examples: tf.Tensor) -> dict[str, np.ndarray]:
        session = self._session
        update = tf.function(lambda: session.loop.update_by(session.feed, part, examples), autograph=False)
        found = update.get_concrete_function()()
        return {session.variables[int(i)].path: gradient.numpy() for i, gradient in sorted(found.items())}

    def _by_replica(self, drained: Drained, seconds: float) -> list[dict[str, Any]]:
        """Return the metrics of each replica alone; empty for one without examples."""
        found = []
        for vector in drained.per_replica:
            tallies = drained.layout.unpack(vector.numpy())
            counted = {path: tally for path, tally in tallies.items() if np.any(tally.count)}
            found.append(self._session.registry.finish(counted, seconds)[0])
        return found


def _assigned(model: keras.Model, weights: list[np.ndarray]) -> keras.Model:
    for variable, value in zip(model.variables, weights, strict=True):
        variable.assign(value)
    return model
