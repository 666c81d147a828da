"""Bad input: exit code 2, one message that names the place and the fix, no traceback, nothing written."""

import gzip

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.trainer.command.request import MODES

PARAM = "--gin_param="

CASES = {
    "missing_file": (["--gin_file=nowhere.gin"], ["nowhere.gin", "Searched", "/gin"]),
    "configurable": ([PARAM + "Trianer.train_steps=3"], ["Trianer", 'did you mean "Trainer"']),
    "parameter": ([PARAM + "Trainer.train_step=3"], ["train_step", 'did you mean "train_steps"']),
    "macro_unused": ([PARAM + "batch_siz=3"], ["batch_siz", 'did you mean "batch_size"']),
    "scope": ([PARAM + "tran/Input.shuffle=True"], ['scope "tran"', 'did you mean "train"']),
    "type": ([PARAM + "Trainer.train_steps=many"], ["Trainer.train_steps", "int", "many"]),
    "unused_binding": ([PARAM + "two_stage_autoencoder.width=3"], ["two_stage_autoencoder.width", "never called"]),
    "train_steps": ([PARAM + "Trainer.train_steps=0"], ["Trainer.train_steps = 0", "at least 1"]),
    "batch_size": ([PARAM + "batch_size=-4"], ["Input.global_batch_size = -4", "at least 1"]),
    "labels": ([PARAM + "mlp.num_classes=7"], ["Trainer.train_dataset", "7 classes", "mlp.num_classes"]),
    "mode": (["--mode=evl"], ["--mode=evl", 'did you mean "eval"']),
    "flag": (["--gin_fil=digits.gin"], ["gin_fil", "gin_file"]),
    "checkpoint": (["--mode=eval", "--checkpoint=/no/ckpt-5"], ["--checkpoint=/no/ckpt-5", "no such checkpoint"]),
    "model_dir_is_a_file": (["--model_dir=taken/run"], ["--model_dir", "taken", "Choose another"]),
    "import_module": (["--import_module=no_such_module"], ["--import_module=no_such_module", "no such module"]),
    "npz_absent": (["--gin_file=npz.gin", PARAM + "npz.path=absent.npz"], ["absent.npz", "npz.path"]),
    "npz_truncated": (["--gin_file=npz.gin", PARAM + "npz.path=torn.npz"], ["torn.npz"]),
    "idx_is_text": (["--gin_file=idx.gin", PARAM + "idx.images=taken", PARAM + "idx.labels=taken"], ["taken"]),
    "labels_are_floats": (
        ["--gin_file=npz.gin", PARAM + "npz.path=floats.npz"],
        ["labels 'y', got float64"],
    ),
    "features_are_strings": (
        ["--gin_file=npz.gin", PARAM + "npz.path=strings.npz"],
        ["features 'x'", "got strings", "numbers"],
    ),
    "eval_of_another_width": (
        ["--gin_file=npz.gin", PARAM + "train/Input.source=@digits", PARAM + "npz.path=narrow.npz"],
        ["Trainer.eval_datasets['test']", "(None, 64)", "(1, 32)"],
    ),
    "nothing_to_predict": (
        ["--mode=predict", PARAM + "Trainer.eval_datasets={}"],
        ["--mode=predict needs Trainer.eval_datasets", "@test/Input()"],
    ),
    "a_file_for_a_folder": (["--model_dir=used"], ["--model_dir=used", "used/checkpoints is not a folder"]),
}


@pytest.fixture
def folder(command):
    """Files of the kinds that the cases name."""
    at = command.folder
    (at / "taken").write_text("a file, not a folder")
    (at / "used").mkdir()
    (at / "used" / "checkpoints").write_text("a file, not a folder")
    source = 'include "digits.gin"\ntrain/Input.source = @{0}\ntest/Input.source = @{0}\n'
    (at / "npz.gin").write_text(source.format("npz"))
    (at / "idx.gin").write_text(source.format("idx"))
    x, y = np.zeros((9, 64), np.float32), np.arange(9)
    np.savez(at / "whole.npz", x=x, y=y)
    (at / "torn.npz").write_bytes((at / "whole.npz").read_bytes()[:-100])
    np.savez(at / "floats.npz", x=x, y=y.astype(np.float64))
    np.savez(at / "strings.npz", x=np.full((9, 64), "a"), y=y)
    np.savez(at / "narrow.npz", x=x[:, :32], y=y)
    return at


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case, command, folder):
    before = sorted(folder.rglob("*"))
    flags, fragments = CASES[case]
    gin_file = None if any(flag.startswith("--gin_file") for flag in flags) else "digits.gin"
    done = command(*flags, gin_file=gin_file)
    assert done.returncode == 2, done.stdout + done.stderr
    for fragment in fragments:
        assert fragment in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 6
    assert sorted(folder.rglob("*")) == before


