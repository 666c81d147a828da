"""Sums over replicas. What real workers send each other is in tests/e2e; here, the vectors go between replicas."""

from types import SimpleNamespace

import pytest
import tensorflow as tf
from tallyloop.metrics import Tally
from tallyloop.trainer.distribution import reduction
from tallyloop.trainer.distribution.reduction import sum_over_replicas


@pytest.fixture
def as_workers(monkeypatch):
    """Sends what several workers would: one vector per dtype."""
    monkeypatch.setattr(reduction, "is_multi_worker", lambda strategy: True)


def number():
    """1, 2, 3: of this replica."""
    return tf.distribute.get_replica_context().replica_id_in_sync_group + 1


def nest():
    """Dtypes that alternate, a matrix, a scalar and nothing; 256 + 1 is 256 in bfloat16."""
    n = tf.cast(number(), tf.float32)
    return {
        "loss": Tally(10 * n, tf.cast(number(), tf.int64) * 2**40),
        "gradients": [
            n * [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]],
            tf.cast(tf.stack([tf.where(n > 1, 1.0, 256.0), n]), tf.bfloat16),
            tf.zeros([0, 2]),
            tf.cast(n, tf.float64) * [[1e-9], [7.0]],
        ],
    }


def summed(strategy, replica=nest):
    """The sums, and the types of the operations that compute them in a graph."""
    run = tf.function(lambda: sum_over_replicas(strategy, strategy.run(replica)), autograph=False)
    return run(), [op.type for op in run.get_concrete_function().graph.get_operations()]


class TestSumOverReplicas:
    def test_one_replica_is_its_own_sum(self, mirrored_on):
        found, ops = summed(mirrored_on(1))
        assert found["gradients"][0].numpy().tolist() == [[1, 2, 3], [4, 5, 6]]
        assert (float(found["loss"].value), int(found["loss"].count)) == (10, 2**40)
        assert "AddN" not in ops

    def test_of_three(self, mirrored_on):
        found, ops = summed(mirrored_on(3))
        assert found["gradients"][0].numpy().tolist() == [[6, 12, 18], [24, 30, 36]]
        assert (float(found["loss"].value), int(found["loss"].count)) == (60, 6 * 2**40)
        assert "ConcatV2" not in ops  # on one machine, tensors need no packing

    @pytest.mark.parametrize(("workers", "piece"), [(False, 3), (True, 3), (True, 1024)])
    def test_rows_of_a_table(self, mirrored_on, request, workers, piece, monkeypatch):
        """Replica n has the rows 0 to n - 1, and row 9: the sum has each of them once."""
        sent = []
        if workers:
            request.getfixturevalue("as_workers")
            monkeypatch.setattr(reduction, "_PIECE", piece)
            cut = reduction._piece
            monkeypatch.setattr(reduction, "_piece", lambda *given: sent.append(cut(*given)) or sent[-1])

        def replica():
            ids = tf.concat([tf.range(number()), [9]], 0)
            values = tf.cast(tf.fill([number() + 1, 2], number()), tf.float32)
            return {"rows": tf.IndexedSlices(values, ids, tf.constant([10, 2])), "whole": tf.ones([3])}

        found, _ = summed(mirrored_on(3), replica)
        assert sorted(found["rows"].indices.numpy()) == [0, 1, 2, 9]
        assert tf.convert_to_tensor(found["rows"])[:, 1].numpy().tolist() == [6, 5, 3, 0, 0, 0, 0, 0, 0, 6]
        assert found["whole"].numpy().tolist() == [3, 3, 3]
        assert {each.values.shape[0] for each in sent} == ({min(piece, 10)} if workers else set())

    def test_of_nothing(self, mirrored_on):
        assert sum_over_replicas(mirrored_on(2), {}) == {}


