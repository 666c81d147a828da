"""Under mixed precision, losses, metrics and predictions are computed in float32, and raw columns are not rounded."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.models import (
    AutoencoderTask,
    ClassifierTask,
    DistillationTask,
    GanTask,
    LanguageModelTask,
    RegressionTask,
    TabularTask,
    TwoTowerTask,
    dense_generator,
    dense_tower,
    image_classifier,
    mlp,
    transformer,
    two_stage_autoencoder,
)
from tallyloop.trainer import Trainer

ROWS = 8
RNG = np.random.default_rng(0)
X = RNG.normal(size=(ROWS, 6)).astype(np.float32)
Y = np.arange(ROWS) % 3
TABLE = {
    "year": 2000.0 + np.arange(ROWS),
    "kind": np.array(["a", "b"] * 4),
    "price": 250_000.0 + 1000 * np.arange(ROWS),
}


@pytest.fixture(params=["mixed_bfloat16", "mixed_float16"])
def policy(request):
    """A global policy, until the test ends."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "model.keras"
    keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)]).save(path)
    return path


def linear(outputs):
    return lambda: mlp(hidden=(), num_classes=outputs)


def cases(teacher):
    tokens = np.arange(ROWS * 3).reshape(ROWS, 3) % 7
    small = {"vocabulary": 7, "length": 3, "depth": 1, "heads": 1, "width": 4}
    return {
        "autoencoder": (AutoencoderTask(lambda: two_stage_autoencoder(5, 3, 6)), {"x": X}),
        "classifier": (ClassifierTask(linear(3)), {"x": X, "y": Y}),
        "distillation": (DistillationTask(teacher, linear(3)), {"x": X, "y": Y}),
        "gan": (GanTask(lambda: dense_generator((6,), (4,)), linear(1)), {"x": X, "z": X}),
        "language": (LanguageModelTask(lambda: transformer(**small)), {"x": tokens, "y": tokens}),
        "regression": (RegressionTask(linear(2)), {"x": X, "y": X[:, :2]}),
        "tabular": (TabularTask(lambda: TABLE, "price", ["year"], ["kind"], dropout=0.5), TABLE),
        "two_tower": (
            TwoTowerTask(*[lambda: dense_tower((), 3)] * 2, recall_at=[1]),
            {"query": X, "item": X},
        ),
    }


NAMES = [
    "autoencoder", "classifier", "distillation", "gan", "language", "regression", "tabular", "two_tower",
]  # fmt: skip


class TestTasks:
    @pytest.mark.parametrize("name", NAMES)
    def test_compute_in_float32(self, policy, teacher, name):
        """Losses, outputs and predictions; a step of training."""
        task, data = cases(teacher)[name]
        trainer = Trainer(task, eval_datasets={"test": Input(data, ROWS)})
        assert all(np.isfinite(value) for value in trainer.evaluate()["test"].values())
        predicted = tf.nest.flatten(trainer.predict(Input(data, ROWS)))
        assert {each.dtype for each in predicted if each.dtype.kind not in "iu"} <= {np.dtype(np.float32)}
        if name == "gan":
            return
        batch = tf.nest.map_structure(tf.constant, data)
        result = task.loss(trainer.model, batch, training=False)
        for each in result if isinstance(result, tuple) else (result,):
            assert each.dtype == tf.float32


class TestNumbers:
    def test_errors_of_large_numbers(self, policy):
        """Squares of errors of 1000 are too large for float16, and 250,500 is 250,880 in bfloat16."""
        task = RegressionTask(lambda: keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)]))
        model = task.build_model()
        model.set_weights([np.array([[256.0]])])
        batch = {"x": tf.constant([[1.0], [2.0]]), "y": tf.constant([250_500.0, 1512.0])}
        losses, predicted = task.loss(model, batch, training=True)
        np.testing.assert_array_equal(predicted, [256, 512])
        np.testing.assert_allclose(losses, [(250_500.0 - 256) ** 2, 1000**2])

    def test_columns_as_they_are(self, policy):
        """2001 and 2002 are one number in bfloat16; the target's mean and deviation are too large for float16."""
        task = TabularTask(lambda: TABLE, "price", ["year"], hidden=())
        model = task.build_model()
        model.get_layer("linear").set_weights([np.ones((1, 1)), np.zeros(1)])
        predicted = task.predict_step(model, {name: tf.constant(column) for name, column in TABLE.items()})
        np.testing.assert_allclose(
            predicted, TABLE["price"], atol=10
        )  # 2^-9 of the deviation 2291, as far as bfloat16 goes

    def test_probabilities(self, policy):
        """The sum over 1000 classes, whose logits are 0."""
        task = ClassifierTask(linear(1000))
        model = task.build_model()
        model.build((None, 6))
        model.layers[-1].set_weights([np.zeros((6, 1000)), np.zeros(1000)])
        found = task.predict_step(model, {"x": tf.constant(X)})["probabilities"]
        np.testing.assert_allclose(found, np.full((ROWS, 1000), 1e-3), rtol=1e-6)

    def test_similarities(self, policy):
        """(1, 0) and (1, 1): the cosine is sqrt(0.5), which the towers have rounded."""
        task = TwoTowerTask(*[lambda: keras.layers.UnitNormalization()] * 2, temperature=0.05)
        vectors = tf.constant([[1.0, 0.0], [1.0, 1.0]])
        losses, _ = task.loss(task.build_model(), {"query": vectors, "item": vectors}, training=False)
        half = {"mixed_bfloat16": 0.70703125, "mixed_float16": 0.70703125}[policy]
        own = np.array([1.0, 2 * half**2])
        np.testing.assert_allclose(losses, np.log1p(np.exp((half - own) / 0.05)), rtol=1e-4)

    def test_images_from_0_to_255(self, policy):
        """200.7 is 201 in bfloat16, which has eight bits."""
        model = image_classifier(size=8, scale="0 to 255")
        seen = model.get_layer("rescaled")(tf.fill([1, 8, 8, 3], 200.7 / 255))
        np.testing.assert_allclose(seen, np.full((1, 8, 8, 3), 200.7), rtol=1e-6)
