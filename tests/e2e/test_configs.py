"""Every bundled config, by the command alone: on replicas, killed, checked, predicted from, exported and loaded again."""

import asyncio.events
import email.message
import importlib
import itertools
import json
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import keras
import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
import tensorflow as tf
from tallyloop import data
from tallyloop.trainer import configure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(path.stem for path in (ROOT / "gin").glob("*.gin"))
PARAM = "--gin_param="
STEPS = 12
SHORT = (
    f"Trainer.train_steps={STEPS}",
    "Trainer.steps_per_loop=2",
    "Trainer.summary_interval=2",
    "Trainer.eval_interval=6",
    "Trainer.checkpoint_interval=4",
)
TEACHER = "distil_teacher"
# What makes a config small enough for a test, besides fewer steps.
SMALL = {
    "autoencoder": ("two_stage_autoencoder.width=16",),
    "char_lm": (
        "transformer.depth=1",
        "transformer.width=16",
        "transformer.heads=2",
        "length=16",
        "text.path='text.txt'",
    ),
    "digits": ("mlp.hidden=(16,)",),
    "digits_cnn": ("cnn.filters=(4,)",),
    "distil": (f"DistillationTask.teacher={TEACHER}/best_export/model.keras", "mlp.hidden=(16,)"),
    TEACHER: ("cnn.filters=(4,)",),
    "gan": ("dense_generator.hidden=(16,)", "mlp.hidden=(16,)"),
    "image_folder": ("small_backbone.filters=(4,)", "size=8"),
    "image_folder_all": ("small_backbone.filters=(4,)", "size=8"),
    "image_folder_head": ("small_backbone.filters=(4,)", "size=8"),
    "mnist_cnn": ("cnn.filters=(4,)",),
    "tabular": ("TabularTask.hidden=(16,)",),
    "tabular_weighted": ("TabularTask.hidden=(16,)",),
    "text_classifier": ("text_classifier.width=8", "text_classifier.length=8", "labelled_text.path='lines'"),
    "two_tower": ("dense_tower.hidden=(16,)",),
}
# What these sizes make of a kernel.
SHAPES = {
    "autoencoder": (64, 16),
    "char_lm": (16, 3 * 16),
    "digits": (64, 16),
    "digits_cnn": (3, 3, 1, 4),
    "distil": (64, 16),
    TEACHER: (3, 3, 1, 4),
    "gan": (32, 16),
    "image_folder": (3, 3, 3, 4),
    "image_folder_all": (3, 3, 3, 4),
    "image_folder_head": (3, 3, 3, 4),
    "mnist_cnn": (3, 3, 1, 4),
    "tabular": (9 + 3, 16),  # numbers, and two kinds beside "another one"
    "tabular_weighted": (9 + 3, 16),
    "text_classifier": (8 + 8, 2),  # of the mean and the largest
    "two_tower": (32, 16),
}
# How far 12 steps of Adam on two replicas may end from those on one. It divides by the size of the gradient: what is rounding in
# a gradient near 0 is as large as a step in the weight.
TOLERANCE = 1e-4

# Of SGD, where 0.1 is too much: a table's loss has the square of the target's unit, and narrow convolutions amplify rounding.
RATES = {"image_folder": 0.003, "mnist_cnn": 0.003, "tabular": 1e-5}

# Kills its process, as soon as the summary of step 8 is written and a checkpoint is there.
KILLER = """
import os, signal, time
from tallyloop.metrics.writers import jsonl

write = jsonl.JsonlWriter.write

def write_and_die(self, summary):
    write(self, summary)
    if summary.split == "train" and summary.step >= 8:
        started = time.monotonic()
        while not list((self._path.parent / "checkpoints").glob("ckpt-4*.index")) and time.monotonic() < started + 30:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

jsonl.JsonlWriter.write = write_and_die
"""

# Calls each SavedModel and each .keras file below a folder with the first rows of an eval set, and saves rows and outputs. The
# SavedModels come before the import of what the models are made of.
LOADER = """
import json, pathlib, sys
import numpy as np, tensorflow as tf

export, file, dataset, config, *params = sys.argv[1:]
saved = {path.parent: tf.saved_model.load(str(path.parent)) for path in pathlib.Path(export).rglob("saved_model.pb")}

import keras
import tallyloop.models
from tallyloop.trainer import configure

trainer = configure([config], params)
rows = {key: value[:32] for key, value in trainer.eval_datasets[dataset].open_eval().first_batch().items()}
found = {"rows/" + key: value.astype(str) if value.dtype == object else value for key, value in rows.items()}
for path, loaded in saved.items():
    serve = loaded.signatures["serving_default"]
    specs = serve.structured_input_signature[1]
    place = path.parent.name  # of two towers, that of one
    one = next(key for key in (place, "z", "image", "text", "x") if key in rows or set(specs) <= set(rows))
    given = {name: tf.cast(rows[name if name in rows else one], spec.dtype) for name, spec in specs.items()}
    for name, value in serve(**given).items():
        found[f"saved_model/{place}/{name}"] = value.numpy()
    model = keras.models.load_model(path.with_name("model.keras"), compile=False)
    outputs = model(given if len(given) > 1 else next(iter(given.values())), training=False)
    for number, value in enumerate(outputs if isinstance(outputs, tuple | list) else [outputs]):
        found[f"keras/{place}/output_{number}"] = value.numpy()
np.savez(file, **found)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory, programs):
    """run(config, *flags, to=NAME) -> the ended command, in a folder that all of them share."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "killer.py").write_text(KILLER)
    (folder / "loader.py").write_text(LOADER)
    (folder / "text.txt").write_text("How much wood would a woodchuck chuck? " * 300)
    for module in (asyncio.events, email.message):
        (folder / "lines" / module.__name__).mkdir(parents=True)
        (folder / "lines" / module.__name__ / "some.txt").write_text(Path(module.__file__).read_text()[:6000])

    def command(config, *flags, to, code=0, small=None):
        small = SMALL[config] if small is None else small
        given = [f"--gin_file={config}.gin", f"--model_dir={to}", *(PARAM + each for each in (*SHORT, *small))]
        done = programs.run(["-m", "tallyloop.trainer", *given, *flags], folder, XDG_CACHE_HOME=str(folder / "cache"))
        assert done.returncode == code, done.stdout + done.stderr
        return done

    command.folder, command.programs = folder, programs
    return command


