"""The README's own task: trained by its own config, it predicts and exports what its model says."""

import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.trainer import launch

README = Path(__file__).parents[2] / "README.md"
NAMED = re.compile(r"^```\w+\n(# (my_task\.py|my\.gin)\n.*?)^```$", re.M | re.S)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """run(mode) -> the Trainer, trained for 20 steps, in a folder with the README's two files."""
    folder = tmp_path_factory.mktemp("readme")
    for code, name in NAMED.findall(README.read_text()):
        (folder / name).write_text(code)
    given = {"gin_files": [str(folder / "my.gin")], "gin_params": ["Trainer.train_steps=20"]}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield lambda mode: launch(**given, import_module=["my_task"], model_dir=folder / "run", mode=mode)
        patch.delitem(sys.modules, "my_task")


@pytest.fixture(scope="module")
def trained(run):
    return run("train_and_eval")


@pytest.fixture(scope="module")
def x(trained):
    return sys.modules["my_task"].points(seed=1)["x"]  # the examples of my.gin's `test`


@pytest.fixture(scope="module")
def logits(trained, x):
    return trained.model(x).numpy()


@pytest.fixture(scope="module")
def exported(run, trained):
    run("export")
    return Path(trained.model_dir) / "export"


def assert_equal(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_predictions_are_those_of_the_model(run, trained, logits):
    run("predict")
    with np.load(Path(trained.model_dir) / "predictions" / "test.npz") as predictions:
        assert_equal(predictions["output_0"], logits)


def test_the_keras_file_is_the_model(exported, x, logits):
    assert_equal(keras.models.load_model(exported / "model.keras")(x), logits)


def test_the_saved_model_is_the_model(exported, x, logits):
    served = tf.saved_model.load(exported / "saved_model")
    assert_equal(served.serve(x), logits)
    assert_equal(served.signatures["serving_default"](inputs=tf.constant(x))["output_0"], logits)
