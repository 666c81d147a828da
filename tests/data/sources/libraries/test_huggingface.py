"""Datasets of the library `datasets`, local ones."""

import io
import sys

import numpy as np
import pytest
from tallyloop.data import bucketed, digits, huggingface, packed

datasets = pytest.importorskip("datasets", reason='datasets is not installed: pip install "tallyloop[huggingface]"')

COLUMNS = {"x": [[i, i + 0.5] for i in range(6)], "y": list(range(6)), "s": [f"row {i}" for i in range(6)]}


@pytest.fixture
def saved(tmp_path):
    """saved(dataset) -> the folder it was saved to."""
    datasets.disable_progress_bars()

    def save(dataset):
        dataset.save_to_disk(tmp_path / "saved")
        return tmp_path / "saved"

    return save


class TestRows:
    def test_of_a_folder(self, saved, by_number):
        source = huggingface(saved(datasets.Dataset.from_dict(COLUMNS)))
        found = by_number(source)
        for name, values in COLUMNS.items():
            assert found[name].tolist() == values
        assert found["x"].dtype == np.float64
        assert source.__getitems__(np.array([], np.int64))["y"].shape == (0,)

    def test_in_the_order_of_a_shuffled_dataset(self, by_number):
        shuffled = datasets.Dataset.from_dict(COLUMNS).shuffle(seed=0)
        found = by_number(huggingface(lambda: shuffled, columns=["y"]))
        assert list(found) == ["y"]
        assert found["y"].tolist() == shuffled["y"][:]

    def test_of_a_split(self, saved):
        folder = saved(
            datasets.DatasetDict(a=datasets.Dataset.from_dict(COLUMNS), b=datasets.Dataset.from_dict({"z": [1]}))
        )
        assert len(huggingface(folder, split="a")) == 6
        assert huggingface(folder, split="b").__getitems__(np.array([0]))["z"].tolist() == [1]

    def test_of_files_that_load_dataset_takes(self, tmp_path):
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "train.csv").write_text("x,y\n1,a\n2,b\n")
        found = huggingface(
            lambda: datasets.load_dataset(str(tmp_path / "data"), cache_dir=tmp_path / "cache"), split="train"
        )
        assert found.__getitems__(np.array([1]))["y"].tolist() == ["b"]

    def test_of_images(self, by_number):
        image = pytest.importorskip("PIL.Image")
        pixels = (digits(flat=False)["x"][:2, ..., 0] * 255).astype(np.uint8)
        features = datasets.Features(image=datasets.Image())
        made = datasets.Dataset.from_dict({"image": [image.fromarray(each) for each in pixels]}, features=features)
        found = by_number(huggingface(lambda: made))["image"]
        for content, each in zip(found, pixels, strict=True):
            np.testing.assert_array_equal(np.asarray(image.open(io.BytesIO(content))), each)

    def test_packed(self, by_number):
        tokens = datasets.Dataset.from_dict({"input_ids": [[1, 2, 3], [4], [5, 6]]})
        found = by_number(packed(huggingface(lambda: tokens), length=4, key="input_ids"))
        assert found["tokens"].tolist() == [[1, 2, 3, 4], [5, 6, 0, 0]]

    def test_bucketed(self, monkeypatch, tmp_path):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        columns = {"input_ids": [[1, 2, 3], [4], [5, 6]], "attention_mask": [[1, 1, 1], [1], [1, 1]]}
        source = huggingface(lambda: datasets.Dataset.from_dict(columns))
        found = bucketed(source, [4], keys=list(columns)).__getitems__(np.arange(3))
        assert found["input_ids"].tolist() == [[1, 2, 3, 0], [4, 0, 0, 0], [5, 6, 0, 0]]
        assert found["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 0, 0]]
        assert found["length"].tolist() == [3, 1, 2]


class TestFingerprint:
    def test_is_of_the_content(self, saved):
        first = huggingface(saved(datasets.Dataset.from_dict(COLUMNS))).fingerprint
        assert huggingface(lambda: datasets.Dataset.from_dict(COLUMNS)).fingerprint == first
        for row in range(6):
            changed = datasets.Dataset.from_dict(COLUMNS | {"y": [9 if i == row else i for i in range(6)]})
            assert huggingface(lambda changed=changed: changed).fingerprint != first

    def test_is_of_rows_throughout(self):
        """Of 5,000 rows, every fifth or so is compared."""
        rows = np.arange(5000)
        first = huggingface(lambda: datasets.Dataset.from_dict({"y": rows})).fingerprint
        changed = datasets.Dataset.from_dict({"y": np.where((rows > 1000) & (rows < 1010), 0, rows)})
        assert huggingface(lambda: changed).fingerprint != first


class TestRefused:
    def test_splits_and_columns(self, saved, refused):
        folder = saved(datasets.DatasetDict(a=datasets.Dataset.from_dict(COLUMNS)))
        with refused("huggingface.split = None: expected one of ['a']; bind it"):
            huggingface(folder)
        with refused("has no column ['q']: expected some of ['x', 'y', 's']; change huggingface.columns"):
            huggingface(folder, "a", columns=["q"])

    def test_missing_values_and_ragged_lists(self, refused):
        holes = huggingface(lambda: datasets.Dataset.from_dict({"x": [1, 2, None]}))
        with refused("row 2 (counted from 0): column 'x' has no value: expected one in each row"):
            holes.__getitems__(np.array([0, 2]))
        ragged = huggingface(lambda: datasets.Dataset.from_dict({"x": [[1], [2, 3]]}))
        with refused("row 1 (counted from 0): column 'x' has a list of 2: expected 1 values"):
            ragged.__getitems__(np.array([0, 1]))

    def test_streams_and_empty_ones(self, refused):
        with refused("expected a datasets.Dataset with rows, got a IterableDataset; load it without streaming"):
            huggingface(lambda: datasets.Dataset.from_dict(COLUMNS).to_iterable_dataset())
        with refused("expected a datasets.Dataset with rows"):
            huggingface(lambda: datasets.Dataset.from_dict({"x": []}))

    def test_damaged_folders(self, saved, refused):
        folder = saved(datasets.Dataset.from_dict(COLUMNS))
        (folder / "state.json").write_text("{")
        with refused("saved'): expected a folder that save_to_disk wrote, got JSONDecodeError: "):
            huggingface(folder)

    def test_a_missing_library(self, refused, monkeypatch):
        monkeypatch.setitem(sys.modules, "datasets", None)
        with refused('pip install "tallyloop[huggingface]"'):
            huggingface("x")
