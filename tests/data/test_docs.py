"""The configs in the guide to data, and the blocks that need a library; the other blocks are run with those of all guides."""

import ast
import inspect
import re
from pathlib import Path

import gin
import pytest
from tallyloop import data
from tallyloop.data import Input
from tallyloop.trainer import Trainer, config

GUIDE = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
CONFIGS = re.findall(r"^```ini\n(.*?)^```$", GUIDE, re.M | re.S)


@gin.register(module="test_docs")
def source():
    """A user's, which the guide names."""


@gin.register(module="test_docs")
def my_map_dataset():
    """Another one."""


@pytest.fixture(autouse=True)
def no_config_is_left():
    yield
    with gin.unlock_config():
        gin.clear_config()


class TestConfigs:
    """As the command loads them, which checks names, scopes, types and ranges."""

    SCOPES = ("Trainer.train_dataset = @train/Input()", 'Trainer.eval_datasets = {"test": @test/Input()}')

    @pytest.mark.parametrize("code", CONFIGS, ids=lambda code: code.partition("\n")[0])
    def test_are_right(self, tmp_path, code):
        (tmp_path / "block.gin").write_text(code)
        found = config.load([str(tmp_path / "block.gin")], self.SCOPES)
        assert not found.warnings

    def test_bind_a_trainer_and_each_source_of_a_library(self):
        bound = set(re.findall(r"^(?:\w+/)?(\w+)\.", "".join(CONFIGS), re.M))
        assert bound >= {Trainer.__name__, "huggingface", "tfds", "array_record", "grain"}


@pytest.mark.parametrize("code", re.findall(r"^```py\n(.*?)^```$", GUIDE, re.M | re.S), ids=["huggingface"])
def test_blocks_that_need_a_library_run(code, tmp_path, monkeypatch):
    library = re.match(r"import (\w+)", code)[1]
    pytest.importorskip(library, reason=f"{library} is not installed: pip install {library}")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "docs/data.md", "exec"), {})


def first_column(title):
    """The names in the first column of the table of a section."""
    section = GUIDE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    return sorted(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (\[?`.*?) \|", section, re.M))))


def defaults(title):
    """Name -> the value in the second column of the table of a section."""
    section = GUIDE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| `?(.*?)`? \|", section, re.M)
    return {name: ast.literal_eval(value.replace(",", "")) for name, value in rows}


class TestTables:
    def test_have_the_defaults_of_an_input(self):
        parameters = inspect.signature(Input).parameters.items()
        assert defaults("Batches") == {name: each.default for name, each in parameters if name != "source"}

    def test_have_all_arguments_of_an_input(self):
        assert first_column("Batches") == sorted(set(inspect.signature(Input).parameters) - {"source"})

    def test_have_all_sources(self):
        others = {"Feed", "Input", "augmented", "decode_image", "python_sources", "standard_packages"}
        assert first_column("Sources") == sorted({*data.__all__, "balanced_rows"} - others)
