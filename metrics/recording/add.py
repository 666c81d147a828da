"""`metrics.add` and `metrics.scope`: what a model or task calls to record a metric."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from ..device.grouped_sums import Unsummed, unsummed
from ..errors import UsageError
from ..finishers.finish import finisher
from ..finishers.finisher import Finish, Finisher
from ..paths import join, normalize
from ..tally import Tally, tally
from .call_stack import caller, is_repeated
from .python_calls import is_of_step
from .recorder import current_recorder


def add(name: str, values: Any, weights: Any = None, finish: Finish = None) -> None:
    """Record a metric: the mean of `values` over all elements, replicas and steps up to the next summary.

    It works at any depth of a replica's step: a layer's `call`, a task's `loss`. Outside a step it does nothing, so the
    same model serves and exports. What one line adds in several calls of a step adds up, such as a layer that is called
    twice; so do the branches of one condition.

    Args:
      name: a path, `loss/stage_1`; the names of the open `scope`s are put in front.
      values: a tensor (or what converts to one) of any shape, numeric or bool. Add the values themselves, never their
        mean: means of unequal pieces do not add up. Or a `Tally` of sums that are ready, such as `confusion_matrix` gives.
      weights: None, or a tensor whose shape is a prefix of that of `values`, such as a mask. The metric is
        sum(weights * values) / sum(weights); elements of weight 0 do not count, even if they are NaN.
      finish: what to write of the sums. "mean" (default), "sum", "exp", "sqrt", "std", "min", "max", "per_second",
        "per_class" (one mean per index of the last axis); of a `confusion_matrix`: "confusion_matrix", "f1", "precision",
        "recall", and these three with "_macro", "_micro" or "_per_class"; of a `score_histogram`: "auc"; a finisher from
        `per_class(...)` or `percentiles(...)`; or a function of `(value, count)`, two float64 NumPy arrays, that returns a
        number, an array, or a dict of numbers.

    Raises:
      UsageError: the name is malformed, or has another meaning, or another line adds it, too; a shape or dtype does not fit;
        or the values cannot leave the construct they are made in.
    """
    recorder = current_recorder()
    if recorder is None and is_of_step():
        raise UsageError(
            f"Metric {name!r} ({caller()}): it is added inside tf.py_function or tf.numpy_function, which runs outside of the "
            "step. Return the values from there and add them outside."
        )
    if recorder is None or is_repeated():
        return
    path = name
    try:
        path, chosen = join(*recorder.scopes, normalize(name)), finisher(finish)
        contribution = _contribution(values, weights, chosen)
    except UsageError as error:
        raise UsageError(f"Metric {path!r} ({caller()}): {error}") from error
    recorder.record(path, contribution, chosen)


@contextlib.contextmanager
def scope(name: str) -> Iterator[None]:
    """Prefix the names of the metrics added inside the block. Scopes nest; outside a step they do nothing.

    Args:
      name: a path.

    Raises:
      UsageError: the name is malformed.
    """
    path, recorder = normalize(name), current_recorder()
    if recorder is None:
        yield
        return
    recorder.scopes.append(path)
    try:
        yield
    finally:
        recorder.scopes.pop()


def _contribution(values: Any, weights: Any, chosen: Finisher) -> Tally | Unsummed:
    if "loop_body" in tf.get_current_name_scope().split("/"):
        # tf.vectorized_map rewrites what it traced afterwards: neither a tensor nor a variable gets out intact.
        raise UsageError(
            "it is added inside tf.vectorized_map, which lets no value out. Return the values and add them outside."
        )
    for given in (values, weights):
        if isinstance(given, tf.RaggedTensor | tf.SparseTensor):
            raise UsageError(
                f"expected dense values and weights, got a {type(given).__name__}: add its `flat_values` or `values`, or make it "
                "dense and give a mask as weights."
            )
    if isinstance(values, Tally):
        return Tally(*map(tf.convert_to_tensor, values))
    if chosen.tally is tally:
        return unsummed(values, weights)
    return chosen.tally(tf.convert_to_tensor(values), weights)
