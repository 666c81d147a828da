"""Sums over replicas, against NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.trainer.distribution import reduction

BFLOAT16 = tf.bfloat16.as_numpy_dtype


def values_of(replica):
    """What a replica holds. Whole numbers, and so small that even bfloat16 has their sums exactly."""
    rng = np.random.default_rng(replica)
    whole = lambda *shape: rng.integers(-9, 10, shape)  # noqa: E731
    return {
        "kernel": whole(2, 3).astype(np.float32),
        "pair": (whole(4).astype(BFLOAT16), whole().astype(np.int64) + 2**40),
        "bias": [whole(1, 2).astype(np.float32), whole(3).astype(BFLOAT16)],
        "count": whole().astype(np.int64),
    }


def summed(mirrored, replicas):
    """The sums of `values_of` by `sum_over_replicas`, in a graph."""
    strategy = mirrored(replicas)
    each = tf.nest.map_structure(
        lambda *of_all: strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(of_all[context.replica_id_in_sync_group])
        ),
        *[values_of(i) for i in range(replicas)],
    )

    @tf.function(autograph=False)
    def total(each):
        return reduction.sum_over_replicas(strategy, strategy.run(lambda nest: nest, args=(each,)))

    return total(each)


def assert_sums(found, replicas):
    expected = tf.nest.map_structure(lambda *of_all: np.sum(of_all, axis=0), *[values_of(i) for i in range(replicas)])
    tf.nest.assert_same_structure(found, expected)
    for got, wanted in zip(tf.nest.flatten(found), tf.nest.flatten(expected), strict=True):
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        np.testing.assert_array_equal(got.numpy(), wanted)


class TestSumOverReplicas:
    @pytest.mark.parametrize("replicas", [1, 3])
    def test_nest_of_several_dtypes(self, mirrored_on, replicas):
        assert_sums(summed(mirrored_on, replicas), replicas)

    def test_packed_as_between_workers(self, mirrored_on, monkeypatch):
        """The same sums, from one vector for float32 and bfloat16 together, and one for int64."""
        monkeypatch.setattr(reduction, "is_multi_worker", lambda strategy: True)
        strategy, sent = mirrored_on(3), []
        reduce = strategy.reduce

        def record(op, value, axis):
            sent.append(strategy.experimental_local_results(value)[0])
            return reduce(op, value, axis=axis)

        monkeypatch.setattr(strategy, "reduce", record)
        assert_sums(summed(mirrored_on, 3), 3)
        assert {(tensor.dtype.name, tuple(tensor.shape)) for tensor in sent} == {("float32", (15,)), ("int64", (2,))}
        assert len(sent) == 2

    def test_empty_nest(self, mirrored_on):
        assert reduction.sum_over_replicas(mirrored_on(3), {"nothing": []}) == {"nothing": []}
