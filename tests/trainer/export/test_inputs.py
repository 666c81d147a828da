"""Which part of a batch is the model's input."""

import keras
import pytest
import tensorflow as tf
from tallyloop.metrics import UsageError
from tallyloop.trainer.export.inputs import inputs_of


def found(model, batch):
    return inputs_of(model, batch, "T cannot predict", "define predict_step(self, model, batch)")


def functional(make):
    """A model with the inputs a and b, in the structure that `make` gives them."""
    a, b = keras.Input((1,), name="a"), keras.Input((1,), name="b")
    return keras.Model(make(a, b), keras.layers.Concatenate()([a, b]))


class Subclassed(keras.Model):
    def call(self, inputs):
        return inputs


ONE = keras.Sequential([keras.Input((1,), name="picture"), keras.layers.Flatten()])


class TestInputs:
    @pytest.mark.parametrize("model", [ONE, Subclassed(), keras.Sequential([keras.layers.Flatten()])])
    @pytest.mark.parametrize("batch", [{"x": 1, "y": 2}, (1, 2), (1, 2, 3), {"anything": 1}, 1])
    def test_of_a_model_with_one(self, model, batch):
        assert found(model, batch) == 1

    def test_a_name_of_the_models_comes_before_x(self):
        assert found(ONE, {"x": 1, "picture": 2}) == 2

    @pytest.mark.parametrize(
        ("make", "expected"),
        [
            (lambda a, b: [a, b], [1, 2]),
            (lambda a, b: [b, a], [2, 1]),
            (lambda a, b: {"a": a, "b": b}, {"a": 1, "b": 2}),
        ],
    )
    def test_of_a_model_with_several(self, make, expected):
        assert found(functional(make), {"a": 1, "b": 2, "label": 3}) == expected

    def test_several_as_one_part(self):
        model = functional(lambda a, b: {"a": a, "b": b})
        assert found(model, {"x": {"a": 1, "b": 2}, "y": 3}) == {"a": 1, "b": 2}
        assert found(model, ({"a": 1, "b": 2}, 3)) == {"a": 1, "b": 2}

    def test_works_on_specs(self):
        spec = tf.TensorSpec([None, 1])
        assert found(ONE, {"x": spec, "y": 0}) is spec

    @pytest.mark.parametrize(
        ("model", "batch", "message"),
        [
            (
                ONE,
                {"image": 1, "label": 2},
                "T cannot predict: expected 'x', or the model's inputs ['picture'] in the batch, got the keys "
                "['image', 'label']; define predict_step(self, model, batch)",
            ),
            (
                keras.Sequential([keras.Input((1,))]),
                {"a": 1, "b": 2},
                "expected 'x' in the batch, got the keys ['a', 'b']",
            ),
            (Subclassed(), {"a": 1, "b": 2}, "expected 'x' in the batch, got the keys ['a', 'b']"),
            (functional(lambda a, b: [a, b]), (1, 2), "got 1 for 2, from a tuple of 2"),
            (functional(lambda a, b: [a, b]), {"x": 1, "a": 2}, "got 1 for 2, from the keys ['a', 'x']"),
            (ONE, (), "got a tuple of 0"),
        ],
    )
    def test_not_found(self, model, batch, message):
        with pytest.raises(UsageError) as caught:
            found(model, batch)
        assert message in str(caught.value)