# What a bundled config gets from files whose content is wrong: config, bindings, what the message has.
IMAGES = ["num_classes=2", "size=8", "small_backbone.filters=(4,)"]
TABLE = [
    *("train_rows=@train/csv", "test_rows=@test/csv", "train/csv.path='good.csv'", "test/csv.path='good.csv'"),
    *("TabularTask.target='price'", "TabularTask.numeric=['age']", "TabularTask.categorical=['kind']"),
]
CONTENTS = {
    "image_is_a_web_page": (
        "image_folder",
        ["images.path='page'", *IMAGES],
        ["page/cat/3.png' starts with 3c 68 74 6d", "expected a JPEG, PNG, GIF or BMP file"],
    ),
    "image_is_cut": (
        "image_folder",
        ["images.path='torn'", *IMAGES],
        ["Input.map_fn, row ", "/torn/", ".png': Invalid PNG"],
    ),
    "image_is_a_text": (
        "image_folder",
        ["images.path='notes'", *IMAGES],
        ["'notes/cat/notes.txt'", "expected files that end in .jpg"],
    ),
    "image_of_the_table_is_gone": (
        "image_folder",
        ["images.path='pets'", "images.table='labels.csv'", *IMAGES],
        ["labels.csv:3", "'cat/77.png', which isn't there"],
    ),
    "images_of_another_class": (
        "image_folder",
        ["images.path='three'", *IMAGES],
        ["Trainer.train_dataset: expected labels from 0 to 1", "got 2"],
    ),
    "column_is_missing": (
        "tabular",
        [*TABLE, "TabularTask.numeric=['size']"],
        ["TabularTask.numeric: 'size' is not a column", "['age', 'kind', 'price']"],
    ),
    "column_of_the_test_is_missing": (
        "tabular",
        [*TABLE, "test/csv.path='no_kind.csv'"],
        ["expected the key 'kind', got ['age', 'price']", "Trainer.eval_datasets['test']"],
    ),
    "target_of_the_test_is_missing": (
        "tabular",
        [*TABLE, "test/csv.path='no_price.csv'"],
        ["expected the key 'price', got ['age', 'kind']; set TabularTask.target", "Trainer.eval_datasets['test']"],
    ),
    "cell_is_a_word": (
        "tabular",
        [*TABLE, "train/csv.path='word.csv'"],
        ["column 'age', row 1 (counted from 0): expected a number", "got 'two'"],
    ),
    "cell_of_the_test_is_a_word": (
        "tabular",
        [*TABLE, "test/csv.path='word.csv'"],
        ["column 'age' holds strings: expected numbers, as TabularTask.numeric", "Trainer.eval_datasets['test']"],
    ),
    "cell_is_a_word_and_the_dtype_is_given": (
        *(
            "tabular",
            [*TABLE, "train/csv.path='word.csv'", "train/csv.columns={'age': 'float32', 'price': 'float32'}"],
        ),
        ["csv: word.csv:3: ", "'two'"],
    ),
    "cell_is_empty": (
        "tabular",
        [*TABLE, "train/csv.path='empty.csv'"],
        ["csv: empty.csv:3: column 'age' has no value"],
    ),
    "line_is_short": (
        "tabular",
        [*TABLE, "train/csv.path='short.csv'"],
        ["csv: short.csv:3: Expected 3 columns, got 2"],
    ),
    "categories_are_numbers_in_the_test": (
        "tabular",
        [*TABLE, "test/csv.path='numbers.csv'"],
        ["column 'kind' holds int64: expected strings", "csv.columns = {'kind': 'string'}"],
    ),
    "parquet_is_a_text": (
        "tabular",
        [*TABLE, "train_rows=@train/parquet", "train/parquet.path='good.csv'"],
        ["parquet: 'good.csv' is damaged or no Parquet file"],
    ),
    "text_is_not_utf_8": (
        "text_classifier",
        ["labelled_text.path='latin'"],
        ["latin/ham/b.txt:2 isn't UTF-8"],
    ),
    "class_has_no_text": (
        "text_classifier",
        ["labelled_text.path='blank'"],
        ["'blank/ham': expected at least two lines of the class 'ham', got 0"],
    ),
    "only_one_class": (
        "text_classifier",
        ["labelled_text.path='single'"],
        ["labelled_text.path = 'single': expected at least two folders", "['spam']"],
    ),
    "texts_of_another_class": (
        "text_classifier",
        ["labelled_text.path='third'"],
        ["Trainer.train_dataset: expected labels from 0 to 1", "got 2"],
    ),
    "mnist_of_another_format": (
        "mnist_cnn",
        ["mnist.path='magic'"],
        ["idx: 'magic/train-images-idx3-ubyte' isn't an IDX file", "got 00 00 07 03"],
    ),
    "mnist_test_is_a_web_page": (
        "mnist_cnn",
        ["mnist.path='html'", "cnn.filters=(4,)"],
        ["idx: 'html/t10k-labels-idx1-ubyte' isn't an IDX file", "got 3c 68 74 6d"],
    ),
    "mnist_is_cut": (
        "mnist_cnn",
        ["mnist.path='cut'"],
        ["idx: 'cut/train-images-idx3-ubyte' is truncated: expected 640 bytes", "got 635"],
    ),
    "mnist_gzip_is_cut": (
        "mnist_cnn",
        ["mnist.path='zip'"],
        ["idx: 'zip/train-images-idx3-ubyte.gz' is damaged"],
    ),
    "mnist_labels_are_few": (
        "mnist_cnn",
        ["mnist.path='uneven'"],
        ["10 images in 'uneven/train-images-idx3-ubyte' and 9 labels in 'uneven/train-labels-idx1-ubyte'"],
    ),
    "mnist_label_is_no_class": (
        "mnist_cnn",
        ["mnist.path='label'", "cnn.filters=(4,)"],
        ["Trainer.train_dataset: expected labels from 0 to 9", "got 42 for example 9"],
    ),
    "mnist_of_another_folder": (
        "mnist_cnn",
        ["mnist.path='pets'"],
        ["mnist.path = 'pets'", "'train-images-idx3-ubyte' is not there; got cat, dog"],
    ),
    "text_is_empty": (
        "char_lm",
        ["text.path='nothing.txt'"],
        ["text.length = 64: expected at most 0", "text.split = (0.0, 0.9)"],
    ),
    "text_is_too_short": (
        "char_lm",
        ["text.path='hello.txt'"],
        ["text.length = 64: expected at most 3", "has 4 tokens"],
    ),
    "text_is_too_short_to_evaluate": (
        "char_lm",
        ["text.path='300.txt'", "transformer.depth=1"],
        ["text.length = 64: expected at most 29", "text.split = (0.9, 1.0) has 30 tokens"],
    ),
    "one_of_two_texts_is_gone": (
        "char_lm",
        ["text.path=['300.txt', 'gone.txt']"],
        ["text.path", "'gone.txt', got none"],
    ),
}
# One of each config; the others take the same way.
QUICK = ("image_is_a_text", "cell_is_a_word", "text_is_not_utf_8", "mnist_of_another_format", "text_is_too_short")


