"""Updates of the rows with a gradient, or of all in one pass: the same weights as Keras's rules give, and as NumPy does."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.trainer import ParameterGroup, Task, Trainer, mirrored, one_device
from tallyloop.trainer.model import embeddings, large_updates
from tallyloop.trainer.model.large_updates import let_update_large, updated_by_rows
from tallyloop.trainer.model.optimizers import parts
from tallyloop.trainer.step import update
from tallyloop.trainer.task import SumOfMeans

ROWS, WIDTH, BATCH, STEPS = 97, 2, 8, 7
RATE, LIMIT, START, EPSILON = 0.7, 0.5, 0.1, 1e-7
SLOW = 0.01  # the rate of Adam, whose first steps are as long as that
OPTIMIZERS = {
    "SGD": lambda **options: keras.optimizers.SGD(RATE, **options),
    "Adagrad": lambda: keras.optimizers.Adagrad(RATE),
    "Adam": lambda: keras.optimizers.Adam(SLOW, beta_1=0.8, beta_2=0.95, epsilon=1e-3),
    "AdamW": lambda: keras.optimizers.AdamW(SLOW, weight_decay=0.5, beta_1=0.8, beta_2=0.95, epsilon=1e-3),
}


@pytest.fixture(autouse=True)
def all_are_large(monkeypatch):
    monkeypatch.setattr(embeddings, "LARGE", ROWS * WIDTH)


class Rows(Task):
    """Least squares on the sum of all numbers of some rows of a table; the first id is looked up twice, and 0 is masked."""

    regularizer = None

    def build_model(self):
        ids = keras.Input((3,), dtype="int32")
        table = keras.layers.Embedding(ROWS, WIDTH, "ones", self.regularizer, mask_zero=True, name="table")
        both = [keras.ops.sum(table(each), (1, 2)) for each in (ids, ids[:, :1])]
        return keras.Model(ids, keras.ops.add(*both))

    def loss(self, model, batch, training):
        return (model(batch["ids"], training=training) - batch["y"]) ** 2


def examples(count=21, rows=ROWS):
    """Ids that repeat, within an example and between examples; some count from the end."""
    random = np.random.default_rng(3)
    return {
        "ids": random.integers(-9, 9, (count, 3)).astype(np.int32),
        "y": random.normal(size=count).astype(np.float32),
    }


def expected(name, data, steps=STEPS, limit=LIMIT, decay=0.0, skipped=()):
    """The table in float64; batches in order, the last of an epoch short."""
    table, sums = np.ones((ROWS, WIDTH)), np.full((ROWS, WIDTH), START)
    moments, updates = np.zeros((2, ROWS, WIDTH)), 0
    batches = [range(i, min(i + BATCH, len(data["y"]))) for i in range(0, len(data["y"]), BATCH)]
    for step in set(range(steps)) - set(skipped):
        rows = batches[step % len(batches)]
        gradient = np.zeros_like(table)
        for ids, y in zip(data["ids"][rows], data["y"][rows], strict=True):
            looked_up = [*ids, ids[0]]
            slope = 2 * (table[looked_up].sum() - y) / len(rows)
            for each in looked_up:
                gradient[each] += slope
        gradient *= min(1, limit / np.linalg.norm(gradient))
        if name.startswith("Adam"):
            updates += 1
            moments = [0.8 * moments[0] + 0.2 * gradient, 0.95 * moments[1] + 0.05 * gradient**2]
            mean, square = moments[0] / (1 - 0.8**updates), np.sqrt(moments[1])
            root = np.sqrt(1 - 0.95**updates)  # Keras adds epsilon before this division
            table = table * (1 - (SLOW * 0.5 if name == "AdamW" else 0)) - SLOW * root * mean / (square + 1e-3)
            continue
        sums += gradient**2
        table = table * (1 - decay * RATE) - RATE * gradient / (1 if name == "SGD" else np.sqrt(sums + EPSILON))
    return table


@pytest.fixture
def trained(make_trainer):
    """trained(task, data, optimizer, ...) -> the trainer after STEPS steps, and whether it updated rows alone."""

    def train(optimizer, task=None, data=None, replicas=1, **options):
        data = data or examples()
        dataset = Input(data, BATCH, shuffle=False)
        arguments = {"clip_global_norm": LIMIT, "train_steps": STEPS, **options}
        trainer = make_trainer(
            task or Rows(), replicas=replicas, optimizer=optimizer, train_dataset=dataset, **arguments
        )
        trainer.train()
        return trainer

    return train


def operations(trainer):
    """The types of all operations of the compiled loop."""
    functions = trainer._session.loop.graph.as_graph_def().library.function
    return {node.op for function in functions for node in function.node_def}


def shapes(trainer):
    """The first axis of whatever the compiled loop computes."""
    functions = trainer._session.loop.graph.as_graph_def(add_shapes=True).library.function
    found = [shape for f in functions for node in f.node_def for shape in node.attr["_output_shapes"].list.shape]
    return {shape.dim[0].size for shape in found if shape.dim}


def same(table, trainer, tolerance=1e-6):
    for copy in getattr(
        trainer.model.trainable_variables[0].value, "values", [trainer.model.trainable_variables[0].value]
    ):
        np.testing.assert_allclose(copy.numpy(), table, atol=tolerance, rtol=0)


class TestSameAsAllRows:
    @pytest.mark.parametrize("name", OPTIMIZERS)
    @pytest.mark.parametrize("replicas", [1, 2, 4])
    def test_on_replicas(self, trained, name, replicas):
        """With repeated ids, a short batch that leaves replicas uneven, and a norm that all ids limit together."""
        trainer = trained(OPTIMIZERS[name], replicas=replicas)
        same(expected(name, examples()), trainer)
        assert ("ResourceScatterSub" in operations(trainer)) == (name in ("SGD", "Adagrad"))
        assert "Unique" in operations(trainer)
        if name == "SGD":  # what replicas send each other does not grow with the table
            assert ROWS not in shapes(trainer)

    @pytest.mark.parametrize("name", ["SGD", "Adagrad"])
    def test_in_xla(self, trained, name):
        trainer = trained(OPTIMIZERS[name], jit_compile=True)
        same(expected(name, examples()), trainer)
        assert "ResourceScatterSub" in operations(trainer)

    @pytest.mark.parametrize(
        ("name", "options"),
        [
            ("Adagrad", {}),
            ("Adam", {}),
            *((name, {"jit_compile": True}) for name in OPTIMIZERS),
        ],
        ids=["Adagrad", "Adam", *(f"{name} in XLA" for name in OPTIMIZERS)],
    )
    def test_skipped_rows_are_left_as_they_are(self, trained, name, options):
        data = examples()
        data["y"][9] = np.nan  # in the second batch of an epoch of three
        trainer = trained(OPTIMIZERS[name], data=data, on_nonfinite="skip", **options)
        same(expected(name, data, skipped=(1, 4)), trainer)

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_of_several_means(self, trained, jit_compile):
        class Halves(Rows):
            def loss(self, model, batch, training):
                losses = super().loss(model, batch, training)
                return SumOfMeans([0.25 * losses, 0.75 * super().loss(model, batch, training)])

        trainer = trained(OPTIMIZERS["SGD"], Halves(), jit_compile=jit_compile)
        same(expected("SGD", examples()), trainer)
        # XLA adds up without `Unique`, whose result has a size of its own; what else is computed does not grow with the table.
        assert "Unique" not in operations(trainer) if jit_compile else ROWS not in shapes(trainer)

    def test_with_the_rate_of_a_group(self, trained):
        groups = [ParameterGroup(["table"], learning_rate=0.5)]
        trainer = trained(lambda: keras.optimizers.Adagrad(2 * RATE), parameter_groups=groups)
        same(expected("Adagrad", examples()), trainer)
        assert "ResourceScatterSub" in operations(trainer)

    def test_with_the_decay_of_a_group(self, trained):
        """Which goes through all rows."""
        groups = [ParameterGroup(["table"], weight_decay=0.1)]
        same(expected("SGD", examples(), decay=0.1), trained(OPTIMIZERS["SGD"], parameter_groups=groups))


class TestSkippedInXla:
    """What a replica on one device and a mirrored one leave as it is."""

    @pytest.mark.parametrize("strategy", [one_device, lambda: mirrored(["CPU:0"])], ids=["one device", "mirrored"])
    @pytest.mark.parametrize("name", ["SGD", "Adagrad"])
    def test_with_the_decay_of_a_group(self, strategy, name):
        """Which is by the group, and not by the rule of the rows."""
        data = examples()
        data["y"][:] = np.nan
        trainer = Trainer(
            task=Rows(),
            optimizer=OPTIMIZERS[name],
            strategy=strategy(),
            train_dataset=Input(data, BATCH),
            train_steps=2,
            jit_compile=True,
            on_nonfinite="skip",
            parameter_groups=[ParameterGroup(["table"], weight_decay=0.1)],
        )
        trainer.train()
        same(np.ones((ROWS, WIDTH)), trainer)

    def test_an_optimizer_that_makes_its_parts_itself_gets_all_rows(self, trained):
        """Keras calls the function when it is built."""

        def of_each(variable):
            return keras.optimizers.SGD(RATE, weight_decay=0.1)

        data = examples()
        data["y"][9] = np.nan
        trainer = trained(lambda: keras.optimizers.MultiOptimizer(of_each), data=data, train_steps=1)
        assert "ResourceScatterSub" not in operations(trainer)


class TwoTypes(Rows):
    """Looks up by int32 in one term of its loss, and by int64 in the other."""

    def loss(self, model, batch, training):
        table = model.get_layer("table")
        sums = [tf.reduce_sum(table(tf.cast(batch["ids"], each)), (1, 2)) for each in (tf.int32, tf.int64)]
        return SumOfMeans([(each - batch["y"]) ** 2 for each in sums])


class Tied(Rows):
    """Uses all of the table, too, as a language model does that shares its embedding with the last layer."""

    def loss(self, model, batch, training):
        scores = tf.linalg.matvec(model.trainable_variables[0], tf.constant([1.0, -2.0]))
        return super().loss(model, batch, training) + tf.reduce_logsumexp(scores)


class TestSameAsDense:
    @pytest.mark.parametrize(
        ("task", "options"),
        [
            (Rows, {"jit_compile": True}),
            (Rows, {"gradient_accumulation": 2, "data": examples(16), "train_steps": 8}),
            (Rows, {"optimizer": lambda: keras.optimizers.Adagrad(RATE, use_ema=True, ema_momentum=0.5)}),
            (TwoTypes, {}),
            (TwoTypes, {"jit_compile": True}),
            (Tied, {}),
        ],
        ids=["jit_compile", "accumulation", "use_ema", "numbers of two types", "numbers of two types in XLA", "tied"],
    )
    def test_trains_to_the_same_weights(self, trained, monkeypatch, task, options):
        arguments = {"optimizer": OPTIMIZERS["Adagrad"], **options}
        by_rows = trained(task=task(), **arguments)
        monkeypatch.setattr(embeddings, "LARGE", 10**9)
        same(trained(task=task(), **arguments).model.get_weights()[0], by_rows)


class TestDense:
    def test_optimizers_of_all_rows_get_all(self, trained, monkeypatch):
        """Rows all the same until then: reduced, checked, clipped and unscaled."""

        def adam():
            return keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1), initial_scale=256.0)

        by_rows = trained(adam, replicas=2)
        monkeypatch.setattr(embeddings, "LARGE", 10**9)
        same(trained(adam, replicas=1).model.get_weights()[0], by_rows)
        assert "ResourceScatterSub" not in operations(by_rows)
        assert "Unique" in operations(by_rows)

    @pytest.mark.parametrize("replicas", [1, 2])
    def test_beside_a_layer_without_rows(self, trained, monkeypatch, replicas):
        class Scaled(Rows):
            def build_model(self):
                summed = super().build_model()
                scaled = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")(summed.outputs[0][:, None])
                return keras.Model(summed.inputs, scaled[:, 0])

        def train():
            return trained(lambda: keras.optimizers.Adam(SLOW), Scaled(), clip_global_norm=None, replicas=replicas)

        by_rows = train()
        monkeypatch.setattr(embeddings, "LARGE", 10**9)
        same(train().model.get_weights()[0], by_rows)
        assert "Unique" in operations(by_rows)

    def test_accumulated(self, trained):
        trainer = trained(OPTIMIZERS["SGD"], data=examples(16), gradient_accumulation=2, train_steps=8)
        assert "ResourceScatterSub" not in operations(trainer)

    def test_a_table_that_is_regularized(self, trained):
        """The gradient of its penalty is dense: that of sum(w ** 2) / 100 is a decay of 2%, without the clipping."""

        class Regularized(Rows):
            regularizer = keras.regularizers.L2(0.01)

        trainer = trained(OPTIMIZERS["SGD"], Regularized(), clip_global_norm=None, train_steps=2)
        same(expected("SGD", examples(), steps=2, limit=np.inf, decay=0.02), trainer, 1e-5)  # rows of 8
        assert "ResourceScatterSub" not in operations(trainer)


class TestWhichVariables:
    @pytest.fixture(scope="class")
    @staticmethod
    def variables():
        table, constrained = (
            keras.Variable(np.zeros((ROWS, WIDTH)), name=name, dtype="float32") for name in ("table", "constrained")
        )
        constrained.constraint = keras.constraints.NonNeg()
        return [keras.Variable(np.zeros((3, 2)), name="small"), table, constrained]

    @pytest.mark.parametrize(
        ("make", "expected"),
        [
            (lambda: keras.optimizers.SGD(0.1), {1}),
            (lambda: keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1, use_ema=True), {1}),
            (lambda: keras.optimizers.Adagrad(0.1), {1}),
            (lambda: keras.optimizers.Adam(0.1, amsgrad=True), {1}),
            (lambda: keras.optimizers.Lamb(0.1), set()),
            (lambda: type("Own", (keras.optimizers.SGD,), {})(0.1), set()),
            (lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1)), set()),
            *(
                (lambda options=options: keras.optimizers.SGD(0.1, **options), set())
                for options in (
                    {"clipnorm": 1.0},
                    {"clipvalue": 1.0},
                    {"global_clipnorm": 1.0},
                    {"loss_scale_factor": 2.0},
                    {"gradient_accumulation_steps": 2},
                )
            ),
        ],
    )
    def test_by_the_optimizer(self, variables, make, expected):
        optimizer = make()
        let_update_large(optimizer)
        optimizer.build(variables)
        assert updated_by_rows(optimizer, variables) == expected

    @pytest.mark.parametrize(("pattern", "expected"), [("table", {1}), ("small", set())])
    def test_by_the_optimizer_of_a_group(self, variables, pattern, expected):
        groups = keras.optimizers.OptimizerMap(keras.optimizers.Lamb(0.1), {pattern: keras.optimizers.Adagrad(0.1)})
        optimizer = keras.optimizers.MultiOptimizer(groups)
        for part in parts(optimizer):
            let_update_large(part)
        optimizer.build(variables)
        assert updated_by_rows(optimizer, variables) == expected


class TestPrivateNames:
    """Of Keras; see large_updates.py."""

    def test_are_there(self):
        optimizer, variable = keras.optimizers.Adagrad(0.1), keras.Variable(np.zeros((2, 2), np.float32))
        optimizer.build([variable])
        assert optimizer._accumulators[optimizer._get_variable_index(variable.value)].shape == (2, 2)
        assert optimizer._trainable_variables == [variable]


class TestRules:
    @pytest.mark.parametrize(
        ("name", "options"),
        [
            *((each.__name__, {}) for each in sorted(large_updates._KNOWN, key=lambda each: each.__name__)),
            ("SGD", {"momentum": 0.9, "nesterov": True}),
            ("SGD", {"weight_decay": 0.1}),
            ("Adagrad", {"use_ema": True, "ema_momentum": 0.5}),
            ("Adam", {"amsgrad": True}),
            ("RMSprop", {"momentum": 0.9, "centered": True}),
            ("Adam", {"learning_rate": keras.optimizers.schedules.CosineDecay(0.1, 3)}),
        ],
        ids=lambda each: each if isinstance(each, str) else " and ".join(each) or "as it is",
    )
    @pytest.mark.parametrize("by_rows", [True, False], ids=["by rows", "dense"])
    @pytest.mark.parametrize("in_graph", [False, True], ids=["eagerly", "in a graph"])
    def test_are_those_of_keras(self, monkeypatch, name, options, by_rows, in_graph):
        def three_steps(by_rows):
            optimizer = getattr(keras.optimizers, name)(**{"learning_rate": 0.1, **options})
            variable = keras.Variable(np.ones((3, 2), np.float32))
            optimizer.build([variable])
            let_update_large(optimizer)
            rows = tf.IndexedSlices(tf.constant([[1.0, -2.0], [3.0, 4.0]]), tf.constant([2, 0]), tf.constant([3, 2]))
            given = rows if by_rows else tf.convert_to_tensor(rows)
            step = (tf.function if in_graph else lambda each: each)(lambda: optimizer.apply([given], [variable]))
            for _ in range(3):
                step()
            return [each.numpy() for each in (variable, *optimizer.variables)]

        theirs = three_steps(False)
        monkeypatch.setattr(embeddings, "LARGE", 6)
        for mine, keras_own in zip(three_steps(by_rows), theirs, strict=True):
            np.testing.assert_allclose(mine, keras_own, rtol=1e-6, atol=1e-9)


WRAPPED = {
    "loss scale": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.1)),
    "several": lambda: keras.optimizers.MultiOptimizer(
        keras.optimizers.OptimizerMap(keras.optimizers.Adam(0.1), {"v1": keras.optimizers.AdamW(0.1)})
    ),
    "accumulation": lambda: keras.optimizers.Adam(0.1, gradient_accumulation_steps=2),
}


class TestTogether:
    """Several large variables, which one function updates."""

    @pytest.fixture
    @staticmethod
    def variables():
        return [keras.Variable(np.ones((3, 2), np.float32), name=f"v{i}") for i in range(3)]

    @pytest.mark.parametrize("make", WRAPPED.values(), ids=WRAPPED)
    def test_as_keras_does(self, monkeypatch, make):
        def four_steps():
            variables = [keras.Variable(np.ones((3, 2), np.float32), name=f"v{i}") for i in range(3)]
            optimizer = make()
            for part in parts(optimizer):
                let_update_large(part)
            optimizer.build(variables)
            gradients = [tf.fill((3, 2), float(i)) for i in range(3)]
            step = tf.function(lambda: optimizer.apply(gradients, variables))
            for _ in range(4):
                step()
            return [each.numpy() for each in (*variables, *optimizer.variables)]

        monkeypatch.setattr(embeddings, "LARGE", 10**9)
        theirs = four_steps()
        monkeypatch.setattr(embeddings, "LARGE", 6)
        for mine, keras_own in zip(four_steps(), theirs, strict=True):
            np.testing.assert_allclose(mine, keras_own, rtol=1e-6, atol=1e-9)

    @pytest.fixture
    def optimizer(self, monkeypatch, variables):
        monkeypatch.setattr(embeddings, "LARGE", 6)
        optimizer = keras.optimizers.SGD(1.0, momentum=0.5)
        let_update_large(optimizer)
        optimizer.build(variables)
        return optimizer

    def test_on_several_devices(self, monkeypatch):
        monkeypatch.setattr(embeddings, "LARGE", 6)
        with tf.device("CPU:1"):
            other = keras.Variable(np.ones((3, 2), np.float32))
        here = keras.Variable(np.ones((3, 2), np.float32))
        optimizer = keras.optimizers.Adam(0.1)
        let_update_large(optimizer)
        optimizer.build([here, other])
        tf.function(lambda: optimizer.apply([tf.ones((3, 2))] * 2, [here, other]))()
        np.testing.assert_allclose([here.numpy(), other.numpy()], 0.9, rtol=1e-5)

    def test_after_an_apply_that_failed(self, optimizer, variables):
        def fails():
            optimizer.apply([tf.ones((3, 2)), tf.ones((3, 2)), tf.ones((4, 5))], variables)

        with pytest.raises(ValueError, match="shape"):
            tf.function(fails)()
        tf.function(lambda: optimizer.apply([tf.ones((3, 2))] * 3, variables))()
        np.testing.assert_array_equal([each.numpy() for each in variables], 0)

    @pytest.mark.parametrize("how", ["without variables", "by hand"])
    def test_each_by_itself(self, optimizer, variables, how):
        def step():
            if how == "by hand":
                for each in variables:
                    optimizer.update_step(tf.ones((3, 2)), each.value, tf.constant(1.0))
            else:
                optimizer.apply([tf.ones((3, 2))] * 3)

        tf.function(step)()
        np.testing.assert_array_equal([each.numpy() for each in variables], 0)


class TestLayers:
    """Large kernels of layers, whose gradients are dense."""

    class Wide(Task):
        def build_model(self):
            layers = [*(keras.layers.Dense(97, "tanh") for _ in range(2)), keras.layers.Dense(1)]
            return keras.Sequential([keras.Input((2,)), *layers])

        def loss(self, model, batch, training):
            return (model(batch["x"], training=training)[:, 0] - batch["y"]) ** 2

    @pytest.fixture
    @staticmethod
    def train(trained):
        random = np.random.default_rng(0)
        data = {"x": random.normal(size=(21, 2)).astype(np.float32), "y": random.normal(size=21).astype(np.float32)}
        groups = [ParameterGroup(["bias"], learning_rate=0.5)]

        def train(**options):
            keras.utils.set_random_seed(1)
            return trained(OPTIMIZERS["AdamW"], TestLayers.Wide(), data, parameter_groups=groups, **options)

        return train

    @pytest.mark.parametrize(
        "options",
        [{}, {"replicas": 2}, {"gradient_accumulation": 2}, {"jit_compile": True}],
        ids=["1 replica", "2 replicas", "accumulated", "jit_compile"],
    )
    def test_get_the_same_weights(self, train, monkeypatch, options):
        in_one_pass = train(**options)
        functions = in_one_pass._session.loop.graph.as_graph_def().library.function
        compiled = sum(each.attr["_XlaMustCompile"].b for each in functions)
        # Both kernels of a replica together; under `jit_compile`, within the function of all steps.
        assert compiled == options.get("replicas", 1) + options.get("jit_compile", False)
        monkeypatch.setattr(embeddings, "LARGE", 10**9)
        plain = train(**{name: value for name, value in options.items() if name == "gradient_accumulation"})
        for mine, keras_own in zip(in_one_pass.model.get_weights(), plain.model.get_weights(), strict=True):
            np.testing.assert_allclose(mine, keras_own, atol=1e-6, rtol=0)

    @pytest.mark.parametrize("large", [True, False])
    def test_in_xla_only_their_rows_are_checked(self, trained, monkeypatch, large):
        """Of a table, of which the step reads some rows."""
        if not large:
            monkeypatch.setattr(embeddings, "LARGE", 10**9)
        checked = []
        numbers = update.numbers
        monkeypatch.setattr(update, "numbers", lambda gradient: checked.append(numbers(gradient)) or checked[-1])
        trained(OPTIMIZERS["Adam"], train_steps=1, jit_compile=True, clip_global_norm=None)
        assert any(each.shape == (ROWS, WIDTH) for each in checked) != large

    @pytest.mark.parametrize("large", [True, False])
    def test_are_compiled_if_they_are_large(self, train, monkeypatch, large):
        monkeypatch.setattr(embeddings, "LARGE", 97 * 97 if large else 97 * 97 + 1)
        functions = train(train_steps=1)._session.loop.graph.as_graph_def().library.function
        assert sum(each.attr["_XlaMustCompile"].b for each in functions) == large
