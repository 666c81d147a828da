"""Windows of tokens."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tallyloop.data.sources.files import tokens
from tallyloop.data.sources.files.tokens import Tokens, Windows, of_bytes, of_characters, of_tokenizer


class TestWindows:
    @settings(max_examples=60, deadline=None)
    @given(n=st.integers(2, 60), length=st.integers(1, 9), stride=st.integers(1, 12))
    def test_are_all_that_fit(self, n, length, stride):
        if n < length + 1:
            return
        windows = Windows(Tokens(np.arange(n, dtype=np.uint8), None), length, stride, (0.0, 1.0))
        expected = [list(range(start, start + length)) for start in range(0, n - length, stride)]
        found = windows.__getitems__(np.arange(len(windows)))
        assert found["x"].tolist() == expected
        np.testing.assert_array_equal(found["y"], found["x"] + 1)


class TestTokens:
    def test_are_kept_in_few_bytes(self, tmp_path):
        (tmp_path / "a").write_text("".join(map(chr, range(1000, 1300))))
        assert of_characters([tmp_path / "a"]).numbers.dtype == np.uint16
        assert of_tokenizer([tmp_path / "a"], lambda text: [70000, 1]).numbers.dtype == np.uint32
        assert of_bytes([tmp_path / "a"]) == tmp_path / "a"  # and no bytes

    def test_of_a_mapped_file_are_not_pickled(self, tmp_path):
        (tmp_path / "a").write_bytes(bytes(range(256)) * 100)
        windows = Windows(tmp_path / "a", 4, 4, (0.5, 1.0))
        content = pickle.dumps(windows)
        assert len(content) < 1000
        assert pickle.loads(content).__getitems__(np.array([0]))["y"].tolist() == [[1, 2, 3, 4]]

    def test_keep_the_ends_of_lines_and_cross_chunks(self, tmp_path, monkeypatch):
        monkeypatch.setattr(tokens, "_CHUNK", 2)
        (tmp_path / "a").write_bytes("é\r\né\n".encode())
        found = of_characters([tmp_path / "a"])
        assert "".join(found.vocabulary[number] for number in found.numbers) == "é\r\né\n"


class TestRefused:
    @pytest.mark.parametrize("name", ["no", "."])
    def test_unreadable_files(self, tmp_path, refused, name):
        with refused("cannot be read"):
            of_characters([str(tmp_path / name)])
        with refused("cannot be read"):
            of_bytes([str(tmp_path / name)])

    def test_other_encodings(self, tmp_path, refused):
        (tmp_path / "a").write_bytes(b"caf\xe9!")
        with refused(
            "a' isn't UTF-8 (invalid continuation byte): expected UTF-8; convert it, or bind text.unit = 'bytes'"
        ):
            of_characters([str(tmp_path / "a")])
