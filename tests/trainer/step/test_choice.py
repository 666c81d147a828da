"""Updates under a condition, compiled by XLA: all variables as they were, or as the optimizer alone would have them."""

import re
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.trainer.model import embeddings
from tallyloop.trainer.model.large_updates import let_update_large
from tallyloop.trainer.step.choice import changed_only_if

OPTIMIZERS = {
    name: getattr(keras.optimizers, name)
    for name in (
        [
            "SGD",
            "RMSprop",
            "Adam",
            "AdamW",
            "Adadelta",
            "Adagrad",
            "Adamax",
            "Adafactor",
            "Nadam",
            "Ftrl",
            "Lion",
            "Lamb",
            "Muon",
            "ScheduleFreeAdamW",
        ]
    )
}
OPTIONS = {
    "weight decay, averages and accumulation": lambda: keras.optimizers.Adam(
        0.1, weight_decay=0.1, use_ema=True, ema_overwrite_frequency=1, gradient_accumulation_steps=2
    ),
    "momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True, clipnorm=1.0),
    "amsgrad": lambda: keras.optimizers.Adam(0.1, amsgrad=True),
    "loss scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1), dynamic_growth_steps=2),
    "several": lambda: keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(keras.optimizers.Adam(0.1), {"table": keras.optimizers.Lion(0.1)})
    ),
}


class Training:
    """An optimizer, two variables, and steps compiled by XLA."""

    def __init__(self, make):
        self.weights = [
            keras.Variable(np.linspace(-1, 1, size).reshape(-1, 4).astype(np.float32), name=name)
            for size, name in ((24, "table"), (8, "rest"))
        ]
        self.optimizer = make()
        self.optimizer.build(self.weights)
        self.plain = tf.function(self._apply, jit_compile=True, autograph=False)
        self.only_if = tf.function(self._apply_if, jit_compile=True, autograph=False)

    def _apply(self, scale):
        self.optimizer.apply([scale * tf.cos(each.value) for each in self.weights], self.weights)

    def _apply_if(self, condition, scale):
        with changed_only_if(condition, self.optimizer, self.weights):
            self._apply(scale)

    def numbers(self):
        return [each.numpy() for each in (*self.weights, *self.optimizer.variables)]


@pytest.mark.parametrize("make", [*OPTIMIZERS.values(), *OPTIONS.values()], ids=[*OPTIMIZERS, *OPTIONS])
def test_is_all_or_nothing(make):
    one, other = Training(make), Training(make)
    for step, happens in enumerate((True, False, True, True, False)):
        before = one.numbers()
        one.only_if(tf.constant(happens), tf.constant(float(step + 1)))
        if happens:
            other.plain(tf.constant(float(step + 1)))
            for mine, theirs in zip(one.numbers(), other.numbers(), strict=True):
                np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-8)
        else:
            for mine, old in zip(one.numbers(), before, strict=True):
                np.testing.assert_array_equal(mine, old)
    assert not np.allclose(one.numbers()[0], Training(make).numbers()[0])


def test_what_is_not_finite_leaves_no_trace():
    training = Training(keras.optimizers.Adam)
    before = training.numbers()
    training.only_if(tf.constant(False), tf.constant(np.nan))
    for now, old in zip(training.numbers(), before, strict=True):
        np.testing.assert_array_equal(now, old)


def test_the_optimizer_is_as_it_was():
    training = Training(keras.optimizers.Adam)
    training.only_if(tf.constant(False), tf.constant(1.0))
    before = training.numbers()[0]
    training.plain(tf.constant(1.0))
    assert not np.allclose(training.numbers()[0], before)
    assert not {"assign", "assign_add", "assign_sub"} & {*vars(training.optimizer)}


def compiled_loop(body):
    """What XLA makes of a loop that calls body(step): it updates variables in place there."""

    @tf.function(jit_compile=True, autograph=False)
    def loop(count):
        def step(i):
            body(i)
            return i + 1

        return tf.while_loop(lambda i: i < count, step, (tf.constant(0),))

    return loop.experimental_get_compiler_ir(tf.constant(5))(stage="optimized_hlo")


@pytest.mark.parametrize("large", [False, True])
def test_nothing_is_copied(monkeypatch, large):
    """A copy of Adam's moments took as long as the update."""
    training = Training(keras.optimizers.Adam)
    if large:
        monkeypatch.setattr(embeddings, "LARGE", 24)
        let_update_large(training.optimizer)
    compiled = compiled_loop(lambda i: training._apply_if(i > 2, tf.cast(i, tf.float32)))
    assert "sqrt" in compiled
    assert "f32[6,4]" in compiled
    assert not re.findall(r"f32\[6,4\]\S* copy\(", compiled)


class TestRows:
    """Of a table whose rule changes those with a gradient only."""

    @pytest.fixture(params=["SGD", "Adagrad"])
    def training(self, request, monkeypatch):
        monkeypatch.setattr(embeddings, "LARGE", 24)
        training = Training(OPTIMIZERS[request.param])
        let_update_large(training.optimizer)
        return training

    @staticmethod
    def apply(training, scale):
        rows = tf.IndexedSlices(scale * tf.ones((3, 4)), tf.constant([4, 1, 2]), tf.constant([6, 4]))
        training.optimizer.apply([rows, tf.ones((2, 4))], training.weights)

    def apply_if(self, training, condition, scale):
        with changed_only_if(condition, training.optimizer, training.weights):
            self.apply(training, scale)

    def test_are_all_or_nothing(self, training):
        apply_if = tf.function(partial(self.apply_if, training), jit_compile=True, autograph=False)
        before = training.numbers()
        apply_if(tf.constant(False), tf.constant(np.nan))
        for now, old in zip(training.numbers(), before, strict=True):
            np.testing.assert_array_equal(now, old)
        apply_if(tf.constant(True), tf.constant(1.0))
        changed = np.any(training.numbers()[0] != before[0], axis=1)
        assert changed.tolist() == [False, True, True, False, True, False]

    def test_change_as_they_would_without_a_condition(self, training):
        """The moments, too."""
        other = Training(type(training.optimizer))
        let_update_large(other.optimizer)
        compiled = partial(tf.function, jit_compile=True, autograph=False)
        compiled(partial(self.apply_if, training))(tf.constant(True), tf.constant(2.0))
        compiled(partial(self.apply, other))(tf.constant(2.0))
        for mine, theirs in zip(training.numbers(), other.numbers(), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-6)

    def test_are_all_that_is_touched(self, training):
        compiled = compiled_loop(lambda i: self.apply_if(training, i > 2, 1.0))
        made = set(re.findall(r"= f32\[6,4\]\S* ([\w-]+)\(", compiled))
        assert "scatter" in made
        assert made <= {"parameter", "get-tuple-element", "scatter", "fusion"}