@pytest.fixture(scope="module")
def trained(run):
    """trained(config) -> the folder of its run on one replica, which is made once."""

    def train(config):
        if config == "distil":
            train(TEACHER)
        if not (run.folder / config).exists():
            run(config, to=config)
        return run.folder / config

    return train


@pytest.fixture(scope="module")
def predicted(run, trained):
    """predicted(config) -> name of an eval set -> the file of its predictions, which are made once."""

    def predict(config):
        folder = trained(config)
        if not (folder / "predictions").exists():
            run(config, "--mode=predict", to=config)
        return {file.stem: np.load(file) for file in (folder / "predictions").glob("*.npz")}

    return predict


def weights(folder, step=STEPS):
    """The variables of the model in the last checkpoint."""
    reader = tf.train.load_checkpoint(str(folder / "checkpoints" / f"ckpt-{step}"))
    types = reader.get_variable_to_dtype_map()
    return {key: reader.get_tensor(key) for key in types if key.startswith("model/") and types[key].is_floating}


def first_step(folder):
    """The step of the oldest checkpoint that was kept."""
    return min(int(file.stem.split("-")[1]) for file in (folder / "checkpoints").glob("ckpt-*.index"))


def is_trained(key):
    """Whether a variable is one that training moves: a kernel or an embedding."""
    return any(f"/{kind}/" in key for kind in ("kernel", "recurrent_kernel", "embeddings"))


def assert_close(one, other, rtol=1e-5, atol=TOLERANCE):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    assert one
    for key, value in one.items():
        np.testing.assert_allclose(other[key], value, rtol=rtol, atol=atol, err_msg=key)


# Of the scope of the runs, so that all tests of a config follow each other, and one process trains it once.
EACH = pytest.mark.parametrize(
    "config", [pytest.param(name, marks=pytest.mark.slow) for name in CONFIGS], scope="module"
)


@EACH
def test_trains_and_evaluates(trained, config):
    lines = [json.loads(line) for line in (trained(config) / "metrics.jsonl").read_text().splitlines()]
    losses = [value for line in lines for path, value in line["metrics"].items() if path.split("/")[0] == "loss"]
    assert {line["step"] for line in lines if line["split"] == "train"} == set(range(2, STEPS + 1, 2))
    assert {line["step"] for line in lines if line["split"] != "train"} == {6, STEPS}
    assert losses
    assert np.isfinite(losses).all()


@EACH
def test_kernels_have_the_size_of_the_flags_and_move(trained, config):
    first, end = weights(trained(config), first_step(trained(config))), weights(trained(config))
    kernels = [key for key in end if is_trained(key)]
    assert SHAPES[config] in [end[key].shape for key in kernels]
    still = {key for key in kernels if np.array_equal(first[key], end[key])}
    assert still == {key for key in kernels if config == "image_folder_head" and "/head/" not in key}
    assert len(still) < len(kernels)


