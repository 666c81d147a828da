"""Exported models: what is written, and that it is the model."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.trainer import Task
from tallyloop.trainer.export import saving


def served(folder, *args, **inputs):
    """What the exported model returns, in this process."""
    loaded = tf.saved_model.load(str(folder / "saved_model"))
    return loaded.signatures["serving_default"](*args, **inputs)


class Recording(keras.layers.Layer):
    """A custom layer with metrics."""

    def __init__(self, **keywords):
        super().__init__(**keywords)
        self.dense = keras.layers.Dense(4, activation="tanh")

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        y = self.dense(x)
        metrics.add("active", y > 0)
        return y


class Words(keras.Model):
    """A subclassed model, of integers, that Keras cannot save as .keras."""

    def __init__(self, _):
        super().__init__()
        self.embedding = keras.layers.Embedding(10, 4)
        self.head = keras.layers.Dense(1)

    def call(self, ids, training=False):
        return self.head(tf.reduce_mean(self.embedding(ids), 1))[:, 0]


class WordTask(Task):
    def build_model(self):
        return Words(object())

    def loss(self, model, batch, training):
        return (model(batch["x"], training=training) - batch["y"]) ** 2


@pytest.fixture(scope="module")
def words():
    rng = np.random.default_rng(0)
    return {"x": rng.integers(0, 10, (20, 3)), "y": rng.normal(size=20).astype(np.float32)}


class TestExport:
    @pytest.mark.parametrize("replicas", [1, 3])
    def test_both_forms_give_the_models_outputs(self, make_trainer, layered, rows, tmp_path, replicas, caplog):
        trainer = make_trainer(layered(lambda: Recording(name="recording")), replicas=replicas, train_steps=2)
        trainer.train()
        folder = trainer.export(tmp_path / "taken")
        assert sorted(path.name for path in folder.iterdir()) == ["model.keras", "saved_model"]
        expected = trainer.model(rows(7)["x"]).numpy()
        np.testing.assert_allclose(served(folder, inputs=rows(7)["x"])["output_0"], expected, atol=1e-6)
        loaded = keras.models.load_model(folder / "model.keras", custom_objects={"Recording": Recording}, compile=False)
        np.testing.assert_allclose(loaded(rows(7)["x"]), expected, atol=1e-6)
        assert "to load model.keras, import these first, or give them as custom_objects: " in caplog.text

    def test_names_of_several_inputs_and_outputs(self, tmp_path):
        a, b = keras.Input((1,), name="a"), keras.Input((None,), name="b", dtype="int32")
        total = keras.layers.Lambda(lambda pair: pair[0][:, 0] + tf.cast(tf.reduce_sum(pair[1], 1), tf.float32))([a, b])
        saving.save(keras.Model({"a": a, "b": b}, {"total": total}), tmp_path, None)
        found = served(tmp_path, a=tf.constant([[1.0], [2.0]]), b=tf.constant([[1, 2, 3], [4, 5, 6]]))
        np.testing.assert_array_equal(found["total"], [7, 17])

    def test_names_that_a_saved_model_cannot_have(self, tmp_path, caplog):
        """Columns of a table are called as people call them."""
        inputs = {name: keras.Input((), name=f"i{place}") for place, name in enumerate(("a b", "a_b", "é", "_x", "1"))}
        model = keras.Model(inputs, sum(10**place * each for place, each in enumerate(inputs.values())))
        saving.save(model, tmp_path, None)
        values = {"a_b": 1.0, "a_b_": 2.0, "arg__": 3.0, "arg__x": 4.0, "arg_1": 5.0}
        (found,) = served(tmp_path, **{name: tf.constant([value]) for name, value in values.items()}).values()
        assert found.numpy().tolist() == [54321.0]
        assert "Export: the input 'a b' is called 'a_b' in saved_model/." in caplog.text

    def test_a_subclassed_model_takes_the_datas_types(self, make_trainer, words, tmp_path, caplog):
        trainer = make_trainer(WordTask(), train_dataset=Input(words, 5), train_steps=2)
        folder = trainer.export(tmp_path)
        found = served(folder, inputs=tf.constant(words["x"][:4]))["output_0"]
        np.testing.assert_allclose(found, trainer.model(words["x"][:4]), atol=1e-6)
        assert "Export: model.keras cannot be written: Object Words was created" in caplog.text
        assert "implement `get_config()`" in caplog.text
        assert not (folder / "model.keras").exists()

    def test_the_names_of_the_variables_are_kept(self, make_trainer, words, tmp_path):
        trainer = make_trainer(WordTask(), train_dataset=Input(words, 5))
        names = json.loads((trainer.export(tmp_path) / "saved_model" / saving.VARIABLE_NAMES).read_text())
        assert names == [variable.path for variable in trainer.model.weights]

    def test_neither_form(self, make_trainer, words, tmp_path):
        class Parts(WordTask):
            def loss(self, model, batch, training):
                return super().loss(model, {"x": batch["ids"], "y": batch["y"]}, training)

        trainer = make_trainer(Parts(), train_dataset=Input({"ids": words["x"], "y": words["y"]}, 5))
        with pytest.raises(
            UsageError, match=r"model.keras cannot be written: .*saved_model cannot .*'x'.*define export"
        ):
            trainer.export(tmp_path / "new")
        assert not (tmp_path / "new").exists()

    @pytest.mark.parametrize(("checkpoint", "step"), [("best", 4), ("ckpt-8", 8)])
    def test_of_a_checkpoint(self, run, rows, tmp_path, checkpoint, step):
        """The best is that of the first evaluation: the greatest loss."""
        trainer = run(tmp_path, best_metric="loss", best_mode="max")
        folder = tmp_path / "checkpoints"
        assert json.loads((folder / "best.json").read_text())["step"] == 4
        exported = trainer.export(checkpoint=checkpoint if checkpoint == "best" else folder / checkpoint)
        found = served(exported, inputs=rows(3)["x"])["output_0"]
        at_the_end = trainer.model(rows(3)["x"])
        assert np.abs(found - at_the_end).max() > 1e-3
        expected = trainer.predict(Input(rows(3), 3), str(folder / f"ckpt-{step}"))
        np.testing.assert_allclose(found, expected, atol=1e-6)
        loaded = keras.models.load_model(exported / "model.keras")
        np.testing.assert_allclose(loaded(rows(3)["x"]), expected, atol=1e-6)

    def test_no_best_checkpoint(self, make_trainer, tmp_path):
        make_trainer(model_dir=tmp_path).train()
        with pytest.raises(UsageError, match=r"checkpoint = 'best': expected .*best.json.*Trainer.best_metric"):
            make_trainer(model_dir=tmp_path).export(checkpoint="best")
        with pytest.raises(UsageError, match=r"checkpoint = 'best': expected a Trainer with a model_dir"):
            make_trainer().export(tmp_path, checkpoint="best")
