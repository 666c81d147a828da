"""An update: divide, check, clip, apply."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics import Tally, UsageError
from tallyloop.trainer.step.update import Update


class Weights:
    """Two variables under SGD of rate 1, so that a step is the gradient that was applied."""

    def __init__(self, clip=None, **options):
        self.variables = [keras.Variable([0.0, 0.0], name="a"), keras.Variable(0.0, name="b")]
        self.optimizer = keras.optimizers.SGD(1.0, **options)
        self.optimizer.build(self.variables)
        model = SimpleNamespace(trainable_variables=self.variables, non_trainable_variables=[])
        self.update = Update(self.optimizer, model, clip)

    def apply(self, gradients, value=1.0, count=1.0):
        gradients = {i: tf.constant(g) for i, g in gradients.items()}
        return bool(self.update.apply(gradients, Tally(tf.constant(value), tf.constant(count))))

    @property
    def steps(self):
        return [(-variable.numpy()).tolist() for variable in self.variables]


class TestUpdate:
    def test_divides_by_the_count(self):
        weights = Weights()
        assert weights.apply({0: [6.0, 3.0], 1: 12.0}, count=3.0)
        assert weights.steps == [[2.0, 1.0], 4.0]

    def test_without_examples(self):
        weights = Weights()
        assert weights.apply({0: [0.0, 0.0], 1: 0.0}, value=0.0, count=0.0)
        assert weights.steps == [[0.0, 0.0], 0.0]

    def test_variables_without_gradient(self):
        weights = Weights()
        assert weights.apply({1: 5.0})
        assert weights.steps == [[0.0, 0.0], 5.0]

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("where", ["loss", 0, 1])
    def test_nothing_unless_finite(self, where, bad):
        weights = Weights(momentum=0.9)
        assert weights.apply({0: [1.0, 1.0], 1: 1.0})
        before = [variable.numpy().tolist() for variable in (*weights.variables, *weights.optimizer.variables)]
        gradients = {0: [1.0, bad if where == 0 else 1.0], 1: bad if where == 1 else 1.0}
        assert not weights.apply(gradients, value=bad if where == "loss" else 1.0)
        assert [variable.numpy().tolist() for variable in (*weights.variables, *weights.optimizer.variables)] == before

    def test_refuses_no_gradient(self):
        with pytest.raises(UsageError, match="depends on no trainable variable: a, b"):
            Weights().apply({})


class TestClipping:
    def test_norm_over_all_variables(self):
        weights = Weights(clip=1.0)
        # (6, 0, 8) / 2 has the norm 5.
        assert weights.apply({0: [6.0, 0.0], 1: 8.0}, count=2.0)
        assert weights.steps == [pytest.approx([0.6, 0.0]), pytest.approx(0.8)]

    def test_small_norm_stays(self):
        weights = Weights(clip=1.0)
        assert weights.apply({0: [0.3, 0.0], 1: 0.4})
        assert weights.steps == [pytest.approx([0.3, 0.0]), pytest.approx(0.4)]

    def test_before_the_loss_scale(self):
        weights = Weights(clip=1.0, loss_scale_factor=10.0)
        assert weights.apply({0: [60.0, 0.0], 1: 80.0}, count=2.0)  # as a loss scaled by 10 gives
        assert weights.steps == [pytest.approx([0.6, 0.0]), pytest.approx(0.8)]
