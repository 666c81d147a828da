"""Distillation: the loss beside NumPy, a teacher that stays, what a student learns from it, and clear errors without one."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input, digits
from tallyloop.models import ClassifierTask, DistillationTask, mlp
from tallyloop.trainer import Trainer

X = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
Y = np.arange(9) % 3


def linear(classes=3):
    return mlp(hidden=(), num_classes=classes)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "model.keras"
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.save(path)
    return path


def trainer(teacher, strategy=None, **task):
    keras.utils.set_random_seed(0)
    dataset = Input({"x": X, "y": Y}, 5)
    given = {"model": linear} | task
    return Trainer(
        DistillationTask(teacher, **given),
        keras.optimizers.SGD(0.5),
        strategy,
        dataset,
        {"test": dataset},
        train_steps=4,
    )


def softmax(logits):
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_numbers(teacher):
    run = trainer(teacher, temperature=2.0, soft=0.75)
    found = run.evaluate()["test"]
    loaded = keras.models.load_model(teacher)
    taught, logits = [np.asarray(model(X), np.float64) for model in (loaded, run.model)]
    hard = -np.log(softmax(logits)[range(9), Y])
    soft = -(softmax(taught / 2) * np.log(softmax(logits / 2))).sum(-1)
    answer, said = logits.argmax(-1), taught.argmax(-1)
    wanted = {
        "loss": (0.25 * hard + 0.75 * 4 * soft).mean(),
        "loss/hard": hard.mean(),
        "loss/soft": soft.mean(),
        "accuracy": (answer == Y).mean(),
        "teacher/accuracy": (said == Y).mean(),
        "teacher/agreement": (answer == said).mean(),
    }
    assert {key: found[key] for key in wanted} == pytest.approx(wanted, rel=1e-5)


class TestSampleWeight:
    """A weight multiplies the loss of its example, in a dict and in a tuple, as in `ClassifierTask`; the metrics have none."""

    weights = np.array([0, 1, 2, 0.5, 3, 1, 0, 4, 1], np.float32)

    @pytest.mark.parametrize("key", [None, "w"])
    def test_multiplies_the_losses(self, teacher, key):
        task = DistillationTask(teacher, linear, sample_weight=key)
        model = task.build_model()
        x, y, weights = tf.constant(X), tf.constant(Y), tf.constant(self.weights)
        plain, _ = task.loss(model, (x, y), training=False)
        batch = (x, y, weights) if key is None else {"x": x, "y": y, key: weights}
        found, _ = task.loss(model, batch, training=True)
        np.testing.assert_allclose(found, plain * self.weights, rtol=1e-6)

    def test_missing_in_training(self, teacher, refused):
        task = DistillationTask(teacher, linear, sample_weight="w")
        with refused("The batch: expected the key 'w', got ['x', 'y']; set DistillationTask.sample_weight"):
            task.loss(task.build_model(), {"x": tf.constant(X), "y": tf.constant(Y)}, training=True)


class TestTraining:
    @pytest.fixture(scope="class")
    @classmethod
    def alone(cls, teacher):
        run = trainer(teacher)
        run.train()
        return run

    def test_leaves_the_teacher(self, teacher, alone):
        assert len(alone.model.trainable_variables) == 2
        before = keras.models.load_model(teacher).get_weights()
        for mine, saved in zip(alone._task.teacher.get_weights(), before, strict=True):
            np.testing.assert_array_equal(mine, saved)

    def test_is_the_same_on_two_replicas(self, teacher, alone, mirrored_on):
        run = trainer(teacher, mirrored_on(2))
        run.train()
        for mine, one in zip(run.model.weights, alone.model.weights, strict=True):
            np.testing.assert_allclose(mine.numpy(), one.numpy(), atol=1e-6)

    def test_passes_the_check(self, alone):
        compared = alone.check()
        assert {"eval/test/loss", "eval/test/teacher/accuracy"} <= {each.name for each in compared}
        assert all(each.same for each in compared), compared


@pytest.mark.slow
def test_a_student_of_few_examples_learns_more_than_alone(tmp_path):
    """A teacher that has seen all digits tells of the classes that 100 of them cannot."""

    def accuracy(task, rows=None, seed=0):
        few = {key: values[:rows] for key, values in digits("train").items()}
        run = Trainer(
            task,
            keras.optimizers.Adam(0.003),
            train_dataset=Input(few, 32),
            eval_datasets={"test": Input(digits("test"), 360)},
            train_steps=600,
            seed=seed,
        )
        found = run.train_and_eval()["test"]["accuracy"]
        run.model.save(tmp_path / "last.keras")
        return found

    teacher = tmp_path / "teacher.keras"
    assert accuracy(ClassifierTask(lambda: mlp(hidden=(128,)))) > 0.96
    (tmp_path / "last.keras").rename(teacher)
    alone, taught = (
        np.mean([accuracy(DistillationTask(teacher, lambda: mlp((32,)), soft=soft), 100, seed) for seed in (0, 1)])
        for soft in (0.0, 0.9)
    )
    assert taught > alone + 0.03


class TestRefused:
    @pytest.mark.parametrize(
        ("path", "got"),
        [("no.keras", "no such file"), (".", "a folder"), ("text.txt", "another kind of file")],
    )
    def test_no_teacher(self, tmp_path, refused, path, got):
        (tmp_path / "text.txt").touch()
        with refused(f"{tmp_path / path}': expected a .keras file, got {got}; train one first, tallyloop"):
            DistillationTask(tmp_path / path)

    def test_a_damaged_teacher(self, tmp_path, refused):
        (tmp_path / "bad.keras").write_bytes(b"PK")
        with refused("bad.keras': expected a model that Keras can load, got "):
            trainer(tmp_path / "bad.keras").evaluate()

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"temperature": 0}, "DistillationTask.temperature = 0: expected a number greater than 0"),
            ({"soft": 2}, "DistillationTask.soft = 2: expected a number from 0 to 1"),
            ({"teacher": None}, "DistillationTask.teacher = None: expected the path of a .keras file; train one first"),
        ],
    )
    def test_wrong_arguments_are_refused(self, teacher, refused, given, message):
        with refused(message):
            DistillationTask(**({"teacher": teacher} | given))

    def test_other_classes(self, teacher, refused):
        with refused(
            "expected logits of as many classes as the student's (4,), got (3,); set the student's number of classes"
        ):
            trainer(teacher, model=lambda: linear(4)).evaluate()

    def test_other_classes_by_the_name_of_the_model_function(self, teacher, refused):
        def student(num_classes=4):
            return linear(num_classes)

        with refused("got (3,); set the student's number of classes (student.num_classes)"):
            trainer(teacher, model=student).evaluate()

    @pytest.mark.parametrize("key", ["features", "labels"])
    def test_other_keys(self, teacher, refused, key):
        task = DistillationTask(teacher, linear, **{key: "no"})
        with refused(
            "expected the key 'no', got ['x', 'y']; set DistillationTask.features and DistillationTask.labels"
        ):
            task.loss(task.build_model(), {"x": tf.constant(X), "y": tf.constant(Y)}, training=True)

    def test_other_features(self, teacher, refused):
        dataset = Input({"x": X[:, :3], "y": Y}, 5)
        with refused("model.keras': expected inputs that it accepts, got float32 of shape (batch, 3): "):
            Trainer(DistillationTask(teacher, linear), eval_datasets={"test": dataset}).evaluate()
