"""Labelled texts: what a text is, the split, and what is refused."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from tallyloop.data import labelled_text, standard_packages


@pytest.fixture
def folder(tmp_path):
    """Two classes: three different lines in two files, and two lines."""
    for name, content in {
        "b/1.txt": "x\n\n y \nx\n",
        "b/deep/2.txt": "z",
        "a/1.txt": "x\nw\n",
        "_no/1.txt": "n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def rows(source):
    return source.__getitems__(np.arange(len(source)))


class TestTexts:
    def test_are_the_different_lines_of_each_class(self, folder):
        source = labelled_text(folder, split="all")
        found = rows(source)
        assert (found["text"].tolist(), found["label"].tolist()) == (["x", "w", "x", "y", "z"], [0, 0, 1, 1, 1])
        assert source.classes == ["a", "b"]

    def test_are_files(self, folder):
        (folder / "a/2.txt").write_text("v")
        found = rows(labelled_text({"one": folder / "a", "two": folder / "b"}, split="all", unit="files"))
        assert found["text"].tolist() == ["x\nw\n", "v", "x\n\n y \nx\n", "z"]

    def test_of_the_standard_library(self):
        assert standard_packages(("asyncio",)) == {"asyncio": str(Path(asyncio.__file__).parent)}


class TestSplit:
    def test_parts_make_the_whole(self, folder):
        parts = {
            split: rows(labelled_text(folder, split=split, test_fraction=0.4)) for split in ("train", "test", "all")
        }
        pairs = {split: set(zip(part["text"], part["label"], strict=True)) for split, part in parts.items()}
        assert pairs["train"] | pairs["test"] == pairs["all"]
        assert not pairs["train"] & pairs["test"]
        assert np.bincount(parts["test"]["label"]).tolist() == [1, 1]  # of 2 and of 3

    def test_changes_the_fingerprint(self, folder):
        prints = {labelled_text(folder, split=split).fingerprint for split in ("train", "test", "train")}
        assert len(prints) == 2


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (
                {"path": "nowhere"},
                "labelled_text.path = 'nowhere': expected a folder with a folder for each class, got a path",
            ),
            ({"path": 3}, "labelled_text.path = 3: expected a folder, or a dict class -> folder"),
            (
                {"path": {"a": "nowhere", "b": "."}},
                "labelled_text.path: 'nowhere': expected a folder, which isn't there",
            ),
            ({"unit": "words"}, "labelled_text.unit = 'words': expected 'lines' or 'files'"),
            ({"split": "dev"}, "labelled_text.split = 'dev': expected 'train', 'test' or 'all'"),
            ({"test_fraction": 1.0}, "labelled_text.test_fraction = 1.0: expected a number between 0 and 1"),
        ],
    )
    def test_wrong_arguments_are_refused(self, folder, refused, arguments, message):
        with refused(message):
            labelled_text(**{"path": folder, **arguments})

    def test_one_class(self, folder, refused):
        with refused("expected at least two folders, one for each class, got ['deep']"):
            labelled_text(folder / "b")

    def test_class_without_texts(self, folder, refused):
        (folder / "c").mkdir()
        with refused(f"'{folder}/c': expected at least two lines of the class 'c', got 0"):
            labelled_text(folder)

    def test_other_encodings(self, folder, refused):
        (folder / "a/1.txt").write_bytes(b"fine\nna\xefve")
        with refused(f"{folder}/a/1.txt:2 isn't UTF-8"):
            labelled_text(folder)

    def test_unknown_package(self, refused):
        with refused("standard_packages.names: 'asincio': expected packages of the standard library"):
            standard_packages(("asincio",))
