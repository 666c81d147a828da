"""Groups of variables: against hand-written optimizers, one for each group."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics import UsageError
from tallyloop.trainer import ParameterGroup, layer_wise_decay
from tallyloop.trainer.model.parameter_groups import ParameterGroups

FIRST, LAST = ("first/kernel", "first/bias"), ("last/kernel", "last/bias")


def make_model():
    def layer(units, name, seed):
        return keras.layers.Dense(
            units, "tanh", kernel_initializer=keras.initializers.GlorotUniform(seed), bias_initializer="ones", name=name
        )

    return keras.Sequential([keras.Input((3,)), layer(4, "first", 1), layer(1, "last", 2)], name="net")


@pytest.fixture(scope="module")
def task(regression_task):
    class Two(regression_task):
        def build_model(self):
            return make_model()

    return Two()


def path(variable):
    return variable.path.removeprefix("net/")


def by_hand(task, rows, optimizers, steps=4):
    """Path -> weight, where the variables of each tuple of paths have an optimizer of their own."""
    model, data = task.build_model(), rows(40)
    named = {path(variable): variable for variable in model.trainable_variables}
    for step in range(steps):
        part = slice(16 * (step % 3), 16 * (step % 3) + 16)
        batch = {key: tf.constant(each[part]) for key, each in data.items()}
        with tf.GradientTape() as tape:
            mean = tf.reduce_mean(task.loss(model, batch, True))
        gradients = dict(zip(named, tape.gradient(mean, list(named.values())), strict=True))
        for paths, optimizer in optimizers.items():
            optimizer.apply([gradients[path] for path in paths], [named[path] for path in paths])
    return {path: variable.numpy() for path, variable in named.items()}


@pytest.fixture(scope="module")
def trained(make_trainer, task):
    """trained(optimizer, replicas, ...) -> path -> weight after 4 steps."""

    def run(optimizer, replicas=1, task=task, **arguments):
        trainer = make_trainer(task, replicas=replicas, optimizer=optimizer, train_steps=4, **arguments)
        trainer.train()
        return {path(variable): variable.numpy() for variable in trainer.model.variables}

    return run


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        np.testing.assert_allclose(found[name], weight, atol=1e-6, rtol=0, err_msg=name)


AdamW = keras.optimizers.AdamW


class TestGroups:
    @pytest.mark.parametrize("replicas", [1, pytest.param(3, marks=pytest.mark.slow)])
    def test_of_a_rate_and_a_decay_are_optimizers_of_their_own(self, trained, task, rows, replicas):
        groups = [ParameterGroup(["^first/"], learning_rate=0.1), ParameterGroup(["bias"], weight_decay=0.0)]
        found = trained(AdamW(0.05, weight_decay=0.5), replicas, parameter_groups=groups)
        expected = {
            FIRST: AdamW(0.005, weight_decay=0.5),
            ("last/kernel",): AdamW(0.05, weight_decay=0.5),
            ("last/bias",): AdamW(0.05, weight_decay=0.0),
        }
        assert_close(found, by_hand(task, rows, expected))

    def test_follow_the_schedule(self, trained, task, rows):
        def schedule(rate):
            return keras.optimizers.schedules.ExponentialDecay(rate, 2, 0.5)

        found = trained(
            keras.optimizers.SGD(schedule(0.2)), parameter_groups=[ParameterGroup(["first"], 0.5, weight_decay=0.3)]
        )
        expected = {
            FIRST: keras.optimizers.SGD(schedule(0.1), weight_decay=0.3),
            LAST: keras.optimizers.SGD(schedule(0.2)),
        }
        assert_close(found, by_hand(task, rows, expected))

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "options",
        [{"jit_compile": True}, {"clip_global_norm": 1e9}],
        ids=["compiled", "clipped"],
    )
    def test_other_options(self, trained, task, rows, options):
        found = trained(AdamW(0.05), parameter_groups=[ParameterGroup(["first"], 0.5)], **options)
        assert_close(found, by_hand(task, rows, {FIRST: AdamW(0.025), LAST: AdamW(0.05)}))

    @pytest.mark.slow
    @pytest.mark.parametrize("wrapped", ["loss scale", "several"])
    def test_in_a_wrapped_optimizer(self, trained, task, rows, wrapped):
        def wrap(optimizer):
            if wrapped == "loss scale":
                return keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=8.0)
            others = {".*last/bias": keras.optimizers.SGD(0.1)}
            return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(optimizer, others))

        groups = [ParameterGroup(["first"], 0.5), ParameterGroup(["last/bias"], 2.0)]
        found = trained(wrap(AdamW(0.05)), parameter_groups=groups)
        bias = AdamW(0.1) if wrapped == "loss scale" else keras.optimizers.SGD(0.2)
        expected = {FIRST: AdamW(0.025), ("last/kernel",): AdamW(0.05), ("last/bias",): bias}
        assert_close(found, by_hand(task, rows, expected))

    def test_freeze(self, trained, task, rows):
        found = trained(AdamW(0.05), parameter_groups=[ParameterGroup(["first/kernel", "last/bias"], freeze=True)])
        expected = by_hand(task, rows, {("first/bias", "last/kernel"): AdamW(0.05)})
        assert_close(found, expected)

    def test_keep_what_is_excluded_already(self):
        model = make_model()
        optimizer = AdamW(0.5, weight_decay=0.1)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        ParameterGroups([ParameterGroup(["first"], 0.5)], []).prepare([optimizer], model)
        optimizer.build(model.trainable_variables)
        optimizer.apply([tf.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
        before = make_model().get_weights()
        factors = [a.ravel()[0] / b.ravel()[0] for a, b in zip(model.get_weights(), before, strict=True)]
        assert factors == pytest.approx([1 - 0.25 * 0.1, 1, 1 - 0.5 * 0.1, 1])

    def test_a_rerun_may_have_others(self, trained, tmp_path):
        """They are no state: what is saved is that of one optimizer."""
        trained(AdamW(0.05), parameter_groups=[ParameterGroup(["first"], 0.5)], model_dir=tmp_path)
        trained(AdamW(0.05), model_dir=tmp_path)


class TestLayerWiseDecay:
    def test_of_the_layers_of_a_model(self):
        model = keras.Sequential([keras.Input((2,)), *(keras.layers.Dense(2, name=name) for name in "abc")], name="net")
        groups = layer_wise_decay(0.5)(model)
        assert [([path(v) for v in group.variables], group.learning_rate) for group in groups] == [
            (["a/kernel", "a/bias"], 0.25),
            (["b/kernel", "b/bias"], 0.5),
        ]

    def test_of_named_layers(self):
        groups = layer_wise_decay(0.5, ["embedding", "block_0", "block_1"])(None)
        assert [(group.variables, group.learning_rate) for group in groups] == [
            (["embedding"], 0.25),
            (["block_0"], 0.5),
        ]

    def test_trains(self, trained, task, rows):
        found = trained(keras.optimizers.SGD(0.1), parameter_groups=[layer_wise_decay(0.25)])
        expected = {FIRST: keras.optimizers.SGD(0.025), LAST: keras.optimizers.SGD(0.1)}
        assert_close(found, by_hand(task, rows, expected))

    @pytest.mark.parametrize("rate", [0, 1, 1.5, "0.8", True, float("nan")])
    def test_refuses_other_rates(self, rate):
        with pytest.raises(UsageError, match=r"layer_wise_decay.rate = .*: expected a number between 0 and 1"):
            layer_wise_decay(rate)

    def test_refuses_a_model_of_one_layer(self):
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, name="all")])
        with pytest.raises(UsageError, match=r"layers = None: expected a model of several layers .* got all\. Name"):
            layer_wise_decay(0.5)(model)


class TestWeightDecayExclude:
    def test_has_none(self, trained, task, rows):
        found = trained(AdamW(0.05, weight_decay=0.5), weight_decay_exclude=["bias$"])
        kernels, biases = ("first/kernel", "last/kernel"), ("first/bias", "last/bias")
        expected = {kernels: AdamW(0.05, weight_decay=0.5), biases: AdamW(0.05, weight_decay=0.0)}
        assert_close(found, by_hand(task, rows, expected))

    def test_wins_over_a_group(self):
        model, optimizer = make_model(), keras.optimizers.SGD(0.5)
        ParameterGroups([ParameterGroup(["first"], weight_decay=0.1)], ["bias"]).prepare([optimizer], model)
        optimizer.build(model.trainable_variables)
        optimizer.apply([tf.zeros(v.shape) for v in model.trainable_variables], model.trainable_variables)
        before = make_model().get_weights()
        factors = [a.ravel()[0] / b.ravel()[0] for a, b in zip(model.get_weights(), before, strict=True)]
        assert factors == pytest.approx([1 - 0.5 * 0.1, 1, 1, 1])

    @pytest.mark.parametrize(
        ("optimizer", "patterns", "match"),
        [
            (
                AdamW(),
                ["biass"],
                r"'biass' matches no variable: expected a regular .* first/kernel, first/bias, last/k",
            ),
            (keras.optimizers.Adam(), ["bias"], r"expected an optimizer with weight_decay, such as AdamW, and .* none"),
        ],
    )
    def test_refuses(self, make_trainer, task, optimizer, patterns, match):
        with pytest.raises(UsageError, match=rf"Trainer.weight_decay_exclude.*{match}"):
            make_trainer(task, optimizer=optimizer, weight_decay_exclude=patterns).prepare()

    @pytest.mark.parametrize("patterns", ["bias", ["("], [3], {"bias": 1}])
    def test_refuses_other_things(self, patterns):
        with pytest.raises(UsageError, match=r"Trainer.weight_decay_exclude.*expected a .*regular expression"):
            ParameterGroups([], patterns)


class StrangeOptimizer(keras.optimizers.Optimizer):
    def apply(self, grads, trainable_variables=None):
        pass


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "match"),
        [
            ({"learning_rate": 0}, r"learning_rate = 0: expected a number greater than 0.*freeze"),
            ({"learning_rate": "0.1"}, r"learning_rate = '0.1': expected a number"),
            ({"weight_decay": -1}, r"weight_decay = -1: expected a number of at least 0, or None"),
            ({"freeze": 1}, r"freeze = 1: expected True or False"),
            ({}, r"variables = \['a'\]: expected a learning_rate other than 1, .* changes nothing"),
            ({"variables": "a"}, r"variables = 'a': expected a list of regular expressions"),
            ({"variables": ["("]}, r"variables: expected a regular expression, got '\('"),
            ({"variables": []}, r"variables = \[\]: expected a list"),
        ],
    )
    def test_of_a_group(self, arguments, match):
        with pytest.raises(UsageError, match=rf"ParameterGroup\.{match}"):
            ParameterGroup(**{"variables": ["a"], **arguments})

    @pytest.mark.parametrize("groups", ["head", 3, [3], {"head": 0.1}])
    def test_other_things(self, groups):
        with pytest.raises(UsageError, match=r"Trainer.parameter_groups = .*: expected a list of groups"):
            ParameterGroups(groups, [])

    @pytest.mark.parametrize(
        "group", [ParameterGroup, lambda model: [3], lambda model: ParameterGroup(["a"], 2), lambda m: []]
    )
    def test_functions_that_make_something_else(self, group):
        with pytest.raises(UsageError, match=r"expected groups, or functions .* got <.*parentheses"):
            ParameterGroups([group], []).freeze(make_model())

    def test_a_rate_for_a_factor(self, caplog):
        ParameterGroups([ParameterGroup(["last"], 1e-4)], []).freeze(make_model())
        assert "learning_rate = 0.0001 is a factor of the optimizer's rate, not a rate: ['last'] hardly" in caplog.text

    @pytest.mark.parametrize(
        ("groups", "match"),
        [
            ([ParameterGroup(["lsat"], 0.1)], r"'lsat' matches no variable: expected .*last/kernel"),
            ([ParameterGroup(["last"], 0.1), ParameterGroup(["last/bias"], 2)], r"in no group before it.* the order"),
            ([ParameterGroup([""], freeze=True)], r"expected a variable that is left to train; freeze fewer"),
        ],
    )
    def test_of_the_variables(self, groups, match):
        with pytest.raises(UsageError, match=match):
            ParameterGroups(groups, []).freeze(make_model())

    def test_an_optimizer_without_update_step(self):
        with pytest.raises(UsageError, match=r"expected an optimizer with update_step.* StrangeOptimizer has none"):
            ParameterGroups([ParameterGroup(["last"], 0.1)], []).prepare([StrangeOptimizer(0.1)], make_model())

    def test_an_optimizer_with_another_weight_decay(self):
        with pytest.raises(UsageError, match=r"weight_decay = None: expected a number, as Muon"):
            ParameterGroups([ParameterGroup(["last"], 0.1)], []).prepare([keras.optimizers.Muon()], make_model())


class TestPrivateNamesOfKeras:
    def test_are_there(self):
        for name in ("_var_key", "_use_weight_decay", "_apply_weight_decay"):
            assert hasattr(keras.optimizers.Optimizer, name), f"Keras has renamed {name}"