@pytest.mark.usefixtures("as_workers")
class TestSumOverWorkers:
    def test_keeps_structure_shapes_and_dtypes(self, mirrored_on):
        found, _ = summed(mirrored_on(3))
        assert isinstance(found["loss"], Tally)
        assert (float(found["loss"].value), int(found["loss"].count)) == (60, 6 * 2**40)
        matrix, half, nothing, double = found["gradients"]
        assert matrix.numpy().tolist() == [[6, 12, 18], [24, 30, 36]]
        assert nothing.shape == [0, 2]
        assert double.numpy().tolist() == [[pytest.approx(6e-9, rel=1e-15)], [42]]
        dtypes = [each.dtype for each in (*found["loss"], matrix, half, nothing, double)]
        assert dtypes == [tf.float32, tf.int64, tf.float32, tf.bfloat16, tf.float32, tf.float64]

    def test_bfloat16_is_summed_in_float32(self, mirrored_on):
        half = summed(mirrored_on(3))[0]["gradients"][1]
        assert half.numpy().tolist() == [258, 6]

    def test_one_message_per_dtype(self, mirrored_on):
        _, ops = summed(mirrored_on(3))
        assert ops.count("AddN") == 3  # float32 with bfloat16 in it, float64, int64

    def test_many_tensors_stay_in_order(self, mirrored_on):
        """More than ten, as their numbers sort differently as text."""
        found, _ = summed(mirrored_on(2), lambda: [tf.cast(number(), tf.float32) * i for i in range(12)])
        assert [float(each) for each in found] == [3 * i for i in range(12)]

    def test_of_one_replica_each(self):
        """Two workers that have the same numbers."""
        alike = SimpleNamespace(
            num_replicas_in_sync=2,
            experimental_local_results=lambda value: (value,),
            run=lambda function, args: function(*args),
            reduce=lambda op, value, axis: 2 * value if op == tf.distribute.ReduceOp.SUM and axis is None else None,
        )
        found = sum_over_replicas(alike, {"a": tf.constant([[1.0], [2.0]]), "b": tf.constant(3)})
        assert (found["a"].numpy().tolist(), int(found["b"])) == ([[2.0], [4.0]], 6)

    def test_one_replica_sends_nothing(self, mirrored_on):
        assert "AddN" not in summed(mirrored_on(1))[1]

    def test_of_sizes_that_a_graph_does_not_know(self, mirrored_on):
        """Rows of a batch of any size, between tensors of known ones."""
        rows = tf.function(
            lambda n: sum_over_replicas(
                mirrored_on(2),
                mirrored_on(2).run(lambda: [tf.cast(number(), tf.float32), tf.ones([n, 2]), tf.zeros([3])]),
            ),
            autograph=False,
            input_signature=[tf.TensorSpec([], tf.int32)],
        )
        found = rows(4)
        assert float(found[0]) == 3
        assert found[1].numpy().tolist() == [[2, 2]] * 4
        assert found[2].shape == [3]


class TestAddedUp:
    def test_in_each_replica_and_backwards(self, mirrored_on):
        """Of y = (r1 + r2)^2 in each of two replicas, d/dr is 2 (r1 + r2) from both: 2 * 2 * 3."""

        def replica():
            mine = tf.cast(number(), tf.float32)
            with tf.GradientTape() as tape:
                tape.watch(mine)
                total = reduction.added_up(mine)
                loss = total**2
            return total, tape.gradient(loss, mine)

        run = tf.function(lambda: mirrored_on(2).run(replica), autograph=False)
        totals, slopes = (mirrored_on(2).experimental_local_results(each) for each in run())
        assert {float(each) for each in totals} == {3}
        assert {float(each) for each in slopes} == {12}

    def test_of_one(self):
        assert float(reduction.added_up(tf.constant(2.0))) == 2

    def test_of_one_outside_of_the_replicas(self, mirrored_on):
        with mirrored_on(2).scope():
            assert float(reduction.added_up(tf.constant(2.0))) == 2
