"""A copy of the state, which is written while training goes on."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.checkpointing.snapshot import Snapshots, write


class TestSnapshots:
    @pytest.fixture
    def state(self, mirrored_on):
        with mirrored_on(2).scope():
            model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
            optimizer = keras.optimizers.Adam()
            optimizer.build(model.trainable_variables)
        iterator = iter(tf.data.Dataset.range(100).batch(3))
        next(iterator)
        return tf.train.Checkpoint(model=model, optimizer=optimizer, data=iterator, step=tf.Variable(7, dtype=tf.int64))

    def test_keeps_the_values_taken(self, state, tmp_path):
        snapshots = Snapshots(state)
        snapshots.take()
        taken = snapshots.take()
        before = state.model.get_weights()
        for variable in state.model.variables:
            variable.assign_add(tf.ones_like(variable.value))
        state.step.assign(8)
        next(state.data)
        thread = threading.Thread(target=write, args=(taken, tmp_path / "ckpt"))
        thread.start()
        thread.join()
        state.read(str(tmp_path / "ckpt")).assert_consumed()
        for weights, wanted in zip(state.model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(weights, wanted)
        assert state.step.numpy() == 7
        assert next(state.data).numpy().tolist() == [3, 4, 5]

    def test_warns_of_nothing(self, state, recwarn):
        Snapshots(state).take()
        assert not recwarn

    def test_equals_what_tensorflow_writes(self, state, tmp_path):
        write(Snapshots(state).take(), tmp_path / "mine")
        state.write(str(tmp_path / "its"))
        mine, its = (tf.train.load_checkpoint(str(tmp_path / name)) for name in ("mine", "its"))
        shapes = its.get_variable_to_shape_map()
        assert mine.get_variable_to_shape_map() == shapes
        for key in shapes:
            if "ITERATOR" not in key:
                np.testing.assert_array_equal(mine.get_tensor(key), its.get_tensor(key))


class Counting(tf.train.experimental.PythonState):
    """State in Python, which TensorFlow asks for at each save."""

    calls = 0

    def serialize(self):
        self.calls += 1
        return str(self.calls)

    def deserialize(self, string_value):
        self.calls = int(string_value)


class Unable(tf.train.experimental.PythonState):
    def serialize(self):
        raise ValueError("not this one")

    def deserialize(self, string_value):
        pass


class TestOtherThanVariables:
    """What TensorFlow can save besides variables."""

    @pytest.fixture
    def state(self):
        table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
        dense = tf.lookup.experimental.DenseHashTable(tf.int64, tf.float32, -1.0, -1, -2)
        fixed = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["x"], [7]), -1)
        generator = tf.random.Generator.from_seed(3)
        return tf.train.Checkpoint(
            table=table, dense=dense, fixed=fixed, generator=generator, python=Counting(), v=tf.Variable(1.0)
        )

    def test_keeps_the_values_taken(self, state, tmp_path):
        """Of the second of two snapshots, whatever comes after it."""
        snapshots = Snapshots(state)
        snapshots.take()
        state.table.insert(tf.constant(["a", "b"]), tf.constant([1, 2], tf.int64))
        state.dense.insert(tf.constant([5], tf.int64), tf.constant([0.5]))
        taken = snapshots.take()
        calls, drawn = state.python.calls, state.generator.normal([2]).numpy()
        state.table.insert(tf.constant(["a", "c"]), tf.constant([9, 9], tf.int64))
        state.dense.insert(tf.constant([5], tf.int64), tf.constant([9.0]))
        write(taken, tmp_path / "ckpt")
        state.python.calls = 99
        state.read(str(tmp_path / "ckpt")).assert_consumed()
        assert state.table.lookup(tf.constant(["a", "b", "c"])).numpy().tolist() == [1, 2, -1]
        assert state.dense.lookup(tf.constant([5], tf.int64)).numpy().tolist() == [0.5]
        assert state.python.calls == calls
        np.testing.assert_array_equal(state.generator.normal([2]), drawn)

    def test_what_cannot_be_saved_is_an_error(self):
        with pytest.raises(UsageError, match=r"no checkpoint can hold: expected layers, .*; got not this one"):
            Snapshots(tf.train.Checkpoint(python=Unable())).take()
