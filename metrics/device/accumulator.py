"""Tallies summed on the device over the steps of many inner loops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from ..registry import MetricRegistry
from ..tally import Tally
from .outside_trace import outside_trace
from .packing import Layout, pack
from .per_replica import PerReplica


class Drained(NamedTuple):
    """The sums since the last drain, still on the device: reading them waits for the steps to end."""

    layout: Layout
    total: tf.Tensor
    per_replica: tuple[tf.Tensor, ...]

    def tallies(self) -> dict[str, Tally]:
        """The sums over all replicas, as NumPy."""
        return self.layout.unpack(self.total.numpy())

    def non_finite(self) -> dict[str, list[int]]:
        """path -> the replicas of this worker whose value is NaN or infinite; empty when all is well.

        A path without replicas is that of a value which another worker spoilt.
        """
        found: dict[str, list[int]] = {path: [] for path in self._spoilt(self.total)}
        for replica, vector in enumerate(self.per_replica if found else ()):
            for path in self._spoilt(vector):
                found.setdefault(path, []).append(replica)
        return found

    def _spoilt(self, vector: tf.Tensor) -> list[str]:
        if np.isfinite(vector.numpy()).all():
            return []
        tallies = self.layout.unpack(vector.numpy()).items()
        return [path for path, tally in tallies if np.any(tally.count) and not np.isfinite(tally.value).all()]


class Accumulator:
    """One packed float64 vector a replica, added to in each step, reduced with one SUM when it is drained.

    Its size is known only when the first step has been traced, so its variable is made in the middle of that
    trace, lifted out of it: no second trace, whatever the metrics.

    Args:
      strategy: whose replicas accumulate.
      registry: which metrics are maxima and not sums.
    """

    def __init__(self, strategy: tf.distribute.Strategy, registry: MetricRegistry):
        self._strategy = strategy
        self._registry = registry
        self._layout: Layout | None = None
        self._sums: PerReplica | None = None
        self._fingerprint: tf.Variable | None = None
        self._drain = tf.function(self._take_all, autograph=False)

    def pack(self, tallies: Mapping[str, Tally], active: tf.Tensor) -> tf.Tensor:
        """In a replica: the step's tallies as a vector; that of no examples where `active` is False."""
        layout = self._registry.layout(tallies)
        assert self._layout in (None, layout), "the replicas record different metrics"
        self._layout = layout
        return tf.where(active, pack(tallies, layout), layout.identity())

    def add(self, packed, keep: tf.Tensor | None = None) -> None:
        """In the cross-replica context of a step: adds what the replicas packed; nothing where `keep` is False."""
        if self._sums is None:
            outside_trace(self._create)
        self._strategy.run(self._add, args=(packed, keep))

    def nothing(self):
        """In the cross-replica context: what replicas without any example would pack."""
        return self._strategy.run(lambda: self._layout.identity())

    def join(self, a, b):
        """In the cross-replica context: what the replicas packed of some examples and of others, as if of all at once."""
        return self._strategy.run(lambda *pair: self._layout.combine(*pair), args=(a, b))

    def drain(self) -> Drained:
        """Eagerly: returns the sums and starts anew from nothing."""
        assert self._layout is not None, "no step was traced"
        return Drained(self._layout, *self._drain())

    def before_save(self) -> None:
        """Eagerly, before a checkpoint: copies the sums to where `state` has them."""
        self._sums.before_save()

    def after_restore(self) -> bool:
        """Eagerly, after a restore: goes on from its sums; returns False if they were of other metrics, and so dropped."""
        same = int(self._fingerprint.numpy()) == self._layout.fingerprint()
        if same:
            self._sums.after_restore()
        self._fingerprint.assign(self._layout.fingerprint())
        return same

    @property
    def restored_replicas(self) -> int:
        """After a restore and before `after_restore`: how many replicas the sums are of."""
        return len(self._sums.rows.numpy())

    def state(self) -> dict[str, tf.Variable]:
        """What of the sums a checkpoint has to hold; known once a step was traced."""
        return {"tallies": self._sums.rows, "tallies_fingerprint": self._fingerprint}

    def _add(self, packed: tf.Tensor, keep: tf.Tensor | None) -> None:
        if keep is not None:
            packed = tf.where(keep, packed, self._layout.identity())
        sums = self._sums.value
        if self._layout.maxima:
            sums.assign(self._layout.combine(sums.read_value(), packed))
        else:
            sums.assign_add(packed)

    def _create(self) -> None:
        self._fingerprint = tf.Variable(self._layout.fingerprint(), trainable=False, dtype=tf.int64)
        self._sums = PerReplica(self._strategy, self._layout.identity(), self._layout.join, "tallies")

    def _take_all(self):
        def take():
            sums = self._sums.take()
            context = tf.distribute.get_replica_context()
            return sums, self._layout.to_sum(sums, context.replica_id_in_sync_group, context.num_replicas_in_sync)

        per_replica, to_sum = self._strategy.run(take)
        total = self._strategy.reduce(tf.distribute.ReduceOp.SUM, to_sum, axis=None)
        total = self._layout.from_sum(total, self._strategy.num_replicas_in_sync)
        return total, self._strategy.experimental_local_results(per_replica)
