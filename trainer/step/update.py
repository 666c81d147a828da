"""From the reduced sums to the new weights: divide, check, clip, apply."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import keras
import tensorflow as tf
from absl import logging

from ...metrics.errors import UsageError
from ..model.optimizers import all_of_keras
from .objective import Term, mean_gradients

OnNonFinite = Literal["halt", "skip", "rollback"]


@dataclasses.dataclass(frozen=True)
class UpdateSettings:
    """How the gradients of some steps become one update. See the `Trainer` arguments of the same names."""

    gradient_accumulation: int = 1
    clip_global_norm: float | None = None
    on_nonfinite: OnNonFinite = "halt"
    max_consecutive_skips: int = 10
    jit_compile: bool = False

    @property
    def allowed_skips(self) -> int:
        """The number of updates in a row that may be skipped; 0 stops at the first."""
        return self.max_consecutive_skips if self.on_nonfinite == "skip" else 0

    @property
    def allowed_rollbacks(self) -> int:
        """The number of rollbacks in a row; 0 never rolls back."""
        return self.max_consecutive_skips if self.on_nonfinite == "rollback" else 0


class Update:
    """Applies the sum of all replicas' gradients once, outside any replica.

    What is set on the optimizer (clipping, accumulation, averages, loss scaling) acts on the reduced gradient, and so
    means the same on any number of replicas; inside a replica, Keras would clip before it reduces.

    Args:
      optimizer: built on the model's trainable variables.
      model: the model to train.
      clip_global_norm: the largest global norm of the gradient; None does not clip.
      in_xla_loop: whether the update is part of a loop that XLA compiles.
    """

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer,
        model: keras.Model,
        clip_global_norm: float | None,
        in_xla_loop: bool = False,
    ):
        # Only for Keras's own optimizers is it known that `variables` holds everything they assign.
        chooses = in_xla_loop and all_of_keras(optimizer)
        self._apply_if = self._apply_and_choose if chooses else self._apply_on_condition
        self._optimizer = optimizer
        self.variables: list[keras.Variable] = model.trainable_variables
        self._clip_global_norm = clip_global_norm

    @property
    def scale_loss(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """The optimizer's loss scaling."""
        return self._optimizer.scale_loss

    def apply(self, terms: list[Term]) -> tf.Tensor:
        """Update the weights, unless the loss or the gradient isn't finite.

        Args:
          terms: the terms of the objective, summed over all replicas.

        Returns:
          A bool scalar: whether everything was finite. If not, nothing has changed.
        """
        gradients = dict(sorted(mean_gradients(terms).items()))
        self._name_untouched(gradients)
        finite = self._finite(list(gradients.values()), [term.loss.value for term in terms])
        self._apply_if(finite, gradients)
        return finite

    def _name_untouched(self, gradients: dict[int, tf.Tensor]) -> None:
        if len(gradients) < len(self.variables):
            untouched = [v.path for i, v in enumerate(self.variables) if i not in gradients]
            logging.warning("The task's loss does not depend on %s: they stay as they are.", ", ".join(untouched))

    def _apply_on_condition(self, finite: tf.Tensor, by_position: dict[int, tf.Tensor]) -> None:
        tf.cond(finite, lambda: self._step(by_position), lambda: None)

    def _apply_and_choose(self, finite: tf.Tensor, by_position: dict[int, tf.Tensor]) -> None:
        """Apply, then restore the old values if not finite: XLA copies whatever goes through a condition."""
        variables = [*self.variables, *self._optimizer.variables]
        before = [tf.convert_to_tensor(variable) for variable in variables]
        self._step(by_position)
        for variable, old in zip(variables, before, strict=True):
            variable.assign(tf.where(finite, variable, old))

    def _step(self, by_position: dict[int, tf.Tensor]) -> None:
        gradients = self._clipped(list(by_position.values()))
        positions = list(by_position)
        if isinstance(self._optimizer, keras.optimizers.MultiOptimizer):  # it takes a gradient, or None, per variable
            found = dict(zip(positions, gradients, strict=True))
            positions = list(range(len(self.variables)))
            gradients = [found.get(position) for position in positions]
        try:
            self._optimizer.apply(gradients, [self.variables[position] for position in positions])
        except ValueError as error:
            if "No gradients provided" not in str(error):
                raise
            raise UsageError(
                "Trainer.optimizer: the task's loss depends on no variable of one of MultiOptimizer's groups: remove that "
                "group, or freeze its layers."
            ) from error

    def _clipped(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        if self._clip_global_norm is None:
            return gradients
        # The gradients still carry the loss scale, which the optimizer removes later.
        limit = self._optimizer.scale_loss(tf.constant(self._clip_global_norm, tf.float32))
        return tf.clip_by_global_norm(gradients, limit)[0]

    def _finite(self, gradients: list[tf.Tensor], losses: list[tf.Tensor]) -> tf.Tensor:
        checks = [tf.math.is_finite(loss) for loss in losses]
        if not isinstance(self._optimizer, keras.optimizers.LossScaleOptimizer):
            # A dynamic loss scale is meant to overflow now and then: that optimizer skips such a step itself.
            checks += [tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients]
        return tf.reduce_all(tf.stack(checks))
