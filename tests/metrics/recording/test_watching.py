import keras
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import UsageError

BATCH = tf.constant([[1.0, 2.0], [3.0, 4.0]])


def functional():
    inputs = keras.Input((2,), name="in")
    first = keras.layers.Dense(2, kernel_initializer="ones", use_bias=False, name="first")(inputs)
    return keras.Model(inputs, keras.layers.Lambda(lambda x: x * 10, name="tenfold")(first)), first


class Shows(keras.layers.Layer):
    """Keeps the arguments of its calls."""

    seen = []  # noqa: RUF012

    def call(self, inputs, training=None, mask=None):
        Shows.seen.append((training, mask))
        return inputs + 0


class TestWatch:
    def test_records_tensors_of_a_built_model(self, record_eagerly):
        model, first = functional()
        assert metrics.watch(model, [first, model.input], ["first.out", "in"]) is model
        assert record_eagerly(lambda: model(BATCH)) == {"first/out": (20, 4), "in": (10, 4)}
        assert model(BATCH).numpy().tolist() == [[30, 30], [70, 70]]  # outside a step too

    def test_takes_the_names_of_layers(self, record_eagerly):
        model, first = functional()
        metrics.watch(model, [first])
        assert set(record_eagerly(lambda: model(BATCH))) == {"first"}

    def test_a_second_call_adds_to_the_first(self, record_eagerly):
        model, first = functional()
        metrics.watch(model, [first], ["first"])
        metrics.watch(model, [model.input], ["in"])
        assert set(record_eagerly(lambda: model(BATCH))) == {"first", "in"}

    def test_a_model_inside_a_model(self, record_eagerly):
        inner, first = functional()
        inputs = keras.Input((2,))
        outer = keras.Model(inputs, inner(inputs + 1.0))
        metrics.watch(inner, [first], ["inner"])
        metrics.watch(outer, [outer.output], ["outer"])
        assert record_eagerly(lambda: outer(BATCH)) == {"inner": (28, 4), "outer": (280, 4)}

    @pytest.mark.parametrize("outputs", [list, tuple, dict], ids=["list", "tuple", "dict"])
    def test_several_inputs_and_outputs_keep_their_structure(self, outputs, record_eagerly):
        a, b = keras.Input((1,), name="a"), keras.Input((1,), name="b")
        total, product = a + b, a * b
        pair = {"s": total, "p": product} if outputs is dict else outputs([total, product])
        model = keras.Model({"a": a, "b": b}, pair)
        given = {"a": tf.constant([[2.0], [4.0]]), "b": tf.constant([[3.0], [5.0]])}
        before = model(given)
        metrics.watch(model, [product], ["product"])
        assert record_eagerly(lambda: model(given)) == {"product": (26, 2)}
        after = model(given)
        tf.nest.assert_same_structure(before, after)
        for one, other in zip(tf.nest.flatten(before), tf.nest.flatten(after), strict=True):
            assert one.numpy().tolist() == other.numpy().tolist()

    def test_both_calls_of_a_layer_used_twice(self, record_eagerly):
        inputs = keras.Input((1,))
        layer = keras.layers.Lambda(lambda x: x * 3)
        once = layer(inputs)
        twice = layer(once)
        model = metrics.watch(keras.Model(inputs, twice), [once, twice], ["once", "twice"])
        assert record_eagerly(lambda: model(tf.constant([[1.0], [2.0]]))) == {"once": (9, 2), "twice": (27, 2)}

    @pytest.mark.parametrize("training", [None, False, True])
    def test_passes_on_whether_it_trains(self, training, record_eagerly):
        inputs = keras.Input((2,))
        model = keras.Model(inputs, Shows()(inputs))
        metrics.watch(model, [model.input], ["in"])
        Shows.seen.clear()
        found = record_eagerly(lambda: model(BATCH, training=training))
        assert found == {"in": (10, 4)}
        assert [seen for seen, _ in Shows.seen] == [training]

    def test_passes_on_the_mask(self, record_eagerly):
        inputs = keras.Input((2,))
        model = keras.Model(inputs, Shows()(inputs))
        metrics.watch(model, [model.input], ["in"])
        Shows.seen.clear()
        mask = tf.constant([[True, False], [True, True]])
        record_eagerly(lambda: model(BATCH, mask=mask))
        assert [seen.numpy().tolist() for _, seen in Shows.seen] == [mask.numpy().tolist()]

    def test_names_the_model_in_an_error(self):
        model, other = functional()[0], functional()[1]
        with pytest.raises(UsageError, match=rf"functional model '{model.name}': \S+"):
            metrics.watch(model, [other])

    def test_takes_any_sequence(self, record_eagerly):
        model, first = functional()
        metrics.watch(model, (first, model.input), ("first", "in"))
        assert record_eagerly(lambda: model(BATCH)) == {"first": (20, 4), "in": (10, 4)}

    def test_a_subclassed_model_is_refused(self):
        class Subclassed(keras.Model):
            def call(self, inputs):
                return inputs

        with pytest.raises(UsageError, match="expected tensors of the functional model"):
            metrics.watch(Subclassed(), [keras.Input((2,))], ["in"])

    def test_refuses_a_tensor_of_another_model(self):
        model, other = functional()[0], functional()[1]
        with pytest.raises(UsageError, match=r"metrics\.watch: expected tensors of the functional model"):
            metrics.watch(model, [other])

    def test_refuses_more_names_than_tensors(self):
        model, first = functional()
        with pytest.raises(UsageError, match="expected one name per tensor, got 2 for 1 tensors"):
            metrics.watch(model, [first], ["a", "b"])