@pytest.fixture
def contents(command, write_idx):
    """Folders and files, of which each has one mistake."""
    at = command.folder
    write_images(at)
    write_tables(at)
    write_texts(at)
    write_mnist(at, write_idx)
    return at


def write_images(at):
    for name in ("pets", "page", "torn", "notes", "three"):
        for kind in ("cat", "dog", "eel")[: 3 if name == "three" else 2]:
            (at / name / kind).mkdir(parents=True)
            for number in range(4):
                pixels = tf.fill([8, 8, 1], tf.cast(number, tf.uint8))
                (at / name / kind / f"{number}.png").write_bytes(tf.io.encode_png(pixels).numpy())
    (at / "page/cat/3.png").write_text("<html>Not found</html>")
    for file in (at / "torn").rglob("*.png"):
        file.write_bytes(file.read_bytes()[:40])
    (at / "notes/cat/notes.txt").write_text("Cats are not dogs.")
    (at / "labels.csv").write_text("file,label\ncat/0.png,0\ncat/77.png,1\n")


def write_tables(at):
    tables = {
        "good": "age,kind,price\n1,a,2\n2,b,3\n3,a,4\n",
        "no_kind": "age,price\n1,2\n",
        "no_price": "age,kind\n1,a\n",
        "word": "age,kind,price\n1,a,2\ntwo,b,3\n3,a,4\n",
        "empty": "age,kind,price\n1,a,2\n,b,3\n3,a,4\n",
        "short": "age,kind,price\n1,a,2\n2,b\n3,a,4\n",
        "numbers": "age,kind,price\n1,7,2\n",
    }
    for name, text in tables.items():
        (at / f"{name}.csv").write_text(text)


