"""Prediction: every example once and in order."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.trainer.errors import OutputError
from tallyloop.trainer.prediction import predicting

KERNEL = np.array([1, -2, 3])


def streamed(data, size=8):
    return Input(lambda: tf.data.Dataset.from_tensor_slices(data), size)


class Numbered:
    """Rows by number."""

    def __init__(self, data):
        self.data = data
        self.fingerprint = f"{data['y'].sum()}"

    def __len__(self):
        return len(self.data["y"])

    def __getitem__(self, i):
        return {key: value[i] for key, value in self.data.items()}


def in_shards(data, shards=2):
    """A stream in shards, of which the first has the first half of the rows."""
    return Input(
        lambda shard, shards: tf.data.Dataset.from_tensor_slices(
            {key: np.array_split(value, shards)[shard] for key, value in data.items()}
        ),
        8,
        shards=shards,
    )


def arrays(data):
    return Input(data, 8)


def by_number(data):
    return Input(Numbered(data), 8)


def pairs(data):
    return Input((data["x"], data["y"]), 8)


@pytest.fixture(scope="module")
def task(regression_task):
    class Several(regression_task):
        def predict_step(self, model, batch):
            return {"same": batch["x"], "nested": (batch["y"] * 2, model(batch["x"])[:, 0])}

    return Several()


@pytest.fixture(scope="module", params=[1, 3])
def trainer(request, task, make_trainer):
    trainer = make_trainer(task, data=20, replicas=request.param, train_steps=2)
    trainer.train()
    return trainer


def check(trainer, found, data):
    np.testing.assert_array_equal(found["same"], data["x"])
    np.testing.assert_array_equal(found["nested"][0], 2 * data["y"])
    kernel, bias = trainer.model.get_weights()
    np.testing.assert_allclose(found["nested"][1], data["x"] @ kernel[:, 0] + bias, rtol=1e-5, atol=1e-5)


class TestPredict:
    @pytest.mark.parametrize("batch", [1, 8, 100])
    def test_each_example_once_in_order(self, trainer, rows, batch):
        check(trainer, trainer.predict(Input(rows(37), batch, shuffle=True)), rows(37))

    @pytest.mark.parametrize("make", [streamed, in_shards, by_number, pairs])
    def test_any_source(self, trainer, rows, make, monkeypatch):
        if make is pairs:
            as_dict = lambda self, model, batch: {"same": batch[0], "nested": (batch[1] * 2, model(batch[0])[:, 0])}  # noqa: E731
            monkeypatch.setattr(type(trainer._task), "predict_step", as_dict)
        check(trainer, trainer.predict(make(rows(21))), rows(21))

    def test_of_text_and_half_precision(self, make_trainer, regression_task, rows):
        class Text(regression_task):
            def predict_step(self, model, batch):
                return tf.strings.as_string(batch["y"]), tf.cast(batch["y"], tf.bfloat16)

        text, half = make_trainer(Text(), replicas=2).predict(Input(rows(5), 4))
        np.testing.assert_allclose(text.astype(float), rows(5)["y"], rtol=1e-5)
        assert half.dtype == tf.bfloat16.as_numpy_dtype

    def test_the_output_of_the_model_by_default(self, make_trainer, rows):
        trainer = make_trainer(train_steps=2)
        trainer.train()
        kernel, bias = trainer.model.get_weights()
        expected = rows(5)["x"] @ kernel + bias
        np.testing.assert_allclose(trainer.predict(Input(rows(5), 2)), expected, rtol=1e-5, atol=1e-6)
        in_a_tuple = Input((rows(5)["x"], rows(5)["y"]), 2)
        np.testing.assert_allclose(trainer.predict(in_a_tuple), expected, rtol=1e-5, atol=1e-6)

    def test_expects_an_input(self, make_trainer, rows):
        for data, told in (
            (rows(3)["x"], r"ndarray of shape \(3, 3\)"),
            (rows(3), r"\{'x': ndarray of shape \(3, 3\), 'y': ndarray of shape \(3,\)\}"),
            ((rows(3)["x"], rows(3)["y"]), r"\(ndarray of shape \(3, 3\), ndarray of shape \(3,\)\)"),
            (tf.data.Dataset.from_tensor_slices(rows(3)), "<_TensorSliceDataset .*>"),
            (Input, "<class .*Input'>"),
        ):
            with pytest.raises(
                UsageError, match=f"^Trainer.predict: dataset = {told}: expected an Input, such as Input"
            ) as caught:
                make_trainer().predict(data)
            assert str(caught.value).endswith('such as Input({"x": x}, global_batch_size=32).')

    def test_inputs_that_are_not_found(self, make_trainer, rows):
        with pytest.raises(
            UsageError, match=r"Regression cannot predict: expected 'x' in the batch, got the keys \['a', 'b'\]"
        ):
            make_trainer().predict(Input({"a": rows(3)["x"], "b": rows(3)["y"]}, 2))

    @pytest.mark.parametrize(
        ("outputs", "message"),
        [
            (lambda batch: None, "returned None: expected tensors"),
            (lambda batch: tf.reduce_sum(batch["y"]), "returned a scalar"),
            (lambda batch: {}, "returned nothing"),
            (lambda batch: tf.RaggedTensor.from_tensor(batch["x"]), r"returned a RaggedTensor.*to_tensor"),
            (
                lambda batch: tf.repeat(batch["x"], tf.shape(batch["x"])[0], axis=1),
                r"examples of the shapes \[\(6,\)\], and then of \[\(3,\)\]: expected one shape",
            ),
            (lambda batch: batch["x"][:1], r"output of shape \(1, 3\) for a batch of 2"),
        ],
    )
    def test_outputs_that_are_no_predictions(self, make_trainer, regression_task, rows, outputs, message):
        class Wrong(regression_task):
            def predict_step(self, model, batch):
                return outputs(batch)

        with pytest.raises(UsageError, match=message):
            make_trainer(Wrong()).predict(Input(rows(3), 2))

    def test_a_model_whose_state_a_call_changes(self, make_trainer, layered, rows):
        """Nothing that a prediction assigns is kept."""

        class Counts(keras.layers.Layer):
            def build(self, shape):
                self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False)

            def call(self, x):
                self.calls.assign_add(1.0)
                return x

        trainer = make_trainer(layered(Counts), replicas=2)
        trainer.predict(Input(rows(4), 2))
        assert trainer.model.layers[0].calls.numpy() == 0


class Killed(Exception):
    pass


@pytest.fixture
def small_shards(monkeypatch):
    """A shard a batch."""
    monkeypatch.setattr(predicting, "_SHARD_BYTES", 1)


@pytest.fixture
def killed_at(monkeypatch, small_shards):
    """killed_at(n): the next prediction ends after the writing of n shards, without any cleaning up."""

    def arm(count):
        left = [count]
        add = predicting.Unfinished.add

        def counted(*arguments):
            if not left[0]:
                monkeypatch.setattr(predicting.Unfinished, "add", add)
                raise Killed
            left[0] -= 1
            add(*arguments)

        monkeypatch.setattr(predicting.Unfinished, "add", counted)

    return arm


@pytest.fixture
def steps(monkeypatch):
    """The numbers of the batches that were predicted."""
    found = []
    batches = predicting.PredictLoop.batches

    def noted(self, first=0):
        for number, batch in enumerate(batches(self, first), first):
            found.append(number)
            yield batch

    monkeypatch.setattr(predicting.PredictLoop, "batches", noted)
    return found


class TestOutput:
    @pytest.mark.parametrize("make", [arrays, streamed, in_shards])
    def test_same_as_in_memory(self, trainer, rows, tmp_path, small_shards, make):
        found = trainer.predict(make(rows(21)), output=tmp_path / "new" / "p.npz")
        assert found == tmp_path / "new" / "p.npz"
        assert [path.name for path in found.parent.iterdir()] == ["p.npz"]
        stored = np.load(found)
        assert stored.files == ["nested/0", "nested/1", "same"]
        check(trainer, {"same": stored["same"], "nested": (stored["nested/0"], stored["nested/1"])}, rows(21))

    @pytest.mark.parametrize(
        ("make", "ending"),
        [
            (arrays, "npz"),
            (streamed, "npz"),
            (in_shards, "npz"),
            (by_number, "npz"),
            (arrays, "jsonl"),
            (arrays, "parquet"),
        ],
    )
    def test_continues(self, trainer, rows, tmp_path, killed_at, steps, make, ending, caplog):
        whole, killed = tmp_path / f"whole.{ending}", tmp_path / f"p.{ending}"
        trainer.predict(make(rows(37)), output=whole)
        steps.clear()
        killed_at(2)
        with pytest.raises(Killed):
            trainer.predict(make(rows(37)), output=killed)
        assert not killed.exists()
        assert steps == [0, 1, 2]
        steps.clear()
        trainer.predict(make(rows(37)), output=killed)
        assert steps[0] == 2
        assert "continues after 2 batches" in caplog.text
        assert killed.read_bytes() == whole.read_bytes()

    def test_a_finished_output_is_predicted_again(self, trainer, rows, tmp_path, steps):
        for _ in range(2):
            trainer.predict(Input(rows(9), 8), output=tmp_path / "p.jsonl")
        assert steps == [0, 1, 0, 1]

    @pytest.mark.parametrize(
        ("changed", "what"),
        [("data", "the data"), ("weights", "the weights"), ("batch", "Input.global_batch_size")],
    )
    def test_starts_anew_where_something_changed(
        self, make_trainer, rows, tmp_path, killed_at, steps, caplog, changed, what
    ):
        trainer = make_trainer()
        killed_at(2)
        with pytest.raises(Killed):
            trainer.predict(Input(rows(37), 8), output=tmp_path / "p.npz")
        data = rows(37)
        if changed == "data":
            data["x"][30] += 1
        if changed == "weights":
            trainer.model.layers[0].bias.assign([2.0])
        steps.clear()
        trainer.predict(Input(data, 4 if changed == "batch" else 8), output=tmp_path / "p.npz")
        assert steps[0] == 0
        assert f"p.npz was left unfinished and starts over, as these have changed: {what}." in caplog.text
        kernel, bias = trainer.model.get_weights()
        expected = data["x"] @ kernel + bias
        np.testing.assert_allclose(np.load(tmp_path / "p.npz")["output_0"], expected, atol=1e-6)

    def test_a_shard_is_written_when_time_has_passed(self, trainer, rows, tmp_path, killed_at, monkeypatch):
        monkeypatch.setattr(predicting, "_SHARD_BYTES", 2**30)
        monkeypatch.setattr(predicting, "_SHARD_SECONDS", 0)
        killed_at(3)
        with pytest.raises(Killed):
            trainer.predict(Input(rows(37), 8), output=tmp_path / "p.npz")
        assert len(list((tmp_path / ".p.npz.shards").glob("*.shard"))) == 3

    def test_text(self, make_trainer, regression_task, rows, tmp_path):
        class Text(regression_task):
            def predict_step(self, model, batch):
                return {
                    "text": tf.strings.as_string(tf.cast(batch["y"], tf.int32)),
                    "half": tf.cast(batch["y"], tf.bfloat16),
                }

        trainer = make_trainer(Text())
        trainer.predict(Input(rows(5), 2), output=tmp_path / "p.npz")
        expected = [str(int(y)) for y in rows(5)["y"]]
        stored = np.load(tmp_path / "p.npz")
        assert stored["text"].tolist() == expected
        np.testing.assert_allclose(stored["half"], rows(5)["y"], rtol=1e-2)
        trainer.predict(Input(rows(5), 2), output=tmp_path / "p.jsonl")
        assert [json.loads(line)["text"] for line in (tmp_path / "p.jsonl").read_text().splitlines()] == expected

    def test_what_a_format_cannot_hold_is_not_kept(self, make_trainer, regression_task, rows, tmp_path):
        class Bytes(regression_task):
            def predict_step(self, model, batch):
                return tf.fill(tf.shape(batch["y"]), b"\xff")

        with pytest.raises(UsageError, match=r"bytes that are not UTF-8"):
            make_trainer(Bytes()).predict(Input(rows(3), 2), output=tmp_path / "p.npz")
        assert list(tmp_path.iterdir()) == []

    def test_a_name_of_no_format(self, make_trainer, rows, tmp_path):
        with pytest.raises(UsageError, match=r"expected a name that ends in .npz, .jsonl or .parquet"):
            make_trainer().predict(Input(rows(3), 2), output=tmp_path / "p.csv")

    def test_a_folder_that_is_a_file(self, make_trainer, rows, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(
            UsageError,
            match=r"Trainer.predict: output = '.*file/p.npz': expected a path in a folder, and '.*/file' is none",
        ):
            make_trainer().predict(Input(rows(3), 2), output=tmp_path / "file" / "p.npz")
        (tmp_path / "p.npz").mkdir()
        with pytest.raises(UsageError, match=r"output = '.*p.npz': expected a file, got a folder"):
            make_trainer().predict(Input(rows(3), 2), output=tmp_path / "p.npz")

    def test_a_folder_that_cannot_be_made(self, make_trainer, rows):
        with pytest.raises(OutputError, match=r"/proc/none/p.npz cannot be written \(No such file or directory\)"):
            make_trainer().predict(Input(rows(3), 2), output="/proc/none/p.npz")
