"""What a forward pass changes: moving statistics, and the seeds of random layers."""

from __future__ import annotations

import contextlib
import inspect
import traceback
from collections.abc import Iterator

import keras
import tensorflow as tf

from ...data.feeds.replica_share import ReplicaShare
from ...data.messages.user_frames import of_user, place_of_frame
from ...metrics.errors import UsageError

_SEED_NAME = "seed_generator_state"  # of the variable of any keras.random.SeedGenerator
_GOLDEN_RATIO = 0x9E3779B97F4A7C15 - 2**64  # in int64; multiples of it are far apart from each other


class ForwardState:
    """Captures what the replicas' forward passes would assign to variables, and assigns the combination once.

    All replicas then have the same state after each step, whatever their shares were:

    - a floating-point variable, such as BatchNorm's moving mean, becomes the mean of the replicas' new values,
      weighted by their examples; a replica without examples doesn't count;
    - with `aggregation="sum"`, the replicas' changes are added up;
    - any other variable, such as a counter or a seed, or one with `aggregation="only_first_replica"`, takes the first
      replica's value.

    Seeds differ between replicas while a step runs, so that each drops different units; the first replica's are those that
    Keras would draw on one device. An assignment inside a `tf.while_loop` or another inner graph cannot be moved out of it,
    and happens there, on each replica separately; so do assignments to trainable variables, and to those with
    `synchronization="on_read"`. The update of a Keras metric, whose state is one of these, is refused in a
    train step. Assignments to a plain `tf.Variable` are not seen at all.
    """

    def __init__(self):
        self.variables: list[keras.Variable] = []  # known once a step was traced

    @contextlib.contextmanager
    def captured(self, share: ReplicaShare, model: keras.Model) -> Iterator[_Capture]:
        """In a replica, capture the assignments in the context; call `contribution` on what it yields, at its end."""
        with _Capture(share, model, refuses_metrics=True) as capture:
            yield capture
        assert self.variables in ([], capture.changed()), "the replicas change different variables"
        self.variables = capture.changed()

    @contextlib.contextmanager
    def discarded(self, share: ReplicaShare, model: keras.Model) -> Iterator[None]:
        """In a replica, discard the assignments in the context."""
        with _Capture(share, model):
            yield

    def assign(self, totals: list[tf.Tensor], keep: tf.Tensor) -> None:
        """In the cross-replica context, assign the sums of the contributions; where `keep` is False, nothing changes."""
        for variable, total in zip(self.variables, totals, strict=True):
            old = tf.convert_to_tensor(variable.value)
            new = old + tf.cast(total, old.dtype) if variable.aggregation == "sum" else tf.cast(total, old.dtype)
            sound = tf.reduce_all(tf.math.is_finite(new)) if new.dtype.is_floating else True
            variable.assign(tf.where(keep & sound, new, old))


def _is_the_replicas_own(variable: keras.Variable) -> bool:
    """Return whether each replica assigns the variable itself: a state that differs between replicas, and weights, such as
    SpectralNormalization's, which all replicas compute alike and read again before the update."""
    return variable.trainable or variable.synchronization == "on_read"


def _refuse_metric() -> None:
    """Refuse the update of a Keras metric, whose state nothing reads: called where a variable of its kind is assigned.

    Raises:
      UsageError: a Keras metric assigns it.
    """
    for frame in inspect.stack(0):
        metric = frame.frame.f_locals.get("self")
        if isinstance(metric, keras.metrics.Metric):
            where = "".join(f"{place_of_frame(each)}: " for each in of_user(traceback.extract_stack())[:1])
            raise UsageError(
                f"{where}the Keras metric {metric.name!r} ({type(metric).__name__}) is updated inside a step, and its state is "
                "written nowhere: call metrics.add(name, values) instead, or put it into Task.metrics."
            )


def _wide(dtype: tf.DType) -> tf.DType:
    """Return a dtype that can be summed, and holds all values of `dtype`."""
    if dtype.is_floating:
        return tf.float64 if dtype == tf.float64 else tf.float32
    return tf.int64