@EACH
def test_two_replicas_give_the_same_weights(run, config, trained):
    """By SGD, at a rate at which the weights move: unlike Adam, it hides no wrong scale of the gradient."""
    if config == "distil":
        trained(TEACHER)
    folders = [run.folder / f"{config}_sgd_{replicas}" for replicas in (1, 2)]
    given = [*with_sgd(config), *flags_of("Trainer.checkpoint_interval=4")]
    run(config, *given, to=folders[0].name)
    run(config, *given, "--virtual_cpus=2", PARAM + "Trainer.strategy=@mirrored()", to=folders[1].name)
    first, end = weights(folders[0], first_step(folders[0])), weights(folders[0])
    assert max(np.abs(end[key] - first[key]).max() for key in end if is_trained(key)) > 1e-3
    assert_close(*folders, rtol=1e-6, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("config", ["char_lm", "digits", "digits_cnn", "gan"], scope="module")
def test_two_replicas_give_nearly_the_same_weights_by_the_configs_own_optimizer(run, trained, config):
    """They have clipping and a schedule, decoupled decay, averaged weights, and two optimizers, all with Adam."""
    alone = trained(config)
    run(config, "--virtual_cpus=2", PARAM + "Trainer.strategy=@mirrored()", to=f"{config}_2")
    assert_close(alone, run.folder / f"{config}_2")


def with_sgd(config):
    """Bindings that put SGD in the place of the config's optimizers; without decay, which would be another update."""
    names = ["generator", "discriminator"] if config == "gan" else [""]
    made = {name: f"@{name}{'/' if name else ''}keras.optimizers.SGD()" for name in names}
    optimizer = str(made).replace("'@", "@").replace(")'", ")") if config == "gan" else made[""]
    rate = next((rate for start, rate in RATES.items() if config.startswith(start)), 0.1)
    rates = [f"{name}{'/' if name else ''}keras.optimizers.SGD.learning_rate={rate}" for name in names]
    more = ["Trainer.weight_decay_exclude=[]"] if config == "char_lm" else []
    return flags_of(f"Trainer.optimizer={optimizer}", *rates, *more)


@EACH
def test_a_killed_run_ends_with_the_same_bits(run, trained, config, monkeypatch):
    alone, killed = trained(config), run.folder / f"{config}_killed"
    run(config, "--import_module=killer", to=killed.name, code=-9)
    assert not (killed / "checkpoints" / f"ckpt-{STEPS}.index").exists()
    run(config, to=killed.name)
    monkeypatch.syspath_prepend(ROOT)
    assert importlib.import_module("benchmarks.survival.compare").differences(killed, alone) == []


@EACH
def test_passes_the_check(run, trained, config):
    trained(config)
    assert "All numbers are the same" in run(config, "--mode=check", to=config).stdout


@EACH
def test_predicts(run, trained, predicted, config):
    """Each row of each eval set, once and in its order: the share that is right is what the evaluation has found."""
    folder, files = trained(config), predicted(config)
    assert files.keys() == (
        {"validation"} if config == "char_lm" else {"test", "distorted"} if "folder" in config else {"test"}
    )
    truth = eval_rows(config, run.folder)
    for name, found in files.items():
        assert found.files
        assert {len(found[key]) for key in found.files} == {len(truth)}
        assert all(np.isfinite(found[key]).all() for key in found.files if found[key].dtype.kind == "f")
        if guess := {"label", "token"} & set(found.files):
            (line,) = (each for each in evaluations(folder, name) if each["step"] == STEPS)
            assert np.mean(found[guess.pop()] == truth) == pytest.approx(line["metrics"]["accuracy"], abs=1e-6)


def eval_rows(config, folder):
    """What is to be predicted of each row of the eval set, in the order of the source; of text, the next bytes."""
    if config == "char_lm":
        text = np.frombuffer((folder / "text.txt").read_bytes(), np.uint8)
        part = text[round(0.9 * len(text)) :]
        return np.stack([part[start + 1 : start + 17] for start in range(0, len(part) - 16, 16)])
    if config == "text_classifier":
        rows = data.labelled_text(folder / "lines", "test")
        return rows.__getitems__(np.arange(len(rows)))["label"]
    if config.startswith("tabular"):
        return data.diabetes("test")["progression"]
    return data.digits("test")["y"]  # those of the images, and as many halves


@EACH
def test_exports_what_predicts_the_same_in_a_new_process(run, trained, predicted, config):
    """The first 32 rows of the eval set give the same by the SavedModel, model.keras and --mode=predict."""
    folder = trained(config)
    run(config, "--mode=export", to=config)
    dataset = "validation" if config == "char_lm" else "test"
    given = [folder / "export", folder / "loaded.npz", dataset, f"{config}.gin", *SHORT, *SMALL[config]]
    done = run.programs.run(["loader.py", *map(str, given)], run.folder, XDG_CACHE_HOME=str(run.folder / "cache"))
    assert done.returncode == 0, done.stderr
    found, rows = np.load(folder / "loaded.npz"), predicted(config)[dataset]
    outputs = {key.removeprefix("saved_model/"): found[key] for key in found.files if key.startswith("saved_model/")}
    assert len(outputs) == {"two_tower": 2, "autoencoder": 2}.get(config, 1)
    loaded = {key.removeprefix("keras/"): found[key] for key in found.files if key.startswith("keras/")}
    assert len(loaded) == len(outputs)
    for one, other in zip(sorted(outputs), sorted(loaded), strict=True):
        assert_relatively_close(loaded[other], outputs[one])
    for key, value in as_predicted(config, outputs).items():
        assert len(value) == 32
        assert_relatively_close(rows[key][:32], value)


def as_predicted(config, outputs):
    """key of the predictions -> what follows from the outputs of an exported model."""
    if config == "two_tower":
        return {place: outputs[key] for key in outputs for place in ("query", "item") if key.startswith(place)}
    if config == "autoencoder":
        return dict(zip(("reconstruction", "code"), (outputs[key] for key in sorted(outputs)), strict=True))
    (output,) = outputs.values()
    if config == "gan":
        return {"image": output}
    if config.startswith("tabular"):
        return {"output_0": output[:, 0]}
    exponentials = np.exp(output - output.max(-1, keepdims=True))
    probabilities = exponentials / exponentials.sum(-1, keepdims=True)
    if config == "char_lm":
        return {"token": output.argmax(-1), "probability": probabilities.max(-1)}
    return {"label": output.argmax(-1), "probabilities": probabilities}


def assert_relatively_close(found, expected):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.slow
def test_two_workers_find_the_same_towers(run, trained):
    """The items of all workers are each other's negatives."""
    alone = trained("two_tower")
    run("two_tower", "--workers=2", PARAM + "Trainer.strategy=@multi_worker_mirrored()", to="two_workers")
    assert_close(alone, run.folder / "two_workers")


class TestStages:
    """Fine-tuning by two commands: the head alone, then everything."""

    @pytest.fixture(scope="class")
    @classmethod
    def stages(cls, run, trained):
        head = trained("image_folder_head")
        first = PARAM + f"Trainer.initial_weights={head}/checkpoints/ckpt-{STEPS}"
        run("image_folder_all", first, to="second_stage")
        return [weights(folder) for folder in (head, run.folder / "second_stage")]

    @pytest.mark.slow
    def test_the_backbone_moves_in_the_second_alone(self, run, stages):
        shutil.rmtree(run.folder / "untrained", ignore_errors=True)
        first, second = stages
        moved = {key for key in first if not np.array_equal(first[key], second[key])}
        assert moved == first.keys()
        # A second run of the first stage, of other data: the backbone is as it was made.
        run("image_folder_head", PARAM + "Input.seed=9", to="untrained")
        again = weights(run.folder / "untrained")
        moved = sorted(key for key in first if not np.array_equal(first[key], again[key]))
        assert len(moved) == 2, moved
        assert all("/head/" in key for key in moved), moved


def flags_of(*bindings):
    """As flags, which win over those of SHORT and SMALL."""
    return [PARAM + each for each in bindings]


def evaluations(folder, name=None):
    """The lines of metrics.jsonl that are of an evaluation; of several eval sets, those of one."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] != "train" and line["split"] in ("eval", f"eval/{name}")]


def evaluated(folder):
    """The last line of metrics.jsonl that is of an evaluation."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] != "train"][-1]


class TestKerasApplications:
    """A backbone of `keras.applications` by its name, on a folder of images, in two stages."""

    @pytest.fixture(scope="class")
    @classmethod
    def stages(cls, run):
        for label, level in (("dark", 40), ("light", 200)):
            (run.folder / "shades" / label).mkdir(parents=True)
            for number in range(4):
                pixels = tf.fill([32, 32, 3], tf.cast(level + number, tf.uint8))
                (run.folder / "shades" / label / f"{number}.png").write_bytes(tf.io.encode_png(pixels).numpy())
        given = flags_of(
            *("images.path='shades'", "images.test_fraction=0.25", "num_classes=2", "size=32", "train_steps=2"),
            *("image_classifier.backbone=@keras.applications.MobileNet", "keras.applications.MobileNet.alpha=0.25"),
            *("image_classifier.scale='-1 to 1'", "Trainer.train_steps=2", "Trainer.checkpoint_interval=2"),
            *("Trainer.steps_per_loop=1", "Trainer.eval_datasets={'test': @test/Input()}", "Trainer.actions=[]"),
        )
        run("image_folder_head", *given, to="shades_head")
        first = PARAM + "Trainer.initial_weights=shades_head/checkpoints/ckpt-2"
        run("image_folder_all", *given, first, to="shades_all")
        return [run.folder / "shades_head", run.folder / "shades_all"]

    @pytest.mark.slow
    def test_is_that_of_keras(self, stages):
        backbone = keras.applications.MobileNet((32, 32, 3), alpha=0.25, include_top=False, weights=None)
        shapes = sorted(
            [*(tuple(weight.shape) for weight in backbone.weights), (256, 2), (2,)]
        )  # and a head of 2 classes
        for folder in stages:
            assert sorted(value.shape for value in weights(folder, step=2).values()) == shapes
            assert evaluated(folder)["counts"]["accuracy"] == 2

    @pytest.mark.slow
    def test_is_frozen_in_the_first_stage_alone(self, stages):
        """Keras makes BatchNormalization with means and offsets of 0, and variances of 1."""
        head, everything = (weights(folder, step=2) for folder in stages)
        for name, fresh in {"moving_mean": 0, "moving_variance": 1, "beta": 0}.items():
            found = [key for key in head if f"/{name}/" in key]
            assert len(found) == 27
            for key in found:
                np.testing.assert_array_equal(head[key], fresh, err_msg=key)
                assert not np.array_equal(everything[key], head[key]), key


class TestTextReaders:
    @pytest.mark.slow
    @pytest.mark.parametrize("reader", ["gru", "transformer"])
    def test_learn_the_order_of_words(self, run, reader):
        """Both classes have the same words, equally often: the mean of the embeddings tells nothing."""
        for label, (one, other) in {"up": ("red", "blue"), "down": ("blue", "red")}.items():
            (run.folder / "order" / label).mkdir(parents=True, exist_ok=True)
            lines = [
                f"{a}{one} then {b} {other}"
                for a, b in itertools.product(["a ", "one ", "that ", "it ", "so "], "uvwxyz")
            ]
            (run.folder / "order" / label / "lines.txt").write_text("\n".join(lines))
        given = flags_of(
            *("labelled_text.path='order'", f"text_classifier.reader='{reader}'", "text_classifier.width=16"),
            *("text_classifier.dropout=0.0", "Trainer.train_steps=150", "Trainer.eval_interval=150"),
            *("Trainer.steps_per_loop=50", "Trainer.summary_interval=50", "Trainer.checkpoint_interval=150"),
            *("keras.optimizers.Adam.learning_rate=0.01", "keras.optimizers.Adam.use_ema=False"),
        )
        run("text_classifier", *given, to=f"order_{reader}")
        found = evaluated(run.folder / f"order_{reader}")
        assert found["counts"]["accuracy"] == 12
        assert found["metrics"]["accuracy"] == 1.0


class TestTables:
    @pytest.mark.slow
    def test_parquet_and_csv_give_the_line_that_was_written(self, run):
        """A target of 3 a - 2 b + 5, and 4 more for a kind: without noise, a linear model misses by what training left."""
        rng = np.random.default_rng(0)
        for name, rows in (("train", 400), ("test", 50)):
            a, b, kind = rng.normal(size=rows), rng.normal(size=rows), rng.choice(["plain", "dear"], rows)
            table = pyarrow.table({"a": a, "b": b, "kind": kind, "y": 3 * a - 2 * b + 5 + 4 * (kind == "dear")})
            pyarrow.parquet.write_table(table, run.folder / f"{name}.parquet")
            pyarrow.csv.write_csv(table, run.folder / f"{name}.csv")
        given = flags_of(
            *("TabularTask.target='y'", "TabularTask.numeric=['a', 'b']", "TabularTask.categorical=['kind']"),
            *(
                "TabularTask.hidden=()",
                "keras.optimizers.Adam.weight_decay=None",
                "keras.optimizers.Adam.use_ema=False",
            ),
            *("keras.optimizers.Adam.learning_rate=0.02", "Trainer.train_steps=300", "Trainer.eval_interval=300"),
            *("Trainer.steps_per_loop=100", "Trainer.summary_interval=100", "Trainer.checkpoint_interval=300"),
        )
        found = {}
        for kind in ("parquet", "csv"):
            source = [f"{name}_rows=@{name}/{kind}" for name in ("train", "test")]
            files = [f"{name}/{kind}.path='{name}.{kind}'" for name in ("train", "test")]
            run("tabular", *given, *flags_of(*source, *files), to=f"line_{kind}")
            found[kind] = evaluated(run.folder / f"line_{kind}")
        assert found["parquet"]["counts"]["rmse"] == 50
        assert found["parquet"]["metrics"]["rmse"] < 0.05  # the deviation of the target is 4.1
        assert found["parquet"]["metrics"]["rmse"] == found["csv"]["metrics"]["rmse"]

    @pytest.mark.slow
    def test_weights_of_rows_change_what_is_learned(self, trained):
        plain, weighted = (weights(trained(config)) for config in ("tabular", "tabular_weighted"))
        assert plain.keys() == weighted.keys()
        kernels = [key for key in plain if "/kernel/" in key]
        assert len(kernels) == 3  # linear, hidden, network
        assert [key for key in kernels if np.array_equal(plain[key], weighted[key])] == []


class TestOwnData:
    """As the head of each config says, by flags alone."""

    @pytest.mark.slow
    def test_pairs_of_numbers_from_csv(self, run):
        """Each of 20 users takes the item of the same number, or the next one."""
        users = np.arange(40) % 20
        for name, items in (("train", (users + np.arange(40) // 20) % 20), ("test", users)):
            pyarrow.csv.write_csv(pyarrow.table({"user": users, "item": items}), run.folder / f"{name}_pairs.csv")
        given = flags_of(
            *("train/Input.source=@train/csv", "test/Input.source=@test/csv"),
            *("train/csv.path=train_pairs.csv", "test/csv.path=test_pairs.csv", "TwoTowerTask.query=user"),
            *("TwoTowerTask.query_tower=@query/embedding_tower", "TwoTowerTask.item_tower=@item/embedding_tower"),
            *("query/embedding_tower.size=20", "item/embedding_tower.size=21", "train/Input.global_batch_size=20"),
            *("keras.optimizers.AdamW.learning_rate=0.05", "Trainer.train_steps=60", "Trainer.eval_interval=60"),
            *("Trainer.steps_per_loop=20", "Trainer.summary_interval=20", "Trainer.checkpoint_interval=60"),
        )
        run("two_tower", *given, to="pairs_csv", small=())
        found = weights(run.folder / "pairs_csv", step=60)
        assert sorted(value.shape for value in found.values()) == [(20, 32), (21, 32)]
        assert evaluated(run.folder / "pairs_csv")["counts"]["recall_at_10"] == 40
        assert evaluated(run.folder / "pairs_csv")["metrics"]["recall_at_10"] == 1.0  # of chance, a half

    @pytest.mark.slow
    def test_pairs_of_features_from_arrays(self, run):
        rng = np.random.default_rng(0)
        for name, rows in (("train", 300), ("test", 40)):
            query = rng.normal(size=(rows, 5)).astype(np.float32)
            np.savez(run.folder / f"{name}_pairs.npz", query=query, item=query[:, :3] * 2)
        given = flags_of(
            *("train/Input.source=@train/npz", "test/Input.source=@test/npz"),
            *("train/npz.path=train_pairs.npz", "test/npz.path=test_pairs.npz"),
        )
        run("two_tower", *given, to="pairs_npz")
        found = weights(run.folder / "pairs_npz")
        assert {(5, 16), (3, 16)} <= {value.shape for value in found.values()}
        assert evaluated(run.folder / "pairs_npz")["counts"]["recall_at_10"] == 40

    @pytest.mark.slow
    def test_a_folder_in_the_format_of_mnist(self, run, write_idx):
        """12 by 10 pixels, 3 classes, one file of each part gzipped."""
        folder, rng = run.folder / "like_mnist", np.random.default_rng(0)
        folder.mkdir()
        for part, rows in (("train", 64), ("t10k", 30)):
            write_idx(folder / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (rows, 12, 10)))
            write_idx(folder / f"{part}-labels-idx1-ubyte", np.arange(rows) % 3)
        run("mnist_cnn", *flags_of("mnist.path=like_mnist", "num_classes=3"), to="of_a_folder")
        found = evaluated(run.folder / "of_a_folder")
        assert found["counts"]["accuracy"] == 30
        assert np.array(found["metrics"]["confusion"]).sum(1).tolist() == [10, 10, 10]

    @pytest.mark.slow
    def test_texts_that_are_files(self, run):
        for label, word in (("good", "fine"), ("bad", "poor")):
            (run.folder / "reviews" / label).mkdir(parents=True)
            for number in range(10):
                text = f"A first line,\nand {word} work\n{number}"
                (run.folder / "reviews" / label / f"{number}.txt").write_text(text)
        given = flags_of("labelled_text.path='reviews'", "labelled_text.unit='files'", "text_classifier.length=16")
        run("text_classifier", *given, to="of_files")
        found = evaluated(run.folder / "of_files")
        assert found["counts"]["accuracy"] == 4  # a fifth of 20 files, of 3 lines each
        run("text_classifier", *given, "--mode=export", to="of_files")
        serve = tf.saved_model.load(str(run.folder / "of_files/export/saved_model")).signatures["serving_default"]
        one, other, third = (
            np.array(next(iter(serve(tf.constant([text])).values()))) for text in ("fine", "poor", "xyz")
        )
        assert not np.array_equal(one, other)  # both words are known, though they are in the second line
        assert not np.array_equal(one, third)

    @pytest.mark.slow
    def test_images_with_a_table_of_labels(self, run):
        """In one folder, of two classes by name and of any number of files of each."""
        folder = run.folder / "pictures"
        folder.mkdir()
        lines = ["file,label"]
        for number in range(20):
            kind = "dark" if number % 4 else "light"
            pixels = tf.fill([8, 8, 3], tf.cast(200 if kind == "light" else 40, tf.uint8))
            (folder / f"{number}.png").write_bytes(tf.io.encode_png(pixels).numpy())
            lines.append(f"{number}.png,{kind}")
        (run.folder / "labels.csv").write_text("\n".join(lines))
        given = flags_of("images.path=pictures", "images.table=labels.csv", "num_classes=2", "Trainer.actions=[]")
        run("image_folder", *given, to="of_table")
        found = evaluated(run.folder / "of_table")
        assert found["counts"]["accuracy"] == 4  # a fifth of 15 dark ones, and of 5 light ones
        assert (4, 2) in [value.shape for value in weights(run.folder / "of_table").values()]


@pytest.mark.slow
def test_padding_counts_for_nothing_in_a_language_model(run):
    """As the head of char_lm.gin says: sentences of different lengths, of 0 behind their end, in training and evaluation."""
    rng = np.random.default_rng(0)
    lengths = np.array([16, 3, 9, 1, 12, 5])
    tokens = rng.integers(1, 256, (6, 17)) * (np.arange(17) <= lengths[:, None])
    np.savez(run.folder / "padded.npz", x=tokens[:, :-1], y=tokens[:, 1:])
    given = flags_of(
        *("train/Input.source=@train/npz", "validation/Input.source=@validation/npz"),
        *("train/npz.path=padded.npz", "validation/npz.path=padded.npz"),
        *("Trainer.actions=[]", "Input.global_batch_size=6", "validation/Input.global_batch_size=4"),
    )
    small = [each for each in SMALL["char_lm"] if not each.startswith("text.")]
    for name, padding in (("padded", ["LanguageModelTask.padding=0"]), ("unpadded", [])):
        run("char_lm", *given, *flags_of(*padding), to=name, small=small)
        run("char_lm", *given, *flags_of(*padding), "--mode=export", to=name, small=small)
        serve = tf.saved_model.load(str(run.folder / name / "export/saved_model")).signatures["serving_default"]
        (logits,) = (value.numpy().astype(np.float64) for value in serve(tf.constant(tokens[:, :-1])).values())
        real = tokens[:, 1:] > 0 if padding else tokens[:, 1:] >= 0
        losses = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, tokens[:, 1:, None], -1)[..., 0]
        found = evaluated(run.folder / name)
        assert (
            found["counts"]["loss"] == found["counts"]["accuracy"] == real.sum() == (lengths.sum() if padding else 96)
        )
        assert found["metrics"]["loss"] == pytest.approx(losses[real].mean(), rel=1e-5)
        assert found["metrics"]["perplexity"] == pytest.approx(np.exp(losses[real].mean()), rel=1e-5)
        hits = (logits.argmax(-1) == tokens[:, 1:])[real]
        assert found["metrics"]["accuracy"] == pytest.approx(hits.mean(), abs=1e-6)
    # What training saw differs: the token 0 alone gets likelier where it counts.
    one, other = weights(run.folder / "padded"), weights(run.folder / "unpadded")
    assert [key for key in one if is_trained(key) and np.array_equal(one[key], other[key])] == []


@pytest.mark.slow
def test_ten_times_as_large_by_two_flags_of_the_page(tmp_path):
    page = (ROOT / "docs" / "results.md").read_text()
    (part,) = re.findall(r"Ten times as large:(.*?)\. ", page, re.DOTALL)
    bindings = re.findall(r"--gin_param=([^` ]+)", part)
    assert len(bindings) == 2
    (tmp_path / "text.txt").write_text("How much wood would a woodchuck chuck? " * 300)
    text = f"text.path='{tmp_path / 'text.txt'}'"
    small, large = (configure(["char_lm.gin"], [text, *more]).model.count_params() for more in ([], bindings))
    assert large / small == pytest.approx(10, rel=0.15)


@pytest.mark.slow
def test_a_language_model_reads_the_standard_library(run):
    """Without a file: nine tenths of the bytes of Python's modules to train on, the rest to evaluate, by windows of 64."""
    small = ("transformer.depth=1", "transformer.width=16", "transformer.heads=2", "Trainer.actions=[]")
    short = flags_of("Trainer.train_steps=2", "Trainer.eval_interval=2")
    run("char_lm", *short, to="standard_library", small=small)
    files = Path(sysconfig.get_path("stdlib")).glob("*.py")
    total = sum(file.stat().st_size for file in files)
    assert total > 1e6
    windows = (total - round(0.9 * total) - 1) // 64
    found = evaluated(run.folder / "standard_library")
    assert found["counts"]["loss"] == windows * 64
    assert found["metrics"]["loss"] == pytest.approx(np.log(256), abs=0.2)  # of guessing among all bytes


@pytest.mark.slow
def test_a_task_that_was_copied_into_a_project(run):
    """By the lines of docs/tasks.md."""
    page = (ROOT / "docs" / "tasks.md").read_text()
    block = re.search(r"(?s)## From a bundled task.*?```sh\n(.*?)```", page)[1]
    copy, line = block.rsplit("tallyloop --import_module", 1)
    subprocess.run(
        ["bash", "-ec", copy.replace("models/", f"{ROOT}/models/").replace("gin/", f"{ROOT}/gin/")],
        cwd=run.folder,
        check=True,
    )
    assert line.split() == ["=my_classifier", "--gin_file=mine.gin", "--model_dir=runs/mine"]
    run("mine", "--import_module=my_classifier", to="mine", small=())
    assert (run.folder / "mine" / "checkpoints" / f"ckpt-{STEPS}.index").exists()


@pytest.mark.slow
def test_an_action_of_ones_own_counts_silent_units(trained):
    events = EventAccumulator(str(trained("autoencoder") / "eval")).Reload()
    found = {event.step: tf.make_ndarray(event.tensor_proto) for event in events.Tensors("code/silent_units")}
    assert found.keys() == {6, STEPS}
    assert all(0 <= count < 32 for count in found.values())


class TestTensorBoard:
    """What the configs write besides charts."""

    @staticmethod
    def events(folder, split="eval"):
        return EventAccumulator(str(folder / split), size_guidance={"tensors": 0}).Reload()

    @pytest.mark.slow
    def test_text_that_the_language_model_writes(self, trained):
        events = self.events(trained("char_lm")).Tensors("written")
        assert [event.step for event in events] == [6, STEPS]
        texts = [tf.make_ndarray(event.tensor_proto).ravel()[0].decode() for event in events]
        assert all(text.startswith("\n") and 250 < len(text) <= 501 for text in texts)  # 501 bytes; not all are UTF-8

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("config", "split", "tag", "count", "size"),
        [
            ("gan", "eval", "generated", 64, (8, 8)),
            ("image_folder", "eval/test", "hardest", 16, (8 + 4, 8 + 4)),
            ("mnist_cnn", "eval", "confusion", 1, None),
        ],
    )
    def test_images(self, trained, config, split, tag, count, size):
        events = self.events(trained(config), split).Tensors(tag)
        assert [event.step for event in events] == [6, STEPS]
        for event in events:
            width, height, *images = tf.make_ndarray(event.tensor_proto)
            assert len(images) == count
            shapes = {tf.io.decode_png(image).shape[:2] for image in images}
            assert shapes == {(int(height), int(width))}
            assert size is None or shapes == {size}

    @pytest.mark.slow
    def test_the_confusion_is_that_of_all_test_images(self, trained):
        found = evaluated(trained("mnist_cnn"))["metrics"]
        matrix = np.array(found["confusion"])
        assert matrix.shape == (10, 10)
        np.testing.assert_array_equal(matrix.sum(1), np.bincount(data.digits("test")["y"]))
        assert np.trace(matrix) / matrix.sum() == pytest.approx(found["accuracy"], abs=1e-6)


class Asked:
    """Stands for a run, and writes down which metrics it is asked for."""

    def __init__(self, folder):
        self.parameters, self.folder, self.asked = (), folder, set()

    def points(self, metric, split="eval"):
        self.asked.add((metric, split))
        return [(0, 0.5)]

    def again(self, *_, **__):
        return self

    def command(self, *_):
        """Do nothing: the predictions are there."""


@EACH
def test_the_results_page_finds_its_metrics_in_a_run(trained, config, monkeypatch, tmp_path):
    """A renamed metric would stop `python -m benchmarks.results` after its training."""
    monkeypatch.syspath_prepend(ROOT)
    configs = importlib.import_module("benchmarks.results.configs")
    measured = [each for each in configs.CONFIGS if each.name == config]
    (tmp_path / config / "predictions").mkdir(parents=True)
    np.savez(tmp_path / config / "predictions" / "test.npz", image=np.zeros((2, 8, 8, 1)))
    (tmp_path / config / "checkpoints").mkdir()
    (tmp_path / config / "checkpoints" / "ckpt-1.index").touch()
    run = Asked(tmp_path / config)
    monkeypatch.setattr(configs.images, "train", lambda *_: run)
    monkeypatch.setattr(configs.language, "_times", lambda _: None)
    monkeypatch.setattr(configs.language, "_files", lambda _: [Path("tinyshakespeare.txt")])
    for figure in itertools.chain.from_iterable(each.figures for each in measured):
        figure.measure(run)
        if figure.reference in (configs.digits._pca_of_active_units, configs.distillation._alone):
            figure.reference(run)
    lines = [json.loads(line) for line in (trained(config) / "metrics.jsonl").read_text().splitlines()]
    there = {(metric, line["split"]) for line in lines for metric in line["metrics"]}
    splits = {line["split"] for line in lines}
    assert run.asked - there == set()
    assert {(each.curve, split) for each in measured for split in splits} - there == set()
    assert bool(run.asked) == bool(measured)


# The ten likeliest mistakes: config, bindings, what the message has.
MISTAKES = [
    (
        "mnist_cnn",
        ["mnist.path=nowhere"],
        ["mnist.path = 'nowhere'", "expected a folder with the files train-images-idx3-ubyte"],
    ),
    ("mnist_cnn", ["num_classes=5"], ["expected labels from 0 to 4", "got 5"]),
    ("image_folder", ["images.path=nowhere"], ["images.path = 'nowhere'", "expected a folder"]),
    (
        "image_folder",
        ["image_classifier.backbone=@keras.applications.MobilNetV2"],
        ["MobilNetV2", 'did you mean "keras.applications.MobileNetV2"'],
    ),
    (
        "image_folder",
        ["image_classifier.backbone=@keras.applications.VGG16", "size=8"],
        ["@VGG16", "(8, 8, 3)", "32x32"],
    ),
    ("image_folder", ["num_classes=3"], ["expected labels from 0 to 2"]),
    ("image_folder_head", ["Trainer.freeze=['backbon$']"], ["'backbon$' matches no layer", "backbone", "head"]),
    ("two_tower", ["dense_tower.width=0"], ["dense_tower.width = 0: expected a whole number of at least 1"]),
    ("two_tower", ["TwoTowerTask.query=user"], ["expected the key 'user'", "['item', 'query']", "TwoTowerTask.query"]),
    ("gan", ["mlp.num_classes=10"], ["expected one logit per image, got (10,)", "mlp.num_classes = 1"]),
    (
        "gan",
        ["digits.flat=True"],
        ["expected images of the shape of 'x', (64,), got (8, 8, 1)", "dense_generator.shape"],
    ),
    ("gan", ["example_with_noise.key=noise"], ["expected the key 'z', got ['noise', 'x', 'y']", "GanTask.noise"]),
    ("char_lm", ["text.path=nowhere.txt"], ["text.path", "'nowhere.txt'", "expected at least one file"]),
    ("char_lm", ["transformer.heads=3"], ["transformer.heads = 3", "expected a divisor of transformer.width = 128"]),
    ("char_lm", ["transformer.vocabulary=100"], ["has tokens from", "transformer.vocabulary"]),
    ("char_lm", ["transformer.length=32"], ["has 64 tokens: expected at most 32", "transformer.length"]),
    ("char_lm", ["LanguageModelTask.model=@transformer()"], ["write @transformer, not @transformer()"]),
    ("text_classifier", ["labelled_text.path=nowhere"], ["labelled_text.path = 'nowhere'", "a folder for each class"]),
    ("text_classifier", ["text_classifier.num_classes=1"], ["expected labels from 0 to 0", "got 1"]),
    ("text_classifier", ["text_classifier.reader=lstm"], ["text_classifier.reader = lstm", "'gru', 'transformer'"]),
    ("text_classifier", ["text_classifier.rows=@train/labelled_text()"], ["without parentheses"]),
    ("text_classifier", ["ClassifierTask.features=line"], ["expected the key 'line'", "ClassifierTask.features"]),
    ("text_classifier", ["Trainer.jit_compile=True"], ["jit_compile", "strings"]),
    ("tabular", ["TabularTask.target=cost"], ["TabularTask.target", "'cost' is not a column", "'progression'"]),
    ("tabular", ["TabularTask.numeric=['agee']"], ["TabularTask.numeric", "'agee' is not a column", "'age'"]),
    ("tabular", ["TabularTask.numeric=['sex']"], ["'sex' is named twice"]),
    ("tabular", ["TabularTask.sample_weight=w"], ["TabularTask.sample_weight", "'w' is not a column"]),
    ("tabular", ["train_rows=@train/csv", "train/csv.path=none.csv"], ["csv.path", "'none.csv'"]),
    ("tabular", ["Trainer.jit_compile=True"], ["jit_compile", "strings"]),
    (
        "distil",
        [],
        ["DistillationTask.teacher = 'runs/teacher/best_export/model.keras'", "no such file", "distil_teacher.gin"],
    ),
]


@pytest.mark.parametrize(
    ("config", "bindings", "told"),
    [
        pytest.param(*case, marks=[] if case[0] == "distil" else pytest.mark.slow, id=f"{case[0]}-{case[1][-1:]}")
        for case in MISTAKES
    ],
)
def test_a_mistake_is_told(command, config, bindings, told):
    """In one message, with exit code 2 and nothing written."""
    done = command(*(PARAM + each for each in bindings), gin_file=f"{config}.gin")
    assert done.returncode == 2, done.stdout + done.stderr
    message = done.stderr + done.stdout
    assert [each for each in told if each not in message] == [], message
    assert "Traceback" not in message
    assert list(command.folder.iterdir()) == []
