"""Groups of variables that are trained differently: their learning rate, their weight decay, or not at all."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gin
import keras
import tensorflow as tf
from absl import logging

from ...data.checks import number, true_or_false
from ...metrics.errors import UsageError
from .optimizers import parts

_MOST_NAMED = 12
_SMALL_FACTOR = 1e-3  # of a learning rate; whoever gives less has probably given a rate


@gin.register(module="tallyloop")
@dataclasses.dataclass(frozen=True, eq=False)
class ParameterGroup:
    """Some variables, and how they are trained. A variable is in the first group that it matches.

    Attributes:
      variables: regular expressions, found anywhere in the path of a variable, such as `head/kernel`, which does not begin with
        the name of the model; or the variables themselves.
      learning_rate: a factor of the optimizer's learning rate, whatever its schedule.
      weight_decay: instead of the optimizer's; 0 is none. As in Keras, it is multiplied by the learning rate, here by that of the
        group. None keeps the optimizer's.
      freeze: leave the variables as they are.

    Raises:
      UsageError: an argument is wrong, or the group changes nothing.
    """

    variables: Sequence[str | keras.Variable]
    learning_rate: float = 1.0
    weight_decay: float | None = None
    freeze: bool = False

    def __post_init__(self):
        _check_patterns("ParameterGroup.variables", self.variables)
        nothing = "ParameterGroup.freeze = True to train nothing"
        number("ParameterGroup.learning_rate", self.learning_rate, above=0, otherwise=nothing)
        if self.weight_decay is not None:
            number("ParameterGroup.weight_decay", self.weight_decay, least=0, otherwise="None")
        true_or_false("ParameterGroup.freeze", self.freeze)
        if self.learning_rate == 1 and self.weight_decay is None and not self.freeze:
            raise UsageError(
                f"ParameterGroup.variables = {list(self.variables)!r}: expected a learning_rate other than 1, a weight_decay or "
                "freeze = True, as the group changes nothing otherwise."
            )


GroupMaker = Callable[[keras.Model], Sequence[ParameterGroup]]


@gin.register(module="tallyloop")
def layer_wise_decay(rate: float, layers: Sequence[str] | None = None) -> GroupMaker:
    """Return what makes a group of each layer but the last: it has `rate` times the learning rate of the layer after it.

    Args:
      rate: between 0 and 1, such as 0.8.
      layers: regular expressions for the variables of each layer, from the input to the output; what matches none of them has the
        whole rate. None takes the layers of the model itself that have variables, in its order.

    Raises:
      UsageError: an argument is wrong.
    """
    factor = number("layer_wise_decay.rate", rate, above=0, below=1)
    if layers is not None:
        _check_patterns("layer_wise_decay.layers", layers)

    def make(model: keras.Model) -> list[ParameterGroup]:
        found = [[each] for each in layers] if layers is not None else _weights_by_layer(model)
        last = len(found) - 1
        return [ParameterGroup(each, factor ** (last - i)) for i, each in enumerate(found[:-1])]

    return make


class ParameterGroups:
    """The groups of a model, and the variables without weight decay.

    Args:
      groups: see `Trainer.parameter_groups`.
      weight_decay_exclude: see `Trainer.weight_decay_exclude`.

    Raises:
      UsageError: one of them is wrong.
    """

    def __init__(self, groups: Any, weight_decay_exclude: Any):
        if not isinstance(groups, Sequence) or not all(isinstance(g, ParameterGroup) or callable(g) for g in groups):
            raise UsageError(
                f"Trainer.parameter_groups = {groups!r}: expected a list of groups, such as [@head/ParameterGroup()] or "
                "[@layer_wise_decay()] (mind the parentheses)."
            )
        if not isinstance(weight_decay_exclude, Sequence) or weight_decay_exclude:
            _check_patterns("Trainer.weight_decay_exclude", weight_decay_exclude)
        self._groups = groups
        self._exclude = weight_decay_exclude

    def freeze(self, model: keras.Model) -> None:
        """Make the variables of the groups with `freeze` untrainable.

        Raises:
          UsageError: a group has no variable, or nothing is left to train.
        """
        groups = self._by_variable(model)
        frozen = [weight for weight in model.weights if id(weight) in groups and groups[id(weight)].freeze]
        for variable in frozen:
            variable.trainable = False
        if frozen and not model.trainable_variables:
            raise UsageError(
                f"Trainer.parameter_groups = {self._groups!r}: expected a variable that is left to train; freeze fewer."
            )

    def prepare(self, optimizers: Sequence[keras.optimizers.Optimizer], model: keras.Model) -> None:
        """Let optimizers treat each variable as its group says, before they are built.

        Raises:
          UsageError: they cannot.
        """
        groups = self._by_variable(model)
        excluded = {id(weight) for weight in _matching("Trainer.weight_decay_exclude", self._exclude, model)}
        found = [part for each in optimizers for part in parts(each)]
        decays = [part.weight_decay for part in found] + [group.weight_decay for group in groups.values()]
        if excluded and not any(decays):
            raise UsageError(
                f"Trainer.weight_decay_exclude = {list(self._exclude)!r}: expected an optimizer with weight_decay, such as "
                "AdamW, and Trainer.optimizer has none."
            )
        for part in found:
            if groups:
                _update_by_group(part, model.trainable_variables, groups, excluded)
            if groups or excluded:
                own = [v for v in model.trainable_variables if id(v) in groups or id(v) in excluded]
                _exclude_from_weight_decay(part, own, model.trainable_variables)

    def _by_variable(self, model: keras.Model) -> dict[int, ParameterGroup]:
        """Return the identity of a variable -> its group."""
        found: dict[int, ParameterGroup] = {}
        for group in (group for each in self._groups for group in _made(each, model)):
            matching = _matching("ParameterGroup.variables", group.variables, model)
            mine = {id(weight): group for weight in matching if id(weight) not in found}
            if not mine:
                raise UsageError(
                    f"ParameterGroup.variables = {list(group.variables)!r}: expected a variable that is in no group before it; a "
                    "variable is in the first that it matches. Change the order of Trainer.parameter_groups."
                )
            found |= mine
        return found


def _made(given: ParameterGroup | GroupMaker, model: keras.Model) -> Sequence[ParameterGroup]:
    if isinstance(given, ParameterGroup):
        if given.learning_rate < _SMALL_FACTOR:
            logging.warning(
                "ParameterGroup.learning_rate = %s is a factor of the optimizer's rate, not a rate: %s hardly train.",
                given.learning_rate,
                list(given.variables),
            )
        return [given]
    made = [] if isinstance(given, type) else given(model)
    if not isinstance(made, Sequence) or not made or not all(isinstance(each, ParameterGroup) for each in made):
        got = f"{given!r}, which returns {made!r}" if made else f"{given!r}"
        raise UsageError(
            f"Trainer.parameter_groups: expected groups, or functions of the model that return a list of groups, got {got} "
            "(mind the parentheses: @head/ParameterGroup(), @layer_wise_decay())."
        )
    return made


def _update_by_group(
    part: keras.optimizers.Optimizer,
    variables: list[keras.Variable],
    groups: Mapping[int, ParameterGroup],
    excluded: set[int],
) -> None:
    """Let an optimizer update the variables of groups at their rates.

    `update_step` is what Keras's optimizers implement, and is given the rate. The weight decay is not: that of the groups is
    applied here, just before, and the optimizer's own must be turned off for them.
    """
    if type(part).update_step is keras.optimizers.Optimizer.update_step:
        raise UsageError(
            "Trainer.parameter_groups: expected an optimizer with update_step(gradient, variable, learning_rate), as Keras's "
            f"have, and {type(part).__name__} has none."
        )
    treated = {
        part._var_key(variable): (groups[id(variable)].learning_rate, _decay(part, variable, groups, excluded))
        for variable in variables
        if id(variable) in groups
    }
    update = part.update_step

    def update_step(gradient: Any, variable: tf.Variable, learning_rate: Any) -> None:
        factor, decay = treated.get(part._var_key(variable), (1.0, 0.0))
        rate: Any = learning_rate if factor == 1 else keras.ops.multiply(learning_rate, factor)
        if decay:
            # By the optimizer, so that a step that is skipped does not decay either (see `step.choice`).
            part.assign_sub(variable, variable * tf.cast(decay, variable.dtype) * tf.cast(rate, variable.dtype))
        update(gradient, variable, rate)

    part.update_step = update_step


def _decay(
    part: keras.optimizers.Optimizer,
    variable: keras.Variable,
    groups: Mapping[int, ParameterGroup],
    excluded: set[int],
) -> float:
    """Return the weight decay of a variable in a group."""
    given = groups[id(variable)].weight_decay
    if id(variable) in excluded:
        return 0.0
    if given is not None:
        return given
    if type(part)._apply_weight_decay is not keras.optimizers.Optimizer._apply_weight_decay:
        raise UsageError(
            f"ParameterGroup.weight_decay = None: expected a number, as {type(part).__name__} has a weight decay of its own kind."
        )
    return (part.weight_decay or 0.0) if part._use_weight_decay(variable.value) else 0.0


def _exclude_from_weight_decay(
    part: keras.optimizers.Optimizer, excluded: list[keras.Variable], variables: list[keras.Variable]
) -> None:
    """Exclude variables, and keep those out that the user has excluded: Keras forgets what an earlier call has said."""
    before = [variable for variable in variables if not part._use_weight_decay(variable.value)]
    part.exclude_from_weight_decay(var_list=[*before, *excluded])


def _weights_by_layer(model: keras.Model) -> list[list[keras.Variable]]:
    found = [layer.trainable_weights for layer in model.layers if layer.trainable_weights]
    if len(found) < 2:
        names = ", ".join(layer.name for layer in model.layers)
        raise UsageError(
            f"layer_wise_decay.layers = None: expected a model of several layers with variables, got {names}. Name the layers "
            "inside by regular expressions, such as ['embedding', 'block_0', 'block_1', 'head']."
        )
    return found


def _matching(where: str, patterns: Sequence[str | keras.Variable], model: keras.Model) -> list[keras.Variable]:
    """Return the variables that one of the patterns matches; each pattern must match one."""
    found = []
    for pattern in patterns:
        matching = [weight for weight in model.weights if _matches(pattern, weight, model)]
        if not matching:
            paths = [_path(weight, model) for weight in model.trainable_variables]
            more = f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
            raise UsageError(
                f"{where}: {pattern!r} matches no variable: expected a regular expression for one of "
                f"{', '.join(paths[:_MOST_NAMED])}{more}."
            )
        found += matching
    return found


def _matches(pattern: str | keras.Variable, weight: keras.Variable, model: keras.Model) -> bool:
    return re.search(pattern, _path(weight, model)) is not None if isinstance(pattern, str) else pattern is weight


def _path(variable: keras.Variable, model: keras.Model) -> str:
    return variable.path.removeprefix(f"{model.name}/")


def _check_patterns(name: str, given: Any) -> None:
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise UsageError(f"{name} = {given!r}: expected a list of regular expressions, such as ['head/', 'bias$'].")
    for each in given:
        if isinstance(each, keras.Variable):
            continue
        try:
            re.compile(each)
        except (re.error, TypeError) as error:
            raise UsageError(f"{name}: expected a regular expression, got {each!r} ({error}).") from error
