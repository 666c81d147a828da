"""How values are added: the constructs of TensorFlow and Keras in which `metrics.add` is called.

A construct wraps a function of (rows, carrier) that adds the rows and returns the carrier, in another one that adds the same rows
in another way. So constructs compose. The rows are a list of tensors whose first axis is the batch: the values, and perhaps
weights, of several metrics. The carrier is the model's output, on its way to the loss: what depends on the backward pass must lie
on that way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tallyloop import metrics

from .values import SMALL_FLOATS, Kind, Metric

Way = Callable[[list[Any], Any], Any]


@dataclasses.dataclass(frozen=True, eq=False)  # a tf.function that gets it traces it by identity
class Added:
    """The innermost way: calls `metrics.add`.

    Attributes:
      metrics: name -> what is added; the rows hold their values and weights in this order.
    """

    metrics: Mapping[str, Metric]

    def __call__(self, rows: list[Any], carrier: Any) -> Any:
        """Add the rows; return the carrier."""
        given = iter(rows)
        for name, metric in self.metrics.items():
            metric.add(name, next(given), None if metric.weights is None else next(given))
        return carrier


@dataclasses.dataclass(frozen=True)
class Construct:
    """One way of adding values.

    Attributes:
      wrap: wraps a way.
      takes: which metrics can be added so.
      scopes: where the values are written, each time all of them.
      is_inner_graph: no minimum or maximum can leave it.
      compiles: whether XLA compiles it.
      in_training_only: it adds in the backward pass.
      is_whole: the way that it wraps gets at least one row.
    """

    wrap: Callable[[Way], Way]
    takes: Callable[[Kind], bool] = lambda kind: True
    scopes: tuple[str, ...] = ("",)
    is_inner_graph: bool = False
    compiles: bool = True
    in_training_only: bool = False
    is_whole: bool = True

    def allows(self, kind: Kind) -> bool:
        """Return whether a metric may be added so."""
        return self.takes(kind) and (kind.adds_up or not self.is_inner_graph)

    def around(self, inner: Construct) -> Construct:
        """Return the composition."""
        return Construct(
            lambda way: self.wrap(inner.wrap(way)),
            lambda kind: self.takes(kind) and inner.takes(kind),
            tuple(a + b for a in self.scopes for b in inner.scopes),
            self.is_inner_graph or inner.is_inner_graph,
            self.compiles and inner.compiles,
            self.in_training_only or inner.in_training_only,
            self.is_whole and inner.is_whole,
        )


class AddingLayer(keras.layers.Layer):
    """A layer that adds what it is called on; it casts nothing unless it has a policy."""

    def __init__(self, way: Way, dtype: str | None = None):
        super().__init__(dtype=dtype, autocast=dtype is not None)
        self.way = way

    def call(self, rows):
        """Add the rows."""
        self.way(rows, tf.zeros([]))
        return tf.zeros([1])


class CompiledLayer(AddingLayer):
    """A layer whose `call` is a `tf.function`."""

    call = tf.function(AddingLayer.call)


@tf.function(autograph=False)
def _old(way: Way, rows: list[Any], carrier: Any) -> Any:
    return way(rows, carrier)


def _new(compiled: bool) -> Callable[[Way], Way]:
    return lambda way: lambda rows, carrier: tf.function(way, autograph=False, jit_compile=compiled)(rows, carrier)


def _twice(way: Way) -> Way:
    layer = AddingLayer(way)

    def add(rows, carrier):
        half = tf.shape(rows[0])[0] // 2
        for part in (slice(None, half), slice(half, None)):
            layer([each[part] for each in rows])
        return carrier

    return add


def _in_layer(layer: keras.Layer) -> Way:
    def add(rows, carrier):
        layer(rows)
        return carrier

    return add


def _two_scopes(way: Way) -> Way:
    def add(rows, carrier):
        for name in ("a", "b"):
            with metrics.scope(name):
                carrier = way(rows, carrier)
        return carrier

    return add


def _while_loop(way: Way) -> Way:
    def add(rows, carrier):
        def body(i):
            way([each[i : i + 1] for each in rows], tf.zeros([]))
            return (i + 1,)

        tf.while_loop(lambda i: i < tf.shape(rows[0])[0], body, (tf.constant(0),))
        return carrier

    return add


def _cond(way: Way) -> Way:
    def add(rows, carrier):
        def branch():
            return tf.identity(way(rows, carrier))

        return tf.cond(tf.shape(rows[0])[0] % 2 == 0, branch, branch)

    return add


def _switch_case(way: Way) -> Way:
    def add(rows, carrier):
        def branch():
            return tf.identity(way(rows, carrier))

        return tf.switch_case(tf.shape(rows[0])[0] % 3, [branch] * 3)

    return add


def _mapped(map_rows: Callable[[Any, Any], Any]) -> Callable[[Way], Way]:
    def wrap(way: Way) -> Way:
        def add(rows, carrier):
            def one(row):
                way([each[tf.newaxis] for each in row], tf.zeros([]))
                return tf.zeros([])

            map_rows(one, tuple(rows))
            return carrier

        return add

    return wrap


class AddingCell(keras.layers.Layer):
    """An RNN cell that adds its inputs."""

    state_size = output_size = 1

    def __init__(self, use: Callable[[Any], None]):
        super().__init__(autocast=False)
        self.use = use

    def call(self, inputs, states):
        """Add the inputs of a time step."""
        self.use(inputs)
        return states[0], states


class AddingStep(keras.layers.Layer):
    """A layer of a time step that adds its inputs."""

    def __init__(self, use: Callable[[Any], None]):
        super().__init__(autocast=False)
        self.use = use

    def call(self, inputs):
        """Add the inputs of a time step."""
        self.use(inputs)
        return inputs


def _over_time(make: Callable[[Callable[[Any], None]], keras.Layer]) -> Callable[[Way], Way]:
    """Return a construct whose layer gets the columns of the values as time steps."""

    def wrap(way: Way) -> Way:
        now: dict[str, list[Any]] = {}

        def use(inputs):  # (batch, number of metrics)
            columns = iter(tf.split(inputs, inputs.shape[1], 1))
            way([next(columns) if each.shape.rank == 2 else each for each in now["rows"]], tf.zeros([]))

        layer = make(use)

        def add(rows, carrier):
            now["rows"] = rows
            layer(tf.stack([each for each in rows if each.shape.rank == 2], 2))
            return carrier

        return add

    return wrap


def _rnn(use: Callable[[Any], None]) -> keras.Layer:
    return keras.layers.RNN(AddingCell(use), autocast=False)


def _rnn_in_a_cell(use: Callable[[Any], None]) -> keras.Layer:
    inner = _rnn(use)
    return _rnn(lambda inputs: inner(inputs[:, tf.newaxis]))


def _time_distributed(use: Callable[[Any], None]) -> keras.Layer:
    return keras.layers.TimeDistributed(AddingStep(use), autocast=False)


def _rematerialized(remat: Callable[[Any], Any]) -> Callable[[Way], Way]:
    return lambda way: lambda rows, carrier: remat(lambda each: tf.identity(way(rows, each)))(carrier)


def _custom_gradient(forward: bool) -> Callable[[Way], Way]:
    def wrap(way: Way) -> Way:
        def add(rows, carrier):
            @tf.custom_gradient
            def function(each):
                def gradient(upstream):
                    return upstream if forward else tf.identity(way(rows, upstream))

                return tf.identity(way(rows, each) if forward else each), gradient

            return function(carrier)

        return add

    return wrap


def _boolean_mask(way: Way) -> Way:
    """Add the even rows, then the odd ones: how many these are, no shape says."""

    def add(rows, carrier):
        is_even = tf.range(tf.shape(rows[0])[0]) % 2 == 0
        for chosen in (is_even, ~is_even):
            way([tf.boolean_mask(each, chosen) for each in rows], tf.zeros([]))
        return carrier

    return add


def _watch(way: Way) -> Way:
    """Add the outputs of layers of a functional model, whose code stays as it is."""
    assert isinstance(way, Added)
    inputs = [keras.Input((3,)) for _ in way.metrics]
    outputs = [keras.layers.Identity()(each) for each in inputs]
    model = metrics.watch(keras.Model(inputs, outputs), outputs, [*way.metrics])

    def add(rows, carrier):
        model(rows)
        return carrier

    return add


def _is_exact_in_bfloat16(kind: Kind) -> bool:
    return kind.dtype in SMALL_FLOATS and (kind.is_of_elements or kind.finisher == "per_class")


def _is_sequence(kind: Kind) -> bool:
    return kind.is_of_elements and kind[1:3] == ("float32", (3,)) and kind.weighted != "floats, one per element"


def _is_watched(kind: Kind) -> bool:
    return kind == ("mean", "float32", (3,), "none")


CONSTRUCTS: dict[str, Construct] = {
    "plain": Construct(lambda way: way),
    "a layer called twice": Construct(_twice, compiles=False, is_whole=False),
    "an old tf.function": Construct(lambda way: lambda rows, carrier: _old(way, rows, carrier), is_inner_graph=True),
    "a new tf.function": Construct(_new(compiled=False), is_inner_graph=True),
    "a compiled tf.function": Construct(_new(compiled=True), is_inner_graph=True),
    "a layer whose call is a tf.function": Construct(lambda way: _in_layer(CompiledLayer(way)), is_inner_graph=True),
    "a mixed_bfloat16 layer": Construct(
        lambda way: _in_layer(AddingLayer(way, "mixed_bfloat16")), _is_exact_in_bfloat16
    ),
    "two scopes": Construct(_two_scopes, scopes=("a/", "b/")),
    "tf.while_loop": Construct(_while_loop, is_inner_graph=True, compiles=False),
    "tf.cond": Construct(_cond, is_inner_graph=True),
    "tf.switch_case": Construct(_switch_case, is_inner_graph=True),
    "tf.map_fn": Construct(
        _mapped(lambda one, rows: tf.map_fn(one, rows, fn_output_signature=tf.float32)),
        is_inner_graph=True,
        compiles=False,
    ),
    "keras.ops.map": Construct(_mapped(keras.ops.map), is_inner_graph=True, compiles=False),
    "an RNN cell": Construct(_over_time(_rnn), _is_sequence, is_inner_graph=True, compiles=False),
    "an RNN in a cell": Construct(_over_time(_rnn_in_a_cell), _is_sequence, is_inner_graph=True, compiles=False),
    "TimeDistributed": Construct(_over_time(_time_distributed), _is_sequence),
    "tf.recompute_grad": Construct(_rematerialized(tf.recompute_grad)),
    "keras.remat": Construct(_rematerialized(keras.remat)),
    "tf.custom_gradient, forward": Construct(_custom_gradient(forward=True)),
    "tf.custom_gradient, backward": Construct(_custom_gradient(forward=False), in_training_only=True),
    "tf.boolean_mask": Construct(_boolean_mask, compiles=False, is_whole=False),
    "metrics.watch": Construct(_watch, _is_watched),
}
_SLOW, _SELDOM = "a compiled tf.function", 0.02  # XLA compiles it for each new shape, which takes seconds
_ALONE = "plain", "metrics.watch"
_REMATERIALIZED = "tf.recompute_grad", "keras.remat"


def random_construct(rng: np.random.Generator, number: int, compiled: bool) -> tuple[str, Construct]:
    """Return a construct, or two of them composed, and its name on the page.

    Args:
      rng: draws the inner one, if there is one.
      number: takes the outer ones in turn, so that few programs have all of them.
      compiled: whether XLA compiles the step.
    """
    fitting = [name for name, each in CONSTRUCTS.items() if each.compiles or not compiled]
    quick = [name for name in fitting if name != _SLOW]
    outer = _SLOW if rng.random() < _SELDOM else quick[number % len(quick)]
    if outer in _ALONE or rng.random() < 0.5:
        return outer, CONSTRUCTS[outer]
    among = fitting if rng.random() < 0.2 else quick
    inner = str(rng.choice([name for name in among if _compose(outer, name)]))
    return f"{outer} > {inner}", CONSTRUCTS[outer].around(CONSTRUCTS[inner])


def _compose(outer: str, inner: str) -> bool:
    """Return whether TensorFlow and Keras let one hold the other."""
    first, second = CONSTRUCTS[outer], CONSTRUCTS[inner]
    return (
        inner not in _ALONE
        and inner != "tf.custom_gradient, backward"  # whose carrier may be a constant
        and (inner != "keras.ops.map" or first.is_whole)  # Keras reads a first row, and there may be none
        and (outer != "a compiled tf.function" or second.compiles)
        and (outer not in ("tf.cond", "tf.switch_case") or inner not in _REMATERIALIZED)  # TensorFlow has no gradient
        and (first.takes is not _is_sequence or second.takes is not _is_sequence)  # a time step is no sequence
    )
