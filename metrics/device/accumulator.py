"""Tallies summed on the device over the steps of many inner loops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ..tally import Tally
from .packing import Layout, pack
from .per_replica import PerReplica, outside_trace
from .reduction import reduce_packed


class Drained(NamedTuple):
    """The sums since the last drain, still on the device: reading them waits for the steps to end.

    Attributes:
      layout: of the vectors.
      total: the sums over all replicas, packed.
      per_replica: the sums of each replica of this worker, packed.
    """

    layout: Layout
    total: tf.Tensor
    per_replica: tuple[tf.Tensor, ...]

    def tallies(self) -> dict[str, Tally]:
        """Return the sums over all replicas, as NumPy."""
        return self.layout.unpack(self.total.numpy())

    def non_finite(self) -> dict[str, list[int]]:
        """Return path -> the replicas of this worker whose value is NaN or infinite; empty if all values are finite.

        The list is empty if the value came from another worker.
        """
        found: dict[str, list[int]] = {path: [] for path in self._non_finite_paths(self.total)}
        for replica, vector in enumerate(self.per_replica if found else ()):
            for path in self._non_finite_paths(vector):
                found.setdefault(path, []).append(replica)
        return found

    def _non_finite_paths(self, vector: tf.Tensor) -> list[str]:
        if np.isfinite(vector.numpy()).all():
            return []
        tallies = self.layout.unpack(vector.numpy()).items()
        return [path for path, tally in tallies if np.any(tally.count) and not np.isfinite(tally.value).all()]


class _Sums(NamedTuple):
    """The variables that the first step creates."""

    vectors: PerReplica
    fingerprint: tf.Variable


class Accumulator:
    """One packed float64 vector per replica, added to in each step, reduced with one SUM when it is drained.

    The vector's size is known only once the first step has been traced, so its variable is created in the middle of that
    trace, outside of it. There is no second trace, whatever the metrics.

    Args:
      strategy: the replicas that accumulate.
      layout_of: tallies of a step -> their layout, such as `MetricRegistry.layout`.
    """

    def __init__(self, strategy: tf.distribute.Strategy, layout_of: Callable[[Mapping[str, Tally]], Layout]):
        self._strategy = strategy
        self._layout_of = layout_of
        self._known_layout: Layout | None = None
        self._created_sums: _Sums | None = None

    def pack(self, tallies: Mapping[str, Tally], active: tf.Tensor) -> tf.Tensor:
        """Return the step's tallies as a vector, or that of no examples where `active` is False. Called in a replica."""
        layout = self._layout_of(tallies)
        assert self._known_layout in (None, layout), "the replicas record different metrics"
        self._known_layout = layout
        return tf.where(active, pack(tallies, layout), layout.identity())

    def add(self, packed: Any, keep: tf.Tensor | None = None) -> None:
        """Add what the replicas packed, unless `keep` is False. Called in the cross-replica context of a step."""
        if self._created_sums is None:
            outside_trace(self._create)
        self._strategy.run(self._add, args=(packed, keep))

    def identity(self) -> Any:
        """Return what replicas without any example would pack. Called in the cross-replica context."""
        return self._strategy.run(lambda: self._layout.identity())

    def combine(self, a: Any, b: Any) -> Any:
        """Return what the replicas would have packed of the examples of both. Called in the cross-replica context."""
        return self._strategy.run(lambda *pair: self._layout.combine(*pair), args=(a, b))

    def drain(self) -> Drained:
        """Return the sums and reset them. Called eagerly."""
        return Drained(self._layout, *self._drain())

    def before_save(self) -> None:
        """Copy the sums to where `state` has them. Called eagerly, before a checkpoint."""
        self._sums.vectors.before_save()

    def after_restore(self) -> bool:
        """Continue from the restored sums; return False if they were of other metrics, and so dropped. Called eagerly."""
        sums, fingerprint = self._sums, self._layout.fingerprint()
        same = int(sums.fingerprint.numpy()) == fingerprint
        if same:
            sums.vectors.after_restore()
        sums.fingerprint.assign(fingerprint)
        return same

    @property
    def restored_replicas(self) -> int:
        """The number of replicas that the restored sums come from; valid after a restore and before `after_restore`."""
        return len(self._sums.vectors.rows.numpy())

    def state(self) -> dict[str, tf.Variable]:
        """Return what a checkpoint has to hold of the sums; known once a step was traced."""
        return {"tallies": self._sums.vectors.rows, "tallies_fingerprint": self._sums.fingerprint}

    @cached_property
    def _drain(self) -> Any:
        """The traced function: TensorFlow takes those of many accumulators for one that is traced again, and warns."""
        return tf.function(self._take_and_reduce, autograph=False).get_concrete_function()

    @property
    def _layout(self) -> Layout:
        assert self._known_layout is not None, "no step was traced"
        return self._known_layout

    @property
    def _sums(self) -> _Sums:
        assert self._created_sums is not None, "no step was traced"
        return self._created_sums

    def _add(self, packed: tf.Tensor, keep: tf.Tensor | None) -> None:
        if keep is not None:
            packed = tf.where(keep, packed, self._layout.identity())
        sums = self._sums.vectors.value
        if self._layout.maxima:
            sums.assign(self._layout.combine(sums.read_value(), packed))
        else:
            sums.assign_add(packed)

    def _create(self) -> None:
        layout = self._layout
        fingerprint = tf.Variable(tf.constant(layout.fingerprint(), tf.int64), trainable=False)
        vectors = PerReplica(self._strategy, layout.identity(), layout.combine_rows, "tallies")
        self._created_sums = _Sums(vectors, fingerprint)

    def _take_and_reduce(self) -> tuple[tf.Tensor, tuple[tf.Tensor, ...]]:
        per_replica = self._strategy.run(self._sums.vectors.take)
        total = reduce_packed(self._strategy, self._layout, per_replica)
        return total, self._strategy.experimental_local_results(per_replica)
