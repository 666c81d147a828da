"""From the reduced sums to the new weights: divide, check, clip, apply."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import keras
import tensorflow as tf
from absl import logging

from ...metrics.errors import UsageError
from ..model.optimizers import all_of_keras
from ..task import ONE_LOSS
from .choice import changed_only_if
from .gradients import Gradient, changed, dense, is_by_rows, numbers
from .objective import Term, mean_gradients

OnNonFinite = Literal["halt", "skip", "rollback"]


@dataclasses.dataclass(frozen=True)
class UpdateSettings:
    """The way from the gradients of some steps to one update. See the `Trainer` arguments of the same names."""

    gradient_accumulation: int = 1
    clip_global_norm: float | None = None
    on_nonfinite: OnNonFinite = "halt"
    max_consecutive_skips: int = 10
    jit_compile: bool = False
    update_every: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def allowed_skips(self) -> int:
        """The number of updates in a row that may be skipped; 0 stops at the first."""
        return self.max_consecutive_skips if self.on_nonfinite == "skip" else 0

    @property
    def allowed_rollbacks(self) -> int:
        """The number of rollbacks in a row; 0 never rolls back."""
        return self.max_consecutive_skips if self.on_nonfinite == "rollback" else 0


class Checked(NamedTuple):
    """A reduced gradient.

    Attributes:
      gradients: by position of the variable, ascending; dense, or by rows.
      norm: of all of them, float scalar; None if they are not clipped.
      finite: bool scalar, whether the gradient and its loss are, and the norm.
    """

    gradients: dict[int, Gradient]
    norm: tf.Tensor | None
    finite: tf.Tensor


class Update:
    """Applies the sum of all replicas' gradients of one loss once, outside any replica.

    What is set on the optimizer (clipping, accumulation, averages, loss scaling) acts on the reduced gradient, and so
    means the same on any number of replicas; inside a replica, Keras would clip before it reduces.

    Args:
      optimizer: built on the variables.
      variables: what the loss trains.
      clip_global_norm: the largest global norm of the gradient; None does not clip.
      in_xla_loop: whether the update is part of a loop that XLA compiles.
      name: of the loss, if there are several.
      by_rows: the positions of the variables whose gradient the optimizer takes by its rows; for others it is made dense.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        variables: list[keras.Variable],
        clip_global_norm: float | None,
        in_xla_loop: bool = False,
        name: str = ONE_LOSS,
        by_rows: frozenset[int] = frozenset(),
    ):
        self._in_xla = in_xla_loop
        # Only for Keras's own optimizers is it known that `variables` holds everything they assign.
        chooses = in_xla_loop and all_of_keras(optimizer)
        self._apply_if = self._apply_and_choose if chooses else self._apply_on_condition
        self._name = name
        self._optimizer = optimizer
        self._variables = variables
        self._clip_global_norm = clip_global_norm
        self._by_rows = by_rows

    @property
    def scale_loss(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """The optimizer's loss scaling."""
        return self._optimizer.scale_loss

    @property
    def size(self) -> int:
        """The number of variables."""
        return len(self._variables)

    def unscaled(self, gradient: Gradient) -> Gradient:
        """Return a gradient of the scaled loss as one of the loss."""
        return changed(gradient, lambda each: each / tf.cast(self.scale_loss(tf.ones([])), each.dtype))

    def check(self, terms: list[Term]) -> Checked:
        """Return the gradient, and whether it is finite.

        Args:
          terms: the terms of the objective, summed over all replicas.
        """
        gradients = dict(sorted(mean_gradients(terms, self._in_xla).items()))
        self._name_untouched(gradients)
        found = list(gradients.values())
        norm = None if self._clip_global_norm is None else tf.linalg.global_norm(found)
        finite = self._finite(found, norm, [part for term in terms for part in term.loss])
        return Checked(gradients, norm, finite)

    def apply(self, checked: Checked, condition: tf.Tensor) -> None:
        """Update the weights if `condition` holds, a bool scalar; if not, nothing changes."""
        self._apply_if(condition, checked)

    def _name_untouched(self, gradients: Mapping[int, Gradient]) -> None:
        if len(gradients) < len(self._variables):
            untouched = [v.path for i, v in enumerate(self._variables) if i not in gradients]
            which = f"loss {self._name!r}" if self._name else "loss"
            logging.warning("The task's %s does not depend on %s: they stay as they are.", which, ", ".join(untouched))

    def _apply_on_condition(self, condition: tf.Tensor, checked: Checked) -> None:
        tf.cond(condition, lambda: self._step(checked), lambda: None)

    def _apply_and_choose(self, condition: tf.Tensor, checked: Checked) -> None:
        with changed_only_if(condition, self._optimizer, self._variables):
            self._step(checked)

    def _step(self, checked: Checked) -> None:
        positions = list(checked.gradients)
        gradients = self._of_rules(positions, self._clipped(checked))
        if isinstance(self._optimizer, keras.optimizers.MultiOptimizer):  # it takes a gradient, or None, per variable
            found = dict(zip(positions, gradients, strict=True))
            positions = list(range(len(self._variables)))
            gradients = [found.get(position) for position in positions]
        try:
            self._optimizer.apply(gradients, [self._variables[position] for position in positions])
        except ValueError as error:
            if "No gradients provided" not in str(error):
                raise
            raise UsageError(
                "Trainer.optimizer: the task's loss depends on no variable of one of MultiOptimizer's groups: remove that "
                "group, or freeze its layers."
            ) from error

    def _of_rules(self, positions: list[int], gradients: list[Gradient]) -> list[Gradient]:
        """Return the gradients as the optimizer's rules take them: by rows, or dense."""
        as_rows = [is_by_rows(each) for each in gradients]
        wanted = [position in self._by_rows for position in positions]
        if not any(given and not taken for given, taken in zip(as_rows, wanted, strict=True)):
            return gradients
        # Those that were dense, too: within a condition, TensorFlow wants all that it reduces to be made there.
        return [
            each if given and taken else tf.identity(dense(each))
            for each, given, taken in zip(gradients, as_rows, wanted, strict=True)
        ]

    def _clipped(self, checked: Checked) -> list[Gradient]:
        gradients = list(checked.gradients.values())
        if self._clip_global_norm is None:
            return gradients
        # The gradients still carry the loss scale, which the optimizer removes later.
        limit = self._optimizer.scale_loss(tf.constant(self._clip_global_norm, tf.float32))
        return tf.clip_by_global_norm(gradients, limit, checked.norm)[0]

    def _finite(self, gradients: list[Gradient], norm: tf.Tensor | None, losses: list[tf.Tensor]) -> tf.Tensor:
        checks = [tf.math.is_finite(loss) for loss in losses]
        # A dynamic loss scale is meant to overflow now and then: that optimizer skips such a step itself.
        if not isinstance(self._optimizer, keras.optimizers.LossScaleOptimizer):
            # A norm isn't finite if one of the numbers is not, or if it overflows: clipping would then make all of them NaN.
            parts = [numbers(each) for each in gradients] if norm is None else [norm]
            checks += [tf.reduce_all(tf.math.is_finite(part)) for part in parts]
        return tf.reduce_all(tf.stack(checks))


class Updates:
    """The updates of all losses of a step: from the weights before it, for all of them.

    Args:
      updates: name of a loss -> its update.
      every: name of a loss -> it is updated at every so many updates of the run, 1 if it is not named.
    """

    def __init__(self, updates: Mapping[str, Update], every: Mapping[str, int]):
        self._updates = updates
        self._every = every

    @property
    def names(self) -> list[str]:
        """The names of the losses."""
        return list(self._updates)

    def scale_of(self, name: str) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return the loss scaling of a loss's optimizer."""
        return self._updates[name].scale_loss

    def due(self, step: tf.Tensor, steps_per_update: int) -> tf.Tensor | None:
        """Return which losses are updated if the step with this number ends an update: bool, (losses,), or () for one loss.

        None stands for all of them, always.
        """
        if not self._every:
            return None
        number = step // steps_per_update
        return self._shaped([self._is_due(name, number) for name in self._updates])

    def apply(
        self, due: tf.Tensor | None, tolerated: Callable[[], tf.Tensor], terms: Mapping[str, list[Term]]
    ) -> tf.Tensor:
        """Apply each loss's gradient, unless it isn't finite, or another is not and that stops the run.

        Args:
          due: what `due` returns.
          tolerated: returns, in that shape, whether the run goes on without this update of the loss, if it isn't finite.
          terms: name of a loss -> the terms of its objective, summed over all replicas.

        Returns:
          bool, in that shape: whether everything about the loss was finite; True for one that is not due.
        """
        checked = {name: update.check(terms[name]) for name, update in self._updates.items()}
        finite = self._shaped([each.finite for each in checked.values()])
        if due is not None:
            finite = tf.logical_or(finite, tf.logical_not(due))
        applied = finite & tf.reduce_all(finite | tolerated()) if len(checked) > 1 else finite
        if due is not None:
            applied = tf.logical_and(applied, due)
        conditions = tf.unstack(applied) if len(checked) > 1 else [applied]
        for (name, each), condition in zip(checked.items(), conditions, strict=True):
            self._updates[name].apply(each, condition)
        return finite

    def apply_all(self, terms: Mapping[str, list[Term]]) -> dict[int, tf.Tensor]:
        """Apply each loss's gradient that is finite, whether it is due or not.

        Args:
          terms: name of a loss -> the terms of its objective, summed over all replicas.

        Returns:
          The gradients, dense, by position in the variables of all losses, one after the other.
        """
        found: dict[int, tf.Tensor] = {}
        first = 0
        for name, update in self._updates.items():
            checked = update.check(terms[name])
            update.apply(checked, checked.finite)
            found |= {first + i: dense(update.unscaled(gradient)) for i, gradient in checked.gradients.items()}
            first += update.size
        return found

    def _is_due(self, name: str, number: tf.Tensor) -> tf.Tensor:
        every = self._every.get(name, 1)
        return tf.constant(True) if every == 1 else tf.math.floormod(number + 1, every) == 0

    @staticmethod
    def _shaped(losses: list[tf.Tensor]) -> tf.Tensor:
        return tf.stack(losses) if len(losses) > 1 else losses[0]
