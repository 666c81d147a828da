"""The files that predictions are written to."""

import json

import ml_dtypes
import numpy as np
import pyarrow.parquet
import pytest
from tallyloop.data import Input, parquet
from tallyloop.metrics import UsageError
from tallyloop.trainer.prediction import formats

ARRAYS = {
    "label": np.array([1, 2, 3], np.int64),
    "a/score": np.array([[0.5, 1.5], [2.5, 3.5], [4.5, 5.5]], np.float32),
    "cube": np.arange(12, dtype=np.int32).reshape(3, 2, 2),
    "yes": np.array([True, False, True]),
    "text": np.array([b"a", "größer".encode(), b""], object),
    "half": np.array([1, 2, 3], ml_dtypes.bfloat16),
}
PLAIN = ARRAYS | {"text": np.array(["a", "größer", ""]), "half": np.array([1, 2, 3], np.float32)}


def write(path, arrays, cut=1):
    """Write these arrays in two chunks."""
    formats.write(path, {name: lambda array=array: iter([array[:cut], array[cut:]]) for name, array in arrays.items()})
    return path


class TestFormats:
    def test_npz(self, tmp_path):
        stored = np.load(write(tmp_path / "p.npz", ARRAYS))
        assert stored.files == list(ARRAYS)
        for name, array in PLAIN.items():
            np.testing.assert_array_equal(stored[name], array)
            assert stored[name].dtype == array.dtype

    def test_npz_is_the_same_however_it_is_cut(self, tmp_path):
        one, other = write(tmp_path / "a.npz", ARRAYS), write(tmp_path / "b.npz", ARRAYS, cut=2)
        assert one.read_bytes() == other.read_bytes()

    def test_jsonl(self, tmp_path):
        lines = [json.loads(line) for line in write(tmp_path / "p.jsonl", ARRAYS).read_text().splitlines()]
        assert lines[1] == {
            "label": 2,
            "a/score": [2.5, 3.5],
            "cube": [[4, 5], [6, 7]],
            "yes": False,
            "text": "größer",
            "half": 2,
        }
        assert len(lines) == 3

    def test_jsonl_has_words_for_what_json_lacks(self, tmp_path):
        path = write(tmp_path / "p.jsonl", {"v": np.array([[np.nan, np.inf], [-np.inf, 1]])})
        assert path.read_text() == '{"v": ["NaN", "Infinity"]}\n{"v": ["-Infinity", 1.0]}\n'

    def test_parquet(self, tmp_path):
        found = pyarrow.parquet.read_table(write(tmp_path / "p.parquet", ARRAYS)).to_pylist()
        assert found == [{name: array[i].tolist() for name, array in PLAIN.items()} for i in range(3)]

    def test_parquet_is_a_source(self, tmp_path):
        path = write(tmp_path / "p.parquet", {name: ARRAYS[name] for name in ("label", "a/score")})
        feed = Input(parquet(str(path)), 3)
        assert feed.element_spec["a/score"].shape[1:].as_list() == [2]

    def test_small_chunks_share_a_row_group(self, tmp_path):
        path = write(tmp_path / "p.parquet", ARRAYS)
        assert pyarrow.parquet.ParquetFile(path).num_row_groups == 1

    @pytest.mark.parametrize("ending", ["jsonl", "parquet"])
    def test_numbers_that_a_format_lacks(self, tmp_path, ending):
        with pytest.raises(UsageError, match=r"the output 'c' has dtype complex64.*write .npz"):
            write(tmp_path / f"p.{ending}", {"c": np.zeros(2, np.complex64)})
        assert list(tmp_path.iterdir()) == []

    def test_bytes_that_are_no_text(self, tmp_path):
        with pytest.raises(UsageError, match=r"the output 'b' holds bytes that are not UTF-8.*encode_base64"):
            write(tmp_path / "p.npz", {"b": np.array([b"a", b"\xff"], object)})


class TestNames:
    def test_a_nested_dict_becomes_paths(self):
        outputs = {"label": 1, "parts": {"mean": 2, "inner": {"std": 3}}, "pair": (4, [5])}
        assert formats.named(outputs) == {
            "label": 1,
            "pair/0": 4,
            "pair/1/0": 5,
            "parts/inner/std": 3,
            "parts/mean": 2,
        }

    def test_what_is_in_no_dict_is_numbered(self):
        assert formats.named((1, [2, 3])) == {"output_0": 1, "output_1": 2, "output_2": 3}
        assert formats.named(1) == {"output_0": 1}

    def test_two_of_one_name(self):
        with pytest.raises(UsageError, match=r"two outputs have the same name in a file: \['a/b', 'a/b'\]"):
            formats.named({"a/b": 1, "a": {"b": 2}})

    @pytest.mark.parametrize(
        ("name", "message"),
        [("p.csv", r"expected a name that ends in .npz, .jsonl or .parquet\.$"), ("p.json", r'did you mean "jsonl"')],
    )
    def test_a_file_of_no_format(self, tmp_path, name, message):
        with pytest.raises(UsageError, match=message):
            formats.format_of(tmp_path / name)
