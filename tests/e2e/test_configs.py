"""Every bundled config, by the command alone: on replicas, killed, checked, predicted from, exported and loaded again."""

import asyncio.events
import email.message
import importlib
import itertools
import json
import shutil
import sysconfig
from pathlib import Path

import keras
import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest
import tensorflow as tf
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
    "char_lm": (
        "transformer.depth=1",
        "transformer.width=16",
        "transformer.heads=2",
        "length=16",
        "text.path='text.txt'",
    ),
    "distil": (f"DistillationTask.teacher={TEACHER}/best_export/model.keras",),
    "gan": ("dense_generator.hidden=(16,)", "mlp.hidden=(16,)"),
    "image_folder": ("small_backbone.filters=(4,)", "size=8"),
    "image_folder_all": ("small_backbone.filters=(4,)", "size=8"),
    "image_folder_head": ("small_backbone.filters=(4,)", "size=8"),
    "mnist_cnn": ("cnn.filters=(4,)",),
    "text_classifier": ("text_classifier.width=8", "text_classifier.length=8", "labelled_text.path='lines'"),
    "two_tower": ("dense_tower.hidden=(16,)",),
}
# How far 12 steps on two replicas may end from those on one. All use Adam, which divides by the size of the gradient: what
# is rounding in a gradient near 0 is as large as a step in the weight. Unit tests hold towers, GAN and student to 1e-6, with SGD.
TOLERANCE = 1e-4

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

# Calls each SavedModel with zeros, and loads each .keras file.
LOADER = """
import json, pathlib, sys
import keras, numpy as np, tensorflow as tf
import tallyloop.models

found = {}
for path in sorted(pathlib.Path(sys.argv[1]).rglob("saved_model.pb")):
    loaded = tf.saved_model.load(str(path.parent))
    function = loaded.signatures["serving_default"]
    inputs = {name: tf.zeros([2, *spec.shape[1:]], spec.dtype) for name, spec in function.structured_input_signature[1].items()}
    found[str(path.parent)] = sorted(function(**inputs))
for path in sorted(pathlib.Path(sys.argv[1]).rglob("*.keras")):
    found[str(path)] = [keras.models.load_model(path, compile=False).name]
pathlib.Path("loaded.json").write_text(json.dumps(found))
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
        small = SMALL.get(config, ()) if small is None else small
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


def weights(folder, step=STEPS):
    """The variables of the model in the last checkpoint."""
    reader = tf.train.load_checkpoint(str(folder / "checkpoints" / f"ckpt-{step}"))
    types = reader.get_variable_to_dtype_map()
    return {key: reader.get_tensor(key) for key in types if key.startswith("model/") and types[key].is_floating}


def assert_close(one, other):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    assert one
    for key, value in one.items():
        np.testing.assert_allclose(other[key], value, rtol=1e-5, atol=TOLERANCE, err_msg=key)


# Of the scope of the runs, so that all tests of a config follow each other, and one process trains it once.
EACH = pytest.mark.parametrize(
    "config",
    [pytest.param(name, marks=[] if name == "two_tower" else pytest.mark.slow) for name in CONFIGS],
    scope="module",
)
EACH_SLOWLY = pytest.mark.parametrize(
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


@EACH_SLOWLY
def test_two_replicas_give_the_same_weights(run, trained, config):
    alone = trained(config)
    run(config, "--virtual_cpus=2", PARAM + "Trainer.strategy=@mirrored()", to=f"{config}_2")
    assert_close(alone, run.folder / f"{config}_2")


@EACH_SLOWLY
def test_a_killed_run_ends_with_the_same_bits(run, trained, config, monkeypatch):
    alone, killed = trained(config), run.folder / f"{config}_killed"
    run(config, "--import_module=killer", to=killed.name, code=-9)
    assert not (killed / "checkpoints" / f"ckpt-{STEPS}.index").exists()
    run(config, to=killed.name)
    monkeypatch.syspath_prepend(ROOT)
    assert importlib.import_module("benchmarks.survival.compare").differences(killed, alone) == []


@EACH_SLOWLY
def test_passes_the_check(run, trained, config):
    trained(config)
    assert "All numbers are the same" in run(config, "--mode=check", to=config).stdout


@EACH_SLOWLY
def test_predicts(run, trained, config):
    folder = trained(config)
    run(config, "--mode=predict", to=config)
    files = list((folder / "predictions").glob("*.npz"))
    assert files
    for file in files:
        found = np.load(file)
        assert found.files
        assert len({len(found[key]) for key in found.files}) == 1
        assert all(np.isfinite(found[key]).all() for key in found.files if found[key].dtype.kind == "f")


@EACH_SLOWLY
def test_exports_what_a_new_process_loads(run, trained, config):
    folder = trained(config)
    run(config, "--mode=export", to=config)
    done = run.programs.run(["loader.py", folder / "export"], run.folder)
    assert done.returncode == 0, done.stderr
    found = json.loads((run.folder / "loaded.json").read_text())
    assert {Path(path).name for path in found} == {"saved_model", "model.keras"}


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
def test_an_action_of_ones_own_counts_silent_units(trained):
    events = EventAccumulator(str(trained("autoencoder") / "eval")).Reload()
    found = {event.step: tf.make_ndarray(event.tensor_proto) for event in events.Tensors("code/silent_units")}
    assert found.keys() == {6, STEPS}
    assert all(0 <= count < 32 for count in found.values())


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
    ("tabular", ["TabularTask.target=cost"], ["TabularTask.target", "'cost' is no column", "'progression'"]),
    ("tabular", ["TabularTask.numeric=['agee']"], ["TabularTask.numeric", "'agee' is no column", "'age'"]),
    ("tabular", ["TabularTask.numeric=['sex']"], ["'sex' is named twice"]),
    ("tabular", ["TabularTask.sample_weight=w"], ["TabularTask.sample_weight", "'w' is no column"]),
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
    """In one message, with exit code 2 and nothing written; XLA refuses only when it compiles, in the run."""
    done = command(*(PARAM + each for each in bindings), gin_file=f"{config}.gin")
    assert done.returncode == 2, done.stdout + done.stderr
    message = done.stderr + done.stdout
    assert [each for each in told if each not in message] == [], message
    assert "Traceback" not in message
    assert "jit_compile" in message or list(command.folder.iterdir()) == []
