"""First weights from a checkpoint or a Keras file."""

import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics import UsageError


class TestInitialWeights:
    @pytest.fixture
    def trained(self, encoder, make_trainer, tmp_path):
        """(its weights by path, its newest checkpoint, its .keras file)."""
        trainer = make_trainer(encoder, model_dir=tmp_path / "before")
        trainer.train()
        weights = {v.path: v.numpy() for v in trainer.model.weights}
        checkpoint = tf.train.latest_checkpoint(str(tmp_path / "before" / "checkpoints"))
        return weights, checkpoint, str(trainer.export() / "model.keras")

    @pytest.mark.parametrize("kind", [1, 2])
    @pytest.mark.parametrize("replicas", [1, 2])
    def test_loads_all(self, encoder, make_trainer, trained, replicas, kind, caplog):
        trainer = make_trainer(encoder, replicas=replicas, initial_weights=trained[kind], train_steps=3)
        with caplog.at_level(logging.WARNING):
            trainer.prepare(evaluate=False)
        for variable in trainer.model.weights:
            np.testing.assert_array_equal(variable.numpy(), trained[0][variable.path])
        assert "8 of the model's 8 variables come from" in caplog.text
        assert trainer.step == 0

    def test_maps_names_and_reports_the_rest(self, regression_task, make_trainer, trained, caplog):
        class Other(regression_task):
            def build_model(self):
                layers = [
                    keras.layers.Dense(4, name="body"),
                    keras.layers.Dense(2, name="head"),
                    keras.layers.Dense(1, name="new"),
                ]
                return keras.Sequential([keras.Input((3,)), *layers], name="other")

        trainer = make_trainer(Other(), initial_weights=trained[1], initial_weights_map={"encoder/": "body/"})
        with caplog.at_level(logging.WARNING):
            trainer.prepare(evaluate=False)
        np.testing.assert_array_equal(trainer.model.layers[0].kernel.numpy(), trained[0]["net/encoder/kernel"])
        assert "2 of the model's 6 variables come from" in caplog.text
        assert "missing in it, so left as initialized: other/new/kernel, other/new/bias." in caplog.text
        assert (
            "of another shape, so left as initialized: other/head/kernel (has (4, 1), expected (4, 2))" in caplog.text
        )
        assert "in it but not used: net/encoder_norm/" in caplog.text

    def test_nothing_fits(self, regression_task, make_trainer, trained):
        with pytest.raises(
            UsageError, match=r"nothing in it fits the model. It has net/encoder.*Trainer.initial_weights_map"
        ):
            make_trainer(regression_task(), initial_weights=trained[1]).train()

    @pytest.mark.parametrize("name", ["none", "none.keras", "text.keras"])
    def test_unreadable(self, make_trainer, tmp_path, name):
        (tmp_path / "text.keras").write_text("hello")
        with pytest.raises(UsageError, match=name):
            make_trainer(initial_weights=str(tmp_path / name)).train()

    def test_two_names_become_one(self, encoder, make_trainer, trained):
        with pytest.raises(UsageError, match=r"Trainer.initial_weights_map gives two variables the name 'all'"):
            make_trainer(encoder, initial_weights=trained[1], initial_weights_map={".*bias": "all"}).train()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"initial_weights_map": {"^net/": r"\2"}}, r"Trainer.initial_weights_map: '\^net/'"),
            ({"initial_weights": "x.weights.h5"}, r"x.weights.h5.*expected a checkpoint, or a .keras file"),
        ],
    )
    def test_wrong_arguments(self, make_trainer, tmp_path, arguments, message):
        make_trainer(model_dir=tmp_path).train()
        source = {"initial_weights": tf.train.latest_checkpoint(str(tmp_path / "checkpoints"))}
        with pytest.raises(UsageError, match=message):
            make_trainer(**{**source, **arguments}).train()
