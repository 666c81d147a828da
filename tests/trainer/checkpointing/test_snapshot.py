"""A copy of the state, which is written while training goes on."""

import threading

import keras
import numpy as np
import pytest
import tensorflow as tf
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
