"""Text files: units, splits, and what is refused."""

import numpy as np
import pytest
from tallyloop.data import text


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_text("hello world, hällo")
    return path


def words(content):
    """A tokenizer: the length of each word."""
    return [len(word) for word in content.split()]


class TestUnits:
    def test_characters_by_their_place_in_the_vocabulary(self, book, by_number):
        source = text(book, length=5)
        assert source.vocabulary == " ,dehlorwä"
        found = by_number(source)
        assert found["x"].dtype == np.int32
        spelled = ["".join(source.vocabulary[i] for i in row) for row in found["x"]]
        assert spelled == ["hello", " worl", "d, hä"]
        assert ["".join(source.vocabulary[i] for i in row) for row in found["y"]] == ["ello ", "world", ", häl"]

    def test_bytes(self, tmp_path, by_number):
        for name, content in (("a", b"\0\xff\1"), ("b", b""), ("c", b"\2\3")):
            (tmp_path / name).write_bytes(content)
        assert by_number(text(f"{tmp_path}/*", length=4, unit="bytes"))["y"].tolist() == [[255, 1, 2, 3]]
        assert by_number(text(tmp_path / "a", length=1, unit="bytes"))["x"].tolist() == [[0], [255]]

    def test_tokens_of_a_tokenizer(self, book, by_number):
        assert by_number(text([book, book], length=2, tokenizer=words))["x"].tolist() == [[5, 6], [5, 5]]

    def test_tokens_of_the_library_tokenizers(self, book, by_number):
        library = pytest.importorskip("tokenizers", reason="tokenizers is not installed: pip install tokenizers")
        vocabulary = {"[UNK]": 0, "hello": 1, ",": 2, "world": 3}
        tokenizer = library.Tokenizer(library.models.WordLevel(vocabulary, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = library.pre_tokenizers.Whitespace()
        found = by_number(text(book, length=3, tokenizer=lambda content: tokenizer.encode(content).ids))
        assert (found["x"].tolist(), found["y"].tolist()) == ([[1, 3, 2]], [[3, 2, 0]])

    def test_lines(self, tmp_path, by_number):
        (tmp_path / "a").write_text("one\n\nthree\r\n", newline="")
        assert by_number(text(tmp_path / "a", unit="lines"))["text"].tolist() == ["one", "", "three"]


class TestSplit:
    @pytest.mark.parametrize("unit", ["characters", "bytes"])
    def test_parts_have_no_token_in_common_and_are_all(self, tmp_path, unit):
        (tmp_path / "a").write_text("".join(map(chr, range(100))))
        parts = [text(tmp_path / "a", 1, split=split, unit=unit) for split in ((0.0, 0.9), (0.9, 1.0))]
        seen = [
            set(np.concatenate([*part.__getitems__(np.arange(len(part))).values()]).ravel().tolist()) for part in parts
        ]
        assert seen == [set(range(90)), set(range(90, 100))]

    def test_the_vocabulary_is_that_of_the_whole(self, book):
        assert text(book, 2, split=(0.0, 0.3)).vocabulary == text(book, 2).vocabulary


class TestFingerprint:
    def test_is_of_the_content_and_the_windows(self, book):
        found = [
            text(book, 5),
            text(book, 5, 2),
            text(book, 4),
            text(book, 5, split=(0, 0.9)),
            text(book, 5, unit="bytes"),
        ]
        assert len({each.fingerprint for each in found}) == 5
        assert text(book, 5).fingerprint == found[0].fingerprint


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"length": None}, "text.length = None: expected a whole number of at least 1"),
            ({"stride": 0}, "text.stride = 0: expected a whole number of at least 1"),
            ({"unit": "words"}, "text.unit = 'words': expected 'characters', 'bytes' or 'lines'"),
            ({"split": (0.9, 0.1)}, "text.split = (0.9, 0.1): expected two fractions from 0 to 1"),
            ({"split": 0.9}, "text.split = 0.9: expected two fractions from 0 to 1"),
            ({"unit": "lines"}, "text.unit = 'lines': expected neither text.length nor text.stride"),
            ({"unit": "bytes", "tokenizer": words}, "expected a function, with text.unit = 'characters', got 'bytes'"),
            (
                {"tokenizer": lambda content: content.split()},
                "expected a sequence of token numbers from 0 to 2**31 - 1 of ",
            ),
            ({"tokenizer": lambda content: [-1]}, "expected a sequence of token numbers from 0 to 2**31 - 1 of "),
            ({"length": 18}, "text.length = 18: expected at most 17, as text.split = (0.0, 1.0) has 18 tokens"),
        ],
    )
    def test_wrong_arguments_are_refused(self, book, refused, arguments, message):
        with refused(message):
            text(**{"path": book, "length": 5} | arguments)
