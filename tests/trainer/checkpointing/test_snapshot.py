"""A copy of the state, which is written while training goes on."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.checkpointing.snapshot import Snapshots, write

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


class TestSnapshots:
    @pytest.fixture
    def state(self, mirrored_on):
        with mirrored_on(2).scope():
            model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, name="dense")])
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
        """But for the names of the model's weights."""
        write(Snapshots(state).take(), tmp_path / "mine")
        state.write(str(tmp_path / "its"))
        mine, its = (tf.train.load_checkpoint(str(tmp_path / name)) for name in ("mine", "its"))
        names = {"kernel": "optimizer/_trainable_variables/0", "bias": "optimizer/_trainable_variables/1"}
        keys = {key: key for key in its.get_variable_to_shape_map()} | {
            f"{theirs}{VALUE}": f"model/dense/{name}{VALUE}" for name, theirs in names.items()
        }
        assert mine.get_variable_to_shape_map().keys() == set(keys.values())
        for key, ours in keys.items():
            if "ITERATOR" not in key and not key.startswith("_CHECK"):
                np.testing.assert_array_equal(mine.get_tensor(ours), its.get_tensor(key))


class TestWeightNames:
    """Of the weights in a file, for whatever else reads it."""

    @staticmethod
    def read(model, tmp_path, **more):
        write(Snapshots(tf.train.Checkpoint(model=model, **more)).take(), tmp_path / "ckpt")
        return [name for name, _ in tf.train.list_variables(str(tmp_path / "ckpt")) if name.startswith("model/")]

    def test_are_paths_without_the_name_of_the_model(self, tmp_path):
        keras.Sequential()  # which takes the first name
        layers = keras.layers
        encoder = keras.Sequential(
            [keras.Input((3,)), layers.Dense(4, name="in"), layers.BatchNormalization(name="norm")], name="encoder"
        )
        model = keras.Sequential([encoder, layers.Dense(1, name="head")])
        optimizer = keras.optimizers.SGD()
        optimizer.build(model.trainable_variables)
        expected = ["encoder/in/kernel", "encoder/in/bias", "encoder/norm/gamma", "encoder/norm/beta", "encoder/norm/moving_mean",
                    "encoder/norm/moving_variance", "head/kernel", "head/bias"]  # fmt: skip
        assert set(self.read(model, tmp_path, optimizer=optimizer)) == {f"model/{name}{VALUE}" for name in expected}
        kernel = tf.train.load_variable(str(tmp_path / "ckpt"), f"model/head/kernel{VALUE}")
        np.testing.assert_array_equal(kernel, model.layers[-1].kernel.numpy())

    def test_shared_by_two_are_left_to_tensorflow(self, tmp_path):
        """Both are restored."""

        class Twins(keras.Model):
            def __init__(self):
                super().__init__()
                self.first, self.second = keras.layers.Dense(1, name="twin"), keras.layers.Dense(1, name="twin")

            def call(self, x):
                return self.second(self.first(x))

        model = Twins()
        model(np.ones([1, 1]))
        model.set_weights([np.full(np.shape(each), i) for i, each in enumerate(model.get_weights())])
        assert f"model/twin/kernel{VALUE}" not in self.read(model, tmp_path)
        other = Twins()
        other(np.ones([1, 1]))
        tf.train.Checkpoint(model=other).read(str(tmp_path / "ckpt")).assert_consumed()
        assert [float(np.ravel(each)[0]) for each in other.get_weights()] == [0, 1, 2, 3]


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
