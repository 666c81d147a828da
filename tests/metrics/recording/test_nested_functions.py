"""What a reused `tf.function` records belongs to the step that calls it."""

import keras
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import MetricRegistry, UsageError


@tf.function
def helper(x):
    metrics.add("helped", x)
    return x + 1


class Decorated(keras.layers.Layer):
    @tf.function
    def call(self, x):
        metrics.add("inside", x)
        return helper(x)


class TestReused:
    """The same function in many steps, each of which must have its own numbers."""

    def test_in_steps_of_several_registries(self, record_traced):
        registries = [MetricRegistry(), MetricRegistry()]
        for registry in (*registries, *registries):
            assert record_traced(lambda: helper(tf.constant([1.0, 2.0])), registry) == {"helped": (3.0, 2.0)}

    def test_does_not_add_to_a_step_that_ran_before(self):
        """As a train step and an eval step, one after the other, and the first once more."""

        def compiled():
            registry = MetricRegistry()

            @tf.function(autograph=False)
            def run(x):
                with registry.recording():
                    helper(x)
                    return dict(registry.compute(None, None))

            return lambda *values: float(run(tf.constant(values))["helped"].value)

        train, evaluate = compiled(), compiled()
        assert [train(1.0, 2.0), evaluate(10.0, 20.0), train(3.0, 4.0)] == [3, 30, 7]

    def test_after_a_call_outside_of_any_step(self, record):
        helper(tf.constant([1.0, 2.0]))
        assert record(lambda: helper(tf.constant([1.0, 2.0]))) == {"helped": (3.0, 2.0)}
        assert helper(tf.constant([1.0, 2.0])).numpy().tolist() == [2, 3]

    def test_under_two_scopes_of_one_step(self, record_traced):
        def step():
            for name, value in (("a", 1.0), ("b", 10.0), ("a", 2.0)):
                with metrics.scope(name):
                    helper(tf.constant([value]))

        assert record_traced(step) == {"a/helped": (3.0, 2.0), "b/helped": (10.0, 1.0)}

    def test_called_twice_adds_up(self, record):
        def step():
            helper(helper(tf.constant([1.0])))

        assert record(step) == {"helped": (3.0, 2.0)}

    def test_a_concrete_function_that_records_is_refused(self, record_traced):
        """It could be kept, and called by another step."""
        with pytest.raises(
            UsageError, match=r"\['helped'\] are added by a function whose get_concrete_function was called"
        ):
            record_traced(lambda: helper.get_concrete_function(tf.constant([1.0, 2.0])))

    def test_a_concrete_function_that_adds_after_others_is_refused_too(self, record_traced):
        @tf.function
        def helper(x):
            metrics.add("helped", x)

        def step():
            metrics.add("before", 1.0)
            helper.get_concrete_function(tf.constant([1.0, 2.0]))

        with pytest.raises(UsageError, match="get_concrete_function was called"):
            record_traced(step)

    def test_a_concrete_function_that_records_nothing_is_not(self, record_traced):
        double = tf.function(lambda x: 2 * x)

        def step():
            x = tf.constant(3.0)
            metrics.add("doubled", double.get_concrete_function(x)(x))

        assert record_traced(step) == {"doubled": (6.0, 1.0)}

    @pytest.mark.parametrize("jit_compile", [None, True])
    def test_as_the_call_of_a_layer(self, record_traced, jit_compile):
        layer = Decorated()
        layer(tf.ones([1, 2]))
        for _ in range(2):
            found = record_traced(lambda: layer(tf.constant([[1.0, 2.0]])), jit_compile=jit_compile)
            assert found == {"inside": (3.0, 2.0), "helped": (3.0, 2.0)}

    def test_keeps_its_options(self, record_traced):
        signature = [tf.TensorSpec([None], tf.float32)]
        typed = tf.function(lambda x: metrics.add("m", x), input_signature=signature, jit_compile=True)
        assert record_traced(lambda: typed([1, 2])) == {"m": (3.0, 2.0)}

    def test_a_loaded_function_is_left_alone(self, tmp_path, record_traced):
        module = tf.Module()
        module.double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec([], tf.float32)])
        tf.saved_model.save(module, tmp_path)
        loaded = tf.saved_model.load(tmp_path)
        assert record_traced(lambda: metrics.add("m", loaded.double(tf.constant(3.0)))) == {"m": (6.0, 1.0)}


class TestArguments:
    """Of functions that are called, or traced, inside and outside of steps."""

    @staticmethod
    @tf.function
    def power(x, *, exponent):
        return x**exponent

    @pytest.fixture
    def loaded(self, tmp_path):
        """A function of a SavedModel."""
        module = tf.Module()
        module.double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec([])])
        tf.saved_model.save(module, tmp_path)
        return tf.saved_model.load(tmp_path).double

    def test_by_position_and_by_name(self, record_traced):
        found = []
        record_traced(lambda: found.append(tf.get_static_value(tf.shape(self.power(tf.ones([2]), exponent=2)))))
        assert found[0].tolist() == [2]
        assert float(self.power(tf.constant(3.0), exponent=2)) == 9
        concrete = self.power.get_concrete_function(tf.TensorSpec([]), exponent=3)
        assert float(concrete(tf.constant(2.0))) == 8

    def test_of_a_saved_model(self, loaded):
        assert float(loaded(tf.constant(2.0))) == 4
        assert float(loaded.get_concrete_function(x=tf.TensorSpec([]))(tf.constant(3.0))) == 6
        assert float(loaded.get_concrete_function(tf.TensorSpec([]))(tf.constant(4.0))) == 8
