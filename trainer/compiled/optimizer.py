"""The optimizer of a compiled model, with the state that it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from ...metrics.errors import UsageError


def continued(optimizer: Any) -> keras.optimizers.Optimizer | Callable[[], keras.optimizers.Optimizer] | None:
    """Return the optimizer if it has no state yet; else what makes a copy that begins with its state.

    Raises:
      UsageError: the copy would have other settings.
    """
    if optimizer is None or not optimizer.built:
        return optimizer
    if _excludes(optimizer):
        raise UsageError(
            f"from_keras: the optimizer {optimizer.name!r} was built already (the model was fitted), and what "
            "exclude_from_weight_decay has set cannot be copied: compile the model anew with an unbuilt optimizer."
        )
    return lambda: _copy(optimizer)


def _copy(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Return an unbuilt copy which takes over the state when it is built, as only then has it the variables for it."""
    copy = type(optimizer).from_config(optimizer.get_config())
    build = copy.build

    def build_and_continue(variables: list[keras.Variable]) -> None:
        build(variables)
        if len(copy.variables) != len(optimizer.variables):
            raise UsageError(
                f"from_keras: the optimizer {optimizer.name!r} has the state of {len(optimizer.variables)} variables, and the "
                f"model now trains with {len(copy.variables)}: it was fitted with other layers frozen. Compile it anew."
            )
        for mine, its in zip(copy.variables, optimizer.variables, strict=True):
            mine.assign(its.numpy())

    copy.build = build_and_continue
    return copy


def _excludes(optimizer: keras.optimizers.Optimizer) -> bool:
    """Return whether `exclude_from_weight_decay` was called. Keras has no public access to what it was given."""
    given = ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern")
    return any(getattr(optimizer, name, None) for name in given)
