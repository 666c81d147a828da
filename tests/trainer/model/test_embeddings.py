"""Rows of large embeddings, looked up without reading the table."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.trainer.model import embeddings
from tallyloop.trainer.model.embeddings import is_large, is_large_table, rows_looked_up

TABLE = np.arange(12, dtype=np.float32).reshape(6, 2)


@pytest.fixture(autouse=True)
def all_are_large(monkeypatch):
    monkeypatch.setattr(embeddings, "LARGE", 12)


class OwnCall(keras.layers.Embedding):
    def call(self, inputs):
        return super().call(inputs) + 1


def model_of(layer, dtype="int32"):
    model = keras.Sequential([keras.Input((3,), dtype=dtype), layer])
    layer.set_weights([TABLE])
    return model


def operations(model, inputs):
    with rows_looked_up(model):
        graph = tf.function(lambda: model(inputs), autograph=False).get_concrete_function().graph
    return [op.type for op in graph.get_operations()]


class TestLookup:
    @pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "float32"])
    def test_gives_the_rows(self, dtype):
        model = model_of(keras.layers.Embedding(6, 2), dtype)
        ids = tf.constant([[5, 0, 0], [2, 1, 5]], dtype)
        with rows_looked_up(model):
            assert model(ids).numpy().tolist() == TABLE[[[5, 0, 0], [2, 1, 5]]].tolist()

    def test_counts_from_the_end_below_0(self):
        model = model_of(keras.layers.Embedding(6, 2))
        with rows_looked_up(model):
            assert model(tf.constant([[-1, 0, -6]])).numpy().tolist() == TABLE[[[5, 0, 0]]].tolist()

    def test_refuses_a_row_that_is_not_there(self):
        model = model_of(keras.layers.Embedding(6, 2))
        with rows_looked_up(model), pytest.raises(tf.errors.InvalidArgumentError, match="6 is not in"):
            model(tf.constant([[6, 0, 0]]))

    def test_reads_no_table(self):
        found = operations(model_of(keras.layers.Embedding(6, 2)), tf.constant([[1, 0, 2]]))
        assert "ResourceGather" in found
        assert "ReadVariableOp" not in found

    def test_keeps_mask_and_dtype(self):
        model = model_of(keras.layers.Embedding(6, 2, mask_zero=True, dtype="mixed_bfloat16"))
        with rows_looked_up(model):
            found = model(tf.constant([[1, 0, 2]]))
        assert (found.dtype, found._keras_mask.numpy().tolist()) == (tf.bfloat16, [[True, False, True]])

    @pytest.mark.parametrize(
        "layer",
        [OwnCall(6, 2), keras.layers.Embedding(6, 2, lora_rank=1), keras.layers.Embedding(6, 2, dtype="float16")],
    )
    def test_leaves_others_alone(self, layer):
        layer.build()
        assert "ResourceGather" not in operations(
            keras.Sequential([keras.Input((3,), dtype="int32"), layer]), tf.ones((1, 3))
        )

    def test_ends_with_the_context(self):
        model = model_of(keras.layers.Embedding(6, 2))
        with rows_looked_up(model):
            assert "call" in vars(model.layers[0])
        assert "call" not in vars(model.layers[0])

    def test_each_replica_reads_and_trains_its_own_copy(self, mirrored_on):
        strategy = mirrored_on(2)
        with strategy.scope():
            model = model_of(keras.layers.Embedding(6, 2))

        def replica():
            row = tf.distribute.get_replica_context().replica_id_in_sync_group + 1
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(model(tf.reshape(tf.stack([row, row, 0]), (1, 3))))
            return tape.gradient(loss, model.trainable_variables[0])

        with rows_looked_up(model):
            found = tf.function(lambda: strategy.run(replica), autograph=False)()
        assert [each.indices.numpy().tolist() for each in found.values] == [[1, 1, 0], [2, 2, 0]]


class TestLarge:
    @pytest.mark.parametrize(
        ("shape", "dtype", "large", "table"),
        [
            ((6, 2), "float32", True, True),
            ((5, 2), "float32", False, False),
            ((6, 2), "float64", False, False),
            ((6, 1, 2), "float32", True, False),
            ((12,), "float32", True, False),
        ],
    )
    def test_many_numbers_of_float32(self, shape, dtype, large, table):
        variable = keras.Variable(np.zeros(shape), dtype=dtype)
        assert is_large(variable) == is_large(variable.value) == large
        assert is_large_table(variable) == table
