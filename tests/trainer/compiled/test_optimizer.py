"""The optimizer of a compiled model goes on with the state that it has."""

import keras
import numpy as np
import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.compiled.optimizer import continued


def variable():
    return keras.Variable(np.array([1.0, 2.0], np.float32))


def stepped(optimizer):
    v = variable()
    optimizer.apply([keras.ops.array([0.5, -1.0])], [v])
    return optimizer


class TestContinued:
    def test_an_unbuilt_one_is_used_itself(self):
        adam = keras.optimizers.Adam()
        assert continued(adam) is adam
        assert continued(None) is None

    def test_a_built_one_is_copied_with_its_state(self):
        adam = stepped(keras.optimizers.Adam(0.25))
        copy = continued(adam)()
        assert not copy.built
        copy.build([variable()])
        for mine, its in zip(copy.variables, adam.variables, strict=True):
            np.testing.assert_array_equal(mine.numpy(), its.numpy())
        assert float(copy.learning_rate) == 0.25

    def test_the_state_of_other_variables(self):
        copy = continued(stepped(keras.optimizers.Adam()))()
        with pytest.raises(UsageError, match="fitted with other layers frozen"):
            copy.build([variable(), variable()])

    def test_exclusions_cannot_be_copied(self):
        adam = keras.optimizers.AdamW()
        adam.exclude_from_weight_decay(var_names=["bias"])
        assert continued(adam) is adam
        with pytest.raises(UsageError, match=r"exclude_from_weight_decay.*compile the model anew"):
            continued(stepped(adam))
