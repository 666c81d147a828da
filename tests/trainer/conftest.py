"""Small tasks, a maker of Trainers on 1, 2 or 4 replicas, and what their results are compared with."""

import numpy as np
import pytest

# Keras and the Trainer are imported where they are used: many tests below this folder need neither.


@pytest.fixture(scope="session")
def regression_task():
    """The class, to make or to subclass: least squares on x (n, 3) and y (n,), from zero weights."""
    import keras
    from tallyloop.trainer import Task

    class Regression(Task):
        def build_model(self):
            dense = keras.layers.Dense(1, kernel_initializer="zeros", name="dense")
            return keras.Sequential([keras.Input((3,)), dense])

        def loss(self, model, batch, training):
            return (model(batch["x"], training=training)[:, 0] - batch["y"]) ** 2

    return Regression


@pytest.fixture(scope="session")
def rows():
    """rows(n) -> {"x": (n, 3), "y": (n,)}, the same each time; y is not linear, so no gradient vanishes."""

    def make(n):
        rng = np.random.default_rng(5)
        x = rng.normal(size=(n, 3)).astype(np.float32)
        return {"x": x, "y": (x @ [1, -2, 3] + 5 * x[:, 0] ** 2 + 1).astype(np.float32)}

    return make


@pytest.fixture(scope="session")
def make_trainer(mirrored_on, rows, regression_task):
    """make_trainer(task, data, replicas, **arguments) -> a Trainer on batches of 16, in order."""
    import keras
    from tallyloop.data import Input
    from tallyloop.trainer import Trainer

    def make(task=None, data=40, replicas=1, evaluate=False, batch=16, **arguments):
        data = rows(data) if isinstance(data, int) else data
        defaults = {
            "optimizer": lambda: keras.optimizers.SGD(0.02),
            "train_dataset": Input(data, batch, shuffle=False),
            "train_steps": 6,
            "eval_datasets": {"test": Input(data, batch)} if evaluate else None,
        }
        return Trainer(task=task or regression_task(), strategy=mirrored_on(replicas), **{**defaults, **arguments})

    return make


@pytest.fixture(scope="session")
def weights_of():
    """weights_of(trainer) -> all trainable weights as one float64 vector."""

    def flat(trainer):
        return np.concatenate([v.numpy().ravel() for v in trainer.model.trainable_variables]).astype(np.float64)

    return flat


@pytest.fixture(scope="session")
def copies_of():
    """copies_of(variable) -> the values of its copies, one per replica."""
    return lambda variable: [copy.numpy() for copy in getattr(variable.value, "values", [variable.value])]


@pytest.fixture(scope="session")
def assert_same_weights():
    """assert_same_weights(trainer, other): bit for bit, whether trained or not."""

    def compare(one, other):
        for a, b in zip(one.model.weights, other.model.weights, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)

    return compare


@pytest.fixture(scope="session")
def gradient_of():
    """gradient_of(w, batch) -> d/dw of the mean of (x w + b - y)^2; w is (w_1, w_2, w_3, b)."""

    def gradient(w, batch):
        x = np.concatenate([batch["x"], np.ones([len(batch["x"]), 1])], 1).astype(np.float64)
        return 2 * (x @ w - batch["y"]) @ x / len(x)

    return gradient


@pytest.fixture(scope="session")
def layered(regression_task):
    """layered(*layers) -> a task: least squares on the layers that these functions make, and one unit."""
    import keras

    class Layered(regression_task):
        def __init__(self, *layers):
            self.layers = layers

        def build_model(self):
            return keras.Sequential([keras.Input((3,)), *(make() for make in self.layers), keras.layers.Dense(1)])

    return Layered


@pytest.fixture(scope="session")
def encoder(regression_task):
    """A task whose model has an encoder, with BatchNormalization, and a head."""
    import keras

    class Encoder(regression_task):
        def build_model(self):
            return keras.Sequential(
                [
                    keras.Input((3,)),
                    keras.layers.Dense(4, name="encoder", activation="tanh"),
                    keras.layers.BatchNormalization(name="encoder_norm"),
                    keras.layers.Dense(1, name="head"),
                ],
                name="net",
            )

    return Encoder()


@pytest.fixture(scope="session")
def run(make_trainer):
    """run(folder, steps, ...) -> a Trainer that has trained by Adam and evaluated, with a checkpoint every 4 steps."""
    import keras

    def train(folder, steps=12, **arguments):
        defaults = {
            "optimizer": lambda: keras.optimizers.Adam(0.05),
            "evaluate": True,
            "checkpoint_interval": 4,
            "eval_interval": 4,
        }
        trainer = make_trainer(train_steps=steps, model_dir=folder, **{**defaults, **arguments})
        trainer.train_and_eval()
        return trainer

    return train


@pytest.fixture(scope="session")
def whole(run, tmp_path_factory):
    """(the Trainer, its folder) of `run` over 12 steps, never stopped."""
    folder = tmp_path_factory.mktemp("whole")
    return run(folder), folder