def write_texts(at):
    for name in ("latin", "blank", "single", "third"):
        for kind in {"single": ("spam",), "third": ("eggs", "ham", "spam")}.get(name, ("ham", "spam")):
            (at / name / kind).mkdir(parents=True)
            (at / name / kind / "a.txt").write_text("".join(f"{kind} with word {number}\n" for number in range(20)))
    (at / "latin/ham/b.txt").write_bytes("this is fine\ncafé".encode("latin-1"))
    (at / "blank/ham/a.txt").write_text("\n \n")
    for name, text in {"nothing": "", "hello": "Hello", "300": "x" * 300}.items():
        (at / f"{name}.txt").write_text(text)


def write_mnist(at, write_idx):
    for name in ("magic", "html", "cut", "zip", "uneven", "label"):
        (at / name).mkdir()
        for part in ("train", "t10k"):
            write_idx(at / name / f"{part}-images-idx3-ubyte", np.zeros((10, 8, 8)))
            write_idx(at / name / f"{part}-labels-idx1-ubyte", np.arange(10))
    (at / "magic/train-images-idx3-ubyte").write_bytes(b"\0\0\7\3" + bytes(50))
    (at / "html/t10k-labels-idx1-ubyte").write_text("<html>Not found</html>")
    images = at / "cut/train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-5])
    images = (at / "zip/train-images-idx3-ubyte").rename(at / "zip/train-images-idx3-ubyte.gz")
    images.write_bytes(gzip.compress(images.read_bytes())[:-9])
    write_idx(at / "uneven/train-labels-idx1-ubyte", np.arange(9))
    write_idx(at / "label/train-labels-idx1-ubyte", np.append(np.arange(9), 42))


@pytest.mark.parametrize(
    "case", [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in CONTENTS]
)
def test_bad_content(case, command, contents):
    before = sorted(contents.rglob("*"))
    config, bindings, told = CONTENTS[case]
    done = command(*(PARAM + each for each in bindings), gin_file=f"{config}.gin")
    assert done.returncode == 2, done.stdout + done.stderr
    assert [each for each in told if each not in done.stderr] == [], done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 6
    assert sorted(contents.rglob("*")) == before


def test_a_missing_required_value(command):
    done = command(PARAM + "Trainer.train_steps=3", gin_file=None)
    assert done.returncode == 2
    assert "Trainer.task is required but not bound" in done.stderr


# What is in the way of `import tensorflow` if it is found first.
NO_TENSORFLOW = "raise AssertionError('TensorFlow was loaded')"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "No config: give --gin_file=digits.gin"),
        (["--gin_file=digits.gin"], "--model_dir is required"),
        (
            ["--gin_file=digit.gin", "--model_dir=run"],
            '--gin_file: no config file "digit.gin": did you mean "digits.gin"',
        ),
        (["--gin_file=digits.gin", "--model_dir=run/tensorflow.py"], "run/tensorflow.py"),
        *[
            (["--gin_file=digits.gin", "--model_dir=/proc/run", f"--mode={mode}"], "--model_dir=/proc/run")
            for mode in MODES
            if mode not in ("check", "replay", "tune")  # a replay needs a step, too; the others write nothing
        ],
    ],
)
def test_what_the_flags_tell_is_said_before_tensorflow_is_loaded(command, flags, message):
    (command.folder / "run").mkdir()
    (command.folder / "run" / "tensorflow.py").write_text(NO_TENSORFLOW)
    done = command.started(*flags, PYTHONPATH=str(command.folder / "run"))
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_traceback_is_in_the_log_when_asked_for(command):
    done = command("--verbosity=1", gin_file="nowhere.gin")
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_another_model_than_the_checkpoints(trained):
    before = (trained.model_dir / "config.gin").read_text()
    done = trained(PARAM + "mlp.hidden=(32,)", PARAM + "Trainer.train_steps=70")
    assert done.returncode == 2
    assert "mlp/dense/kernel: (64, 512) in the checkpoint, (64, 32) in the model" in done.stderr
    assert (trained.model_dir / "config.gin").read_text() == before
