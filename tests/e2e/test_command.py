"""What a user does with the command: train, look, stop, continue, override."""

import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import models
from tallyloop.data import digits
from tallyloop.trainer.loop.timing import TIMES
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer


def _weights(model_dir):
    """Keras's name -> the newest checkpoint's weights and optimizer state."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(model_dir / "checkpoints")))
    return {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map() if key.endswith("VARIABLE_VALUE")}


def _points(folder):
    """(tag, step) -> value, as TensorBoard reads it."""
    events = EventAccumulator(str(folder)).Reload()
    return {
        (tag, event.step): tf.make_ndarray(event.tensor_proto).item()
        for tag in events.Tags()["tensors"]
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
        for event in events.Tensors(tag)
    }


def test_events_happen_at_their_steps(trained):
    lines = [(line["split"], line["step"]) for line in trained.lines()]
    assert lines == [("train", 20), ("eval", 30), ("train", 40), ("train", 60), ("eval", 60)]
    saved = tf.train.get_checkpoint_state(str(trained.model_dir / "checkpoints")).all_model_checkpoint_paths
    assert [path.rpartition("-")[2] for path in saved] == ["25", "50", "60"]


def test_counts_are_the_examples_seen(trained):
    # 1,438 train digits in batches of 64: 22 full ones and one of 30. Steps 1-20 see 20 x 64; 21-40: 19 x 64 + 30.
    counts = {(line["split"], line["step"]): line["counts"]["accuracy"] for line in trained.lines()}
    assert counts["train", 20] == 20 * 64
    assert counts["train", 40] == 19 * 64 + 30
    assert counts["eval", 60] == 359


def test_event_files_hold_what_metrics_jsonl_holds(trained):
    for folder in ("train", "eval"):
        written = {
            (path, line["step"]): value
            for line in trained.all_lines()
            if line["split"] == folder
            for path, value in line["metrics"].items()
        }
        shown = {key: value for key, value in _points(trained.model_dir / folder).items() if key[0][:5] != "best/"}
        assert shown == {key: np.float32(value) for key, value in written.items()}
        of_training = {"learning_rate"} if folder == "train" else set()
        assert {path for path, _ in shown} - TIMES == {"loss", "accuracy"} | of_training


def test_the_run_folder_describes_the_run(trained):
    record = json.loads((trained.model_dir / "run.json").read_text())
    assert record["exit_reason"] == "done"
    assert "--gin_file=digits.gin" in record["argv"]
    assert record["versions"]["tensorflow"] == tf.__version__
    assert record["start"] <= record["end"]
    assert "Trainer.train_steps = 60" in (trained.model_dir / "config.gin").read_text()
    operative = (trained.model_dir / "operative_config.gin").read_text()
    assert "Trainer.keep_checkpoints = 3" in operative  # a default that nobody bound
    assert "mlp.hidden = (512,)" in operative  # consumed when the model was built


def test_the_console_is_quiet_and_plain(trained):
    lines = trained.done.stdout.splitlines()
    assert [line.split(" | ")[0] for line in lines[:5]] == [
        "step 20/60",
        "eval  30",
        "step 40/60",
        "step 60/60",
        "eval  60",
    ]
    assert [line.split(":")[0] for line in lines[5:7]] == ["loss", "accuracy"]  # the last and the best value
    assert lines[7].startswith("Time: 0:00:")
    assert f"Look: tensorboard --logdir={trained.model_dir.parent}" in lines
    assert lines[-1].startswith("Train on: ")
    assert len(lines) < 15
    assert trained.done.stderr == ""


def test_a_rerun_does_nothing_more(trained, short):
    before = {path: path.stat().st_mtime_ns for path in trained.model_dir.rglob("*") if "ckpt" in path.name}
    lines = trained.lines()
    done = trained.ok(*short)
    assert "Nothing to do: 60 of 60 steps are done" in done.stdout
    assert trained.lines() == lines
    assert before == {path: path.stat().st_mtime_ns for path in trained.model_dir.rglob("*") if "ckpt" in path.name}


def test_a_rerun_continues_as_if_it_had_not_stopped(command, trained, short):
    command.ok(*short, "--gin_param=Trainer.train_steps=25")
    again = command.ok(*short)
    assert "Changed since the last run: Trainer.train_steps: 25 -> 60" in again.stdout
    resumed, straight = _weights(command.model_dir), _weights(trained.model_dir)
    assert resumed.keys() == straight.keys()
    for key, value in straight.items():
        if not key.startswith("save_counter"):
            np.testing.assert_array_equal(resumed[key], value, err_msg=key)
    evals = [[line for line in each.lines() if line["split"] == "eval"][-1] for each in (command, trained)]
    assert evals[0] == evals[1]


def test_two_replicas_train_the_same_model(command, trained, short):
    command.ok(*short, "--virtual_cpus=2", "--gin_param=Trainer.strategy=@mirrored()")
    mirrored, single = _weights(command.model_dir), _weights(trained.model_dir)
    for key in single.keys() - {"tallies/.ATTRIBUTES/VARIABLE_VALUE"}:  # a row a replica
        value = single[key]
        np.testing.assert_allclose(mirrored[key], value, rtol=1e-5, atol=1e-5, err_msg=key)
    for ours, theirs in zip(command.lines(), trained.lines(), strict=True):
        assert ours["counts"] == theirs["counts"]
        assert ours["metrics"] == pytest.approx(theirs["metrics"], rel=1e-5)
    devices = json.loads((command.model_dir / "run.json").read_text())["devices"]
    assert len(devices) == 2


def test_eval_accuracy_is_numpys_on_the_same_predictions(trained, tmp_path):
    checkpoint = trained.model_dir / "checkpoints" / "ckpt-60"
    trained.ok("--mode=predict", f"--checkpoint={checkpoint}", model_dir=tmp_path / "new")
    predicted = np.load(tmp_path / "new" / "predictions" / "test.npz")
    labels = digits(split="test")["y"]
    last = [line for line in trained.lines() if line["split"] == "eval"][-1]
    assert last["metrics"]["accuracy"] == np.mean(predicted["label"] == labels)
    nll = -np.log(predicted["probabilities"].astype(np.float64)[np.arange(359), labels])
    assert last["metrics"]["loss"] == pytest.approx(nll.mean(), rel=1e-5)


def test_eval_of_a_given_checkpoint(trained, tmp_path):
    expected = next(line for line in trained.lines() if (line["split"], line["step"]) == ("eval", 60))
    checkpoint = trained.model_dir / "checkpoints" / "ckpt-60"
    trained.ok("--mode=eval", f"--checkpoint={checkpoint}", model_dir=tmp_path / "eval_run")
    assert trained.lines(tmp_path / "eval_run") == [expected]
    assert not (tmp_path / "eval_run" / "checkpoints").exists()


def test_eval_follows_to_the_last_checkpoint_and_writes_no_point_twice(trained, tmp_path):
    """In a copy of the run, where the last step has been evaluated, and step 50 has not."""
    run = tmp_path / "run"
    shutil.copytree(trained.model_dir, run)
    last = trained.ok("--mode=eval", "--gin_param=Trainer.train_steps=60", model_dir=run)
    assert "eval  60 | loss" in last.stdout
    assert trained.lines(run) == trained.lines()
    trained.ok("--mode=eval", f"--checkpoint={run}/checkpoints/ckpt-50", model_dir=run)
    assert [line["step"] for line in trained.lines(run) if line["split"] == "eval"] == [30, 60, 50]
    multiplexer = EventMultiplexer(tensor_size_guidance={"scalars": 0}).AddRunsFromDirectory(str(run)).Reload()
    for tag in ("loss", "accuracy"):
        assert [event.step for event in multiplexer.Tensors("eval", tag)] == [30, 50, 60]


def test_a_dry_run_writes_nothing(command):
    done = command.ok("--dry_run")
    assert not command.model_dir.exists()
    assert list(command.folder.iterdir()) == []
    assert "Total params: 38,410" in done.stdout  # 64 x 512 + 512 + 512 x 10 + 10
    assert "accuracy = " in done.stdout
    assert "Trainer.train_steps = 2000" in done.stdout


def test_a_dry_run_of_a_config_for_evaluation(command):
    """It has no train dataset and no optimizer."""
    (command.folder / "eval.gin").write_text(
        "Trainer.task = @ClassifierTask()\n"
        'Trainer.eval_datasets = {"test": @Input()}\n'
        "Input.source = @digits\n"
        "Input.global_batch_size = 50\n"
    )
    done = command.ok("--dry_run", "--mode=eval", gin_file="eval.gin")
    assert "eval metrics:" in done.stdout
    assert "train metrics:" not in done.stdout


@pytest.mark.slow
def test_a_reader_that_leaves_early_ends_the_run(command, short):
    """As `| head -1` does."""
    read, write = os.pipe()
    with command.forked("--gin_file=digits.gin", "--model_dir=run", *short, stdout=write) as running:
        os.close(write)
        with open(read) as output:
            assert output.readline().startswith("step 20/60")
        said = running.communicate(timeout=300)[1]
    assert running.returncode == 1
    assert said == "Error: standard output was closed before the end. The same command continues.\n"
    assert "BrokenPipeError" in json.loads((command.model_dir / "run.json").read_text())["exit_reason"]


def test_help_may_be_cut_off(command):
    read, write = os.pipe()
    os.close(read)
    arguments = [sys.executable, "-m", "tallyloop.trainer", "--help"]
    with open(write, "w") as nobody:
        done = subprocess.run(arguments, stdout=nobody, stderr=subprocess.PIPE, text=True, cwd=command.folder)
    assert (done.returncode, done.stderr) == (1, "")


def test_explain_names_every_binding_and_the_winner(command):
    done = command.ok("--gin_param=Trainer.train_steps=7", "--explain=Trainer.train_steps")
    first, *bindings = done.stdout.splitlines()
    assert first == "Trainer.train_steps (int or None, default None)"
    assert "digits.gin:" in bindings[0]
    assert bindings[0].endswith("Trainer.train_steps = 2000  (overridden)")
    assert bindings[1].endswith("Trainer.train_steps = 7  (wins, used)")
    assert not command.model_dir.exists()


def test_the_autoencoder_shows_its_parts(command, short):
    command.ok(*short, gin_file="autoencoder.gin")
    last = command.lines()[-1]["metrics"]
    stages = {f"stage_{i}/{name}" for i in (1, 2) for name in ("activation", "active")}
    assert last.keys() == {"loss", "loss/total", "loss/reconstruction", "loss/sparsity"} | stages
    assert last["loss/total"] == pytest.approx(last["loss/reconstruction"] + 1e-3 * last["loss/sparsity"], rel=1e-6)
    assert last["loss"] == pytest.approx(last["loss/total"], rel=1e-6)
    command.ok("--mode=export", gin_file="autoencoder.gin")
    assert models.two_stage_autoencoder  # the import makes the classes known to Keras
    model = keras.models.load_model(command.model_dir / "export" / "model.keras")
    x = digits(split="test")["x"]
    reconstruction, code = model(x)
    found = np.mean((reconstruction - x) ** 2), np.mean(np.sum(np.abs(code), axis=1))
    assert found == pytest.approx((last["loss/reconstruction"], last["loss/sparsity"]), rel=1e-5)


def test_list_configurables(command):
    done = command.raw("--list_configurables")
    assert done.returncode == 0
    for name in ("Trainer", "Input", "ClassifierTask", "keras.optimizers.Adam", "mirrored"):
        assert name.rpartition(".")[2] in done.stdout


def test_help_loads_nothing_that_takes_long(command):
    done = command.started("--help")
    assert done.returncode == 0
    assert "--gin_param=PARAM" in done.stdout
    code = "import sys; from tallyloop.trainer.command import cli; cli.main(['t', '--help']); print(*sys.modules)"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = printed.splitlines()[-1].split()
    assert "absl.flags" in loaded
    assert {"tensorflow", "keras", "numpy", "gin", "tallyloop.trainer.config.checks"} & set(loaded) == set()


def test_idx_files_train(command, short, write_idx):
    rng = np.random.default_rng(0)
    write_idx(command.folder / "images.gz", rng.integers(0, 256, (50, 8, 8)))
    write_idx(command.folder / "labels", rng.integers(0, 10, 50))
    source = ["--gin_param=train/Input.source=@idx", "--gin_param=test/Input.source=@idx"]
    command.ok(*short, *source, "--gin_param=idx.images=images.gz", "--gin_param=idx.labels=labels")
    assert command.lines()[-1]["counts"]["accuracy"] == 50


MANY = """
import keras
import numpy as np
import tempfile
from tallyloop.data import Input
from tallyloop.trainer import Task, Trainer

class Line(Task):
    def build_model(self):
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])

    def loss(self, model, batch, training):
        return (model(batch["x"], training=training)[:, 0] - batch["y"]) ** 2

    def predict_step(self, model, batch):
        return model(batch["x"])

x = np.ones((10, 3), "float32")
data = Input({"x": x, "y": x[:, 0]}, 10)
for _ in range(6):
    arguments = {"train_dataset": data, "eval_datasets": {"test": data}, "train_steps": 2}
    trainer = Trainer(task=Line(), optimizer=keras.optimizers.SGD(0.1), model_dir=tempfile.mkdtemp(), **arguments)
    trainer.train_and_eval()
    trainer.predict(data)
"""


@pytest.mark.slow
def test_tensorflow_warns_of_nothing_in_a_program_with_many_trainers(tmp_path, programs):
    """TensorFlow counts the traces of different objects as one function that is traced again and again."""
    (tmp_path / "many.py").write_text(MANY)
    done = programs.run(["many.py"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "WARNING:tensorflow" not in done.stderr
