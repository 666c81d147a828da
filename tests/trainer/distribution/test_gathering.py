"""The rows of the global batch in each replica, and the gradient that comes back, beside NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.data.feeds.replica_share import ReplicaShare
from tallyloop.metrics import UsageError
from tallyloop.trainer import Task, Trainer, gather_rows

ROWS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).normal(size=(5, 5))


def share_of(replica, edges):
    begin, end = edges[replica], edges[replica + 1]
    return ReplicaShare(*(tf.constant(each, tf.int64) for each in (replica, begin, end - begin, edges[-1])))


def gathered(strategy, edges):
    """What each replica gets of its rows and their numbers: (rows, numbers, positions, gradient of its own rows)."""

    def replica():
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        shares = [share_of(each, edges) for each in range(len(edges) - 1)]
        share = ReplicaShare(
            *(tf.gather(tf.stack(parts), number) for parts in zip(*(each[:4] for each in shares), strict=True))
        )
        begin = tf.minimum(share.first, 4)  # an empty share borrows an example
        mine = tf.constant(ROWS)[begin : begin + tf.maximum(share.rows, 1)]
        with share.active(), tf.GradientTape() as tape:
            tape.watch(mine)
            (rows, numbers), places = gather_rows((mine, begin + tf.range(tf.shape(mine, tf.int64)[0])))
            weights = tf.gather(tf.constant(WEIGHTS, tf.float32), places)
            # Each of this replica's examples looks at all rows.
            loss = tf.reduce_sum(tf.matmul(weights, rows**2)) * tf.cast(share.rows > 0, tf.float32)
        return rows, numbers, places, tape.gradient(loss, mine)

    results = tf.function(lambda: strategy.run(replica), autograph=False)()
    locals_of = [strategy.experimental_local_results(each) for each in results]
    return [[each.numpy() for each in one] for one in zip(*locals_of, strict=True)]


@pytest.mark.parametrize("edges", [(0, 5), (0, 1, 5), (0, 4, 4, 5)], ids=["1", "1+4", "4+0+1"])
def test_rows_and_gradients(mirrored_on, edges):
    """d/dx of sum over i, j of W[i, j] x[j]^2 is 2 x[j] times the column's sum, wherever rows i are."""
    wanted = 2 * ROWS * WEIGHTS.sum(0)[:, None]
    for replica, (rows, numbers, places, gradient) in enumerate(gathered(mirrored_on(len(edges) - 1), edges)):
        np.testing.assert_array_equal(rows, ROWS)
        np.testing.assert_array_equal(numbers, range(5))
        begin, end = edges[replica], edges[replica + 1]
        if end > begin:
            assert places.tolist() == list(range(begin, end))
            np.testing.assert_allclose(gradient, wanted[begin:end], rtol=1e-5)
        else:
            assert 0 <= places[0] < 5
            np.testing.assert_array_equal(gradient, 0)


def test_outside_a_step():
    rows, places = gather_rows({"x": tf.constant(ROWS)})
    np.testing.assert_array_equal(rows["x"], ROWS)
    assert places.numpy().tolist() == [0, 1, 2, 3, 4]


class Nearest(Task):
    def build_model(self):
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])

    def loss(self, model, batch, training):
        mine = model(batch["x"], training=training)
        rows, places = gather_rows(mine)
        return tf.nn.sparse_softmax_cross_entropy_with_logits(places, tf.matmul(mine, rows, transpose_b=True))


class TestRefused:
    @pytest.mark.parametrize("given", [tf.constant(["a"]), tf.constant([True]), tf.constant(1.0)])
    def test_no_rows_of_numbers(self, given):
        with pytest.raises(UsageError, match=r"gather_rows: expected tensors of numbers \(batch, ...\), got "):
            gather_rows(given)

    def test_compiled_replicas(self, mirrored_on):
        trainer = Trainer(
            Nearest(), keras.optimizers.SGD(0.1), mirrored_on(2), Input({"x": ROWS}, 4), train_steps=1, jit_compile=True
        )
        with pytest.raises(UsageError, match=r"expected Trainer.jit_compile = False on several replicas"):
            trainer.train()

    def test_workers_that_do_not_evaluate_together(self):
        share = share_of(0, (0, 5))._replace(all_replicas=False)
        with share.active(), pytest.raises(UsageError, match="expected a source of arrays or of rows by number"):
            gather_rows(tf.constant(ROWS))
