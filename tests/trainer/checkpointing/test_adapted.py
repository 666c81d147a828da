"""Preprocessing layers that have learned from data: they save, restore and resume, and what they learned must be the same."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer import Task, Trainer
from tallyloop.trainer.checkpointing.adapted import Adapted

WORDS = np.array(["a b c", "b c d", "c d e", "d e f", "e f a", "f a b", "a c e", "b d f"])
IDS = np.array([[3], [5], [7], [3], [5], [9], [9], [7]], np.int64)
NUMBERS = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [5.0], [6.0], [9.0]], np.float32)
Y = np.linspace(-1, 1, 8).astype(np.float32)


def text(**arguments):
    return keras.layers.TextVectorization(max_tokens=6, **arguments)


# Name -> (the layer, the data that it adapts to, whether an embedding follows).
LAYERS = {
    "text": (lambda: text(output_sequence_length=3), WORDS, True),
    "text_tf_idf": (lambda: text(output_mode="tf_idf"), WORDS, False),
    "strings": (lambda: keras.layers.StringLookup(), WORDS[:, None], True),
    "strings_given": (lambda: keras.layers.StringLookup(vocabulary=["a b c", "b c d"]), WORDS[:, None], True),
    "integers": (
        lambda: keras.layers.IntegerLookup(max_tokens=5, output_mode="multi_hot", pad_to_max_tokens=True),
        IDS,
        False,
    ),
    "normalization": (lambda: keras.layers.Normalization(), NUMBERS, False),
    "discretization": (lambda: keras.layers.Discretization(num_bins=3, output_mode="one_hot"), NUMBERS, False),
    "hashing": (lambda: keras.layers.Hashing(num_bins=3), WORDS[:, None], True),
    "categories": (lambda: keras.layers.CategoryEncoding(num_tokens=10, output_mode="multi_hot"), IDS, False),
}


class Adapts(Task):
    """Least squares on a layer that adapts to the data, and what can be trained behind it."""

    def __init__(self, name, seen=slice(None), held=False):
        self.make, self.data, self.embeds = LAYERS[name]
        self.seen, self.held = seen, held

    def build_model(self):
        layer = self.make()
        if hasattr(layer, "adapt") and not getattr(layer, "_has_input_vocabulary", False):
            layer.adapt(self.data[self.seen])
        behind = [keras.layers.Embedding(9, 2), keras.layers.Flatten()] if self.embeds else []
        shape = self.data.shape[1:]
        inputs = keras.Input(shape, dtype="string" if self.data.dtype.kind == "U" else self.data.dtype)
        features = layer(inputs)
        if self.held:  # by the task, and not by the model
            self.layer = layer
            inputs = keras.Input(features.shape[1:], dtype=features.dtype)
            features = inputs
        for each in [*behind, keras.layers.Dense(1)]:
            features = each(features)
        return keras.Model(inputs, features)

    def loss(self, model, batch, training):
        x = self.layer(batch["x"]) if self.held else batch["x"]
        return (model(x, training=training)[:, 0] - batch["y"]) ** 2


def trained(task, folder, steps, strategy=None):
    trainer = Trainer(
        task=task,
        optimizer=lambda: keras.optimizers.Adam(0.05),
        train_dataset=Input({"x": task.data, "y": Y}, 4, shuffle=False),
        strategy=strategy,
        train_steps=steps,
        model_dir=folder,
    )
    trainer.train()
    return trainer


def adapted(layer, data):
    layer.adapt(data)
    return Adapted([layer])


class TestAdapted:
    """Without a model: the note of one, restored into another."""

    @pytest.mark.parametrize(
        ("make", "data"),
        [
            (keras.layers.StringLookup, WORDS),
            (keras.layers.IntegerLookup, IDS),
            (lambda: keras.layers.Discretization(num_bins=3), NUMBERS),
        ],
    )
    def test_same_or_other_data(self, make, data):
        note = adapted(make(), data).state()["adapted"]
        same, other = adapted(make(), data), adapted(make(), data[:3])
        for each in (same, other):
            each.state()["adapted"].assign(note)
        same.check()
        with pytest.raises(UsageError, match=r"expected the .* that the run was trained with"):
            other.check()

    def test_another_number_of_layers(self):
        one, two = (Adapted([keras.layers.Discretization(bin_boundaries=[0.5])] * count) for count in (1, 2))
        two.state()["adapted"].assign(one.state()["adapted"])
        with pytest.raises(UsageError, match="expected 1 adapted layers, as the run was trained with, got 2"):
            two.check()

    def test_rounding_is_no_difference(self):
        """Of boundaries that another machine has computed."""
        one = Adapted([keras.layers.Discretization(bin_boundaries=[0.1, 0.7])])
        one.state()["adapted"].assign(
            Adapted([keras.layers.Discretization(bin_boundaries=[0.1, 0.7000001])]).state()["adapted"]
        )
        one.check()

    def test_nothing_to_note(self):
        untaught = [keras.layers.Discretization(num_bins=3), keras.layers.Normalization()]
        layers = [keras.layers.Dense(2), keras.layers.Hashing(3), *untaught]
        assert Adapted(layers).state() == {}


class TestResume:
    @pytest.mark.parametrize(
        "name", [pytest.param(name, marks=[] if name == "text" else pytest.mark.slow) for name in LAYERS]
    )
    def test_bit_for_bit(self, tmp_path, name, assert_same_weights):
        trained(Adapts(name), tmp_path / "stopped", 3)
        resumed = trained(Adapts(name), tmp_path / "stopped", 6)
        assert_same_weights(resumed, trained(Adapts(name), None, 6))

    @pytest.mark.slow
    def test_on_two_replicas_and_held_by_the_task(self, tmp_path, mirrored_on, assert_same_weights):
        two = mirrored_on(2)
        trained(Adapts("text", held=True), tmp_path, 3, two)
        resumed = trained(Adapts("text", held=True), tmp_path, 6, two)
        assert_same_weights(resumed, trained(Adapts("text", held=True), None, 6, two))


def written(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestOtherData:
    """A rerun, or an evaluation, that adapts to fewer rows would put the weights to other tokens."""

    @pytest.mark.parametrize(
        ("name", "what"),
        [
            ("text", "Layer text_vectorization.*: expected the vocabulary that .* got another"),
            pytest.param(
                "integers", "Layer integer_lookup.*: expected the vocabulary that .*4 tok", marks=pytest.mark.slow
            ),
            ("normalization", r"Layer normalization.*: expected the mean that .* \(\[3.75\]\), got another \(\[1.\]\)"),
            pytest.param("discretization", "Layer disc.*: expected the bin boundaries that", marks=pytest.mark.slow),
        ],
    )
    def test_is_refused(self, tmp_path, name, what):
        trained(Adapts(name), tmp_path, 3)
        before = written(tmp_path)
        with pytest.raises(UsageError, match=what):
            trained(Adapts(name, slice(3)), tmp_path, 6)
        assert written(tmp_path) == before
        other = Trainer(task=Adapts(name, slice(3)), eval_datasets={"test": Input({"x": LAYERS[name][1], "y": Y}, 4)})
        with pytest.raises(UsageError, match=what):
            other.evaluate(tf.train.latest_checkpoint(str(tmp_path / "checkpoints")))