class _Capture(keras.StatelessScope):
    """Keras's way to run a model without assigning; leaves inner graphs alone, and gives each replica its seeds."""

    def __init__(self, share: ReplicaShare, model: keras.Model, refuses_metrics: bool = False):
        # In such a scope, Keras computes a regularization loss from the scope's own values.
        regularized = [(v, v.value) for v in model.trainable_variables if v.regularizer is not None]
        super().__init__(regularized, collect_losses=True, initialize_variables=False)
        self._share = share
        self._refuses_metrics = refuses_metrics
        self._graph = tf.compat.v1.get_default_graph()
        self._changed: dict[int, keras.Variable] = {}
        self._read: dict[int, keras.Variable] = {}

    def get_current_value(self, variable: keras.Variable) -> tf.Tensor | None:
        self._read[id(variable)] = variable
        if self._in_inner_graph():
            return None
        if variable.name == _SEED_NAME and id(variable) not in self.state_mapping:
            self.state_mapping[id(variable)] = self._stored(variable) + self._offset()
        return super().get_current_value(variable)

    def add_update(self, update: tuple[keras.Variable, tf.Tensor]) -> None:
        variable, value = update
        if self._refuses_metrics and variable.synchronization == "on_read":
            _refuse_metric()
        if self._in_inner_graph() or _is_the_replicas_own(variable):
            self._assign_here(variable, value)
        else:
            super().add_update(
                (variable, tf.stop_gradient(value))
            )  # `fit` reads it from the variable, which passes no gradient on
            self._changed[id(variable)] = variable

    def _assign_here(self, variable: keras.Variable, value: tf.Tensor) -> None:
        if id(variable) in self._changed:
            raise UsageError(
                f"{variable.path} is assigned in a step, and then again inside a loop of it (tf.while_loop, tf.map_fn, "
                "TimeDistributed): use two layers, or two seeds."
            )
        self.state_mapping.pop(id(variable), None)
        with self._suspended():
            variable.assign(value)

    def changed(self) -> list[keras.Variable]:
        """Return the variables that would have been assigned, in the order of their first assignment."""
        return list(self._changed.values())

    def read(self) -> list[keras.Variable]:
        """Return the Keras variables that were read."""
        return list(self._read.values())

    def contribution(self) -> list[tf.Tensor]:
        """Return this replica's contribution to the new values of `changed`."""
        return [self._part(variable) for variable in self.changed()]

    def _part(self, variable: keras.Variable) -> tf.Tensor:
        new = tf.convert_to_tensor(self.state_mapping[id(variable)])
        if variable.aggregation == "sum":
            return tf.where(self._share.rows > 0, new - self._stored(variable), tf.zeros_like(new))
        if new.dtype.is_floating and variable.aggregation != "only_first_replica":
            weight = tf.cast(self._share.rows / self._share.examples, _wide(new.dtype))
            # Not just a product: 0 times the NaN of a borrowed example would be NaN.
            return tf.where(weight > 0, tf.cast(new, weight.dtype) * weight, tf.zeros_like(weight))
        new = tf.cast(new, _wide(new.dtype))
        new = new - self._offset() if variable.name == _SEED_NAME else new
        return tf.where(self._share.replica == 0, new, tf.zeros_like(new))

    def _offset(self) -> tf.Tensor:
        """Return what is added to a [seed, counter]; 0 for the first replica."""
        return tf.stack([self._share.replica * _GOLDEN_RATIO, tf.zeros([], tf.int64)])

    def _stored(self, variable: keras.Variable) -> tf.Tensor:
        with self._suspended():
            stored = variable.value
        if not hasattr(stored, "assign"):  # its initial value: the variable does not exist yet
            raise UsageError(
                f"{variable.path} was created inside a step. Either keras.random was called without a seed: create a "
                "keras.random.SeedGenerator in the task's build_model, and pass it as `seed`. Or a layer was called there "
                "for the first time: build it in build_model."
            )
        return tf.convert_to_tensor(stored)

    def _in_inner_graph(self) -> bool:
        return tf.compat.v1.get_default_graph() is not self._graph

    @contextlib.contextmanager
    def _suspended(self) -> Iterator[None]:
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()
