"""First weights from a checkpoint or a Keras file."""

import logging

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics import UsageError


@pytest.fixture(scope="module")
def trained(encoder, make_trainer, tmp_path_factory):
    """(its weights by path, its newest checkpoint, its .keras file, its weights in HDF5, its SavedModel)."""
    path = tmp_path_factory.mktemp("before")
    trainer = make_trainer(encoder, model_dir=path)
    trainer.train()
    trainer.model.save_weights(path / "w.weights.h5")
    folder = trainer.export()
    weights = {v.path: v.numpy() for v in trainer.model.weights}
    checkpoint = tf.train.latest_checkpoint(str(path / "checkpoints"))
    return weights, checkpoint, str(folder / "model.keras"), str(path / "w.weights.h5"), str(folder / "saved_model")


class TestInitialWeights:
    @pytest.mark.parametrize("kind", [1, 2, 3, 4])
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

    def test_hdf5_by_the_names_of_layers(self, regression_task, make_trainer, trained, caplog):
        """As LAYER/NUMBER, where the architecture is another."""

        class Other(regression_task):
            def build_model(self):
                layers = [
                    keras.layers.Dense(4, name="body"),
                    keras.layers.Dense(2, name="head"),
                    keras.layers.Dense(1, name="new"),
                ]
                return keras.Sequential([keras.Input((3,)), *layers], name="other")

        trainer = make_trainer(Other(), initial_weights=trained[3], initial_weights_map={"encoder/": "body/"})
        before = trainer.model.layers[2].kernel.numpy()
        with caplog.at_level(logging.WARNING):
            trainer.prepare(evaluate=False)
        np.testing.assert_array_equal(trainer.model.layers[0].kernel.numpy(), trained[0]["net/encoder/kernel"])
        np.testing.assert_array_equal(trainer.model.layers[2].kernel.numpy(), before)
        assert "2 of the model's 6 variables come from" in caplog.text
        assert "missing in it, so left as initialized: new/0, new/1." in caplog.text
        assert "of another shape, so left as initialized: head/0 (has (4, 1), expected (4, 2))" in caplog.text
        assert "in it but not used: encoder_norm/0" in caplog.text

    def test_hdf5_of_the_same_architecture_goes_by_place(self, regression_task, make_trainer, tmp_path, caplog):
        """As Keras numbers the layers of a process, whose names are then other ones."""

        class Unnamed(regression_task):
            def build_model(self):
                inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
                return keras.Sequential([inner, keras.layers.Dense(1)])

        one, other = make_trainer(Unnamed()).model, make_trainer(Unnamed(), initial_weights=tmp_path / "w.weights.h5")
        one.layers[0].layers[0].bias.assign([1.0, 2.0, 3.0, 4.0])
        one.save_weights(tmp_path / "w.weights.h5")
        other.prepare(evaluate=False)
        for mine, theirs in zip(other.model.weights, one.weights, strict=True):
            np.testing.assert_array_equal(mine.numpy(), theirs.numpy())
        assert "4 of the model's 4 variables" in caplog.text

    def test_keras_file_whose_layers_are_numbered_otherwise(self, regression_task, make_trainer, tmp_path, caplog):
        """The first layer of the file has the name of the second one of the model."""

        class Numbered(regression_task):
            def build_model(self):
                layers = [keras.layers.Dense(3, name=f"dense_{i}") for i in (1, 2)]
                return keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1, name="head")])

        layers = [keras.layers.Dense(3, name=f"dense_{i}") for i in (2, 3)]
        saved = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(1, name="head")])
        saved.save(tmp_path / "saved.keras")
        trainer = make_trainer(Numbered(), initial_weights=tmp_path / "saved.keras")
        trainer.prepare()
        for mine, wanted in zip(trainer.model.get_weights(), saved.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, wanted)

    def test_a_saved_model_of_others(self, encoder, make_trainer, trained, tmp_path, caplog):
        """Without the names that an export keeps beside it; and one that Keras knows nothing of."""
        path = tmp_path / "theirs"
        encoder.build_model().export(path, verbose=False)
        make_trainer(encoder, initial_weights=path).prepare(evaluate=False)
        assert "8 of the model's 8 variables" in caplog.text
        module = tf.Module()
        module.v = [tf.Variable([[1.0], [2.0], [3.0], [4.0]], name="head/kernel"), tf.Variable([7.0], name="head/bias")]
        tf.saved_model.save(module, str(tmp_path / "module"))
        trainer = make_trainer(encoder, initial_weights=tmp_path / "module")
        trainer.prepare(evaluate=False)
        assert trainer.model.layers[-1].bias.numpy().tolist() == [7.0]
        assert "2 of the model's 8 variables" in caplog.text

    @pytest.mark.parametrize("name", ["no/ckpt-5", "no.keras", "no.weights.h5", "no"])
    def test_what_is_not_there(self, make_trainer, name):
        with pytest.raises(
            UsageError, match=rf"^Trainer.initial_weights = '{name}': expected a file, which isn't there"
        ):
            make_trainer(initial_weights=name).train()

    def test_nothing_fits(self, regression_task, make_trainer, trained):
        with pytest.raises(
            UsageError, match=r"nothing in it fits the model. It has net/encoder.*Trainer.initial_weights_map"
        ):
            make_trainer(regression_task(), initial_weights=trained[1]).train()

    @pytest.mark.parametrize("name", ["none", "none.keras", "text.keras", "none.weights.h5", "text.weights.h5"])
    def test_unreadable(self, make_trainer, tmp_path, name):
        for ending in ("keras", "weights.h5"):
            (tmp_path / f"text.{ending}").write_text("hello")
        with pytest.raises(UsageError, match=name):
            make_trainer(initial_weights=str(tmp_path / name)).train()

    @pytest.mark.parametrize("kind", ["external", "virtual"])
    def test_numbers_in_another_file(self, make_trainer, tmp_path, kind):
        """Of a file from a stranger: whatever it names on this machine would become weights."""
        with h5py.File(tmp_path / "secret.h5", "w") as secret:
            secret["x"] = np.ones(4, np.float32)
        with h5py.File(tmp_path / "bad.weights.h5", "w") as file:
            if kind == "external":
                file.create_dataset("layers/a/vars/0", (4,), "f4", external=[(tmp_path / "secret.h5", 0, 16)])
            else:
                layout = h5py.VirtualLayout((4,), "f4")
                layout[:] = h5py.VirtualSource(tmp_path / "secret.h5", "x", (4,))
                file.create_virtual_dataset("layers/a/vars/0", layout)
        with pytest.raises(UsageError, match="expected all weights in the file itself, got 'layers/a/vars/0'"):
            make_trainer(initial_weights=str(tmp_path / "bad.weights.h5")).train()

    def test_the_folder_around_it(self, make_trainer, tmp_path):
        (tmp_path / "model.keras").touch()
        with pytest.raises(
            UsageError, match=r"expected a checkpoint, .* got a folder that is none; give .*/model.keras\."
        ):
            make_trainer(initial_weights=tmp_path).prepare(evaluate=False)

    def test_two_names_become_one(self, encoder, make_trainer, trained):
        with pytest.raises(UsageError, match=r"Trainer.initial_weights_map gives two variables the name 'all'"):
            make_trainer(encoder, initial_weights=trained[1], initial_weights_map={".*bias": "all"}).train()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"initial_weights_map": {"^net/": r"\2"}}, r"Trainer.initial_weights_map: '\^net/'"),
            ({"initial_weights": "x.h5"}, r"x.h5.*expected a checkpoint, a .keras file, .* ends in .weights.h5"),
        ],
    )
    def test_wrong_arguments(self, make_trainer, tmp_path, arguments, message):
        make_trainer(model_dir=tmp_path).train()
        source = {"initial_weights": tf.train.latest_checkpoint(str(tmp_path / "checkpoints"))}
        with pytest.raises(UsageError, match=message):
            make_trainer(**{**source, **arguments}).train()
