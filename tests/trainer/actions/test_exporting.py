"""The export of the best model: which one it is, and that it is whole."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.metrics import UsageError
from tallyloop.metrics.writers import Summary
from tallyloop.trainer.actions import ExportBest
from tallyloop.trainer.actions.exporting import FOLDER


def export_of(text):
    """Stands in for Trainer.export: writes one file, or fails half-way."""

    def export(folder):
        folder.mkdir(parents=True)
        (folder / "model").write_text(text)
        if text == "fails":
            raise OSError("no space")

    return export


@pytest.fixture
def export(tmp_path):
    """export(text, best) -> what is in the folder after an evaluation that is the best, or isn't."""

    def run(text, best=True):
        strategy = tf.distribute.get_strategy()
        trainer = SimpleNamespace(
            strategy=strategy,
            model_dir=tmp_path,
            is_best=lambda summary: best,
            export=export_of(text),
            eval_metrics={"a": []},
        )
        action = ExportBest()
        action.start(trainer)
        action(trainer, Summary(1, "eval", {}, {}))
        return (tmp_path / FOLDER / "model").read_text()

    return run


class TestFolder:
    def test_holds_the_best(self, export, tmp_path):
        assert export("first") == "first"
        assert export("worse", best=False) == "first"
        assert export("second") == "second"
        assert [path.name for path in tmp_path.iterdir()] == [FOLDER]

    def test_keeps_the_one_before_if_an_export_fails(self, export, tmp_path):
        export("first")
        with pytest.raises(OSError, match="no space"):
            export("fails")
        assert (tmp_path / FOLDER / "model").read_text() == "first"
        assert export("third") == "third"

    def test_is_there_after_a_kill_between_the_two_renames(self, export, tmp_path):
        export("first")
        (tmp_path / FOLDER).rename(tmp_path / f".{FOLDER}.old")
        assert export("worse", best=False) == "first"


class TestRun:
    def test_exports_the_best_evaluation(self, twins):
        """Of the dataset `test`; the model is that of the checkpoint that best.json names."""
        (trainer, folder), _ = twins
        record = json.loads((folder / "checkpoints" / "best.json").read_text())
        exported = keras.models.load_model(folder / FOLDER / "model.keras")
        reader = tf.train.load_checkpoint(str(folder / "checkpoints" / record["checkpoint"]))
        stored = [reader.get_tensor(name) for name in reader.get_variable_to_shape_map()]
        values = {value.tobytes() for value in stored if isinstance(value, np.ndarray)}
        assert {np.asarray(weight.numpy()).tobytes() for weight in exported.weights} <= values
        assert trainer.step == 12

    def test_needs_a_metric(self):
        with pytest.raises(UsageError, match=r"ExportBest: expected Trainer.best_metric"):
            ExportBest().check(SimpleNamespace(tracks_best=False))

    def test_needs_a_folder(self):
        trainer = SimpleNamespace(eval_metrics={"test": ["loss"]}, model_dir=None)
        with pytest.raises(
            UsageError, match=r"ExportBest.folder = None: expected a folder, as there is no Trainer.mod"
        ):
            ExportBest().start(trainer)

    def test_a_folder_is_a_path(self):
        with pytest.raises(UsageError, match=r"ExportBest.folder = 3: expected a path, or None"):
            ExportBest(3)
