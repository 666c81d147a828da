"""Packs of documents: their tokens, counted, and their segments."""

import collections

import numpy as np
import pytest
from tallyloop.data import packed, text


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tallyloop"


class Kept:
    """Documents with a fingerprint, that counts how often one is read."""

    def __init__(self, documents, fingerprint="documents"):
        self.documents, self.fingerprint, self.reads = documents, fingerprint, 0

    def __len__(self):
        return len(self.documents)

    def __getitem__(self, row):
        self.reads += 1
        return {"input_ids": self.documents[row], "more": 1}


def test_an_example(by_number):
    found = by_number(packed([[5, 6, 7], [8, 9], [], [1, 2, 3, 4, 5, 6]], length=5))
    assert found["tokens"].tolist() == [[5, 6, 7, 8, 9], [1, 2, 3, 4, 5], [6, 0, 0, 0, 0]]
    assert found["segment_ids"].tolist() == [[1, 1, 1, 2, 2], [1] * 5, [1, 0, 0, 0, 0]]
    assert found["positions"].tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 3, 4], [0] * 5]
    assert {array.dtype for array in found.values()} == {np.dtype("int32")}


def test_no_token_is_lost_or_twice(by_number):
    rng = np.random.default_rng(0)
    numbers = iter(range(1, 10**6))  # a number of its own for each token
    documents = [[next(numbers) for _ in range(rng.integers(0, 40))] for _ in range(50)]
    found = by_number(packed(documents, length=16))
    counted = collections.Counter(found["tokens"][found["segment_ids"] > 0].tolist())
    assert counted == collections.Counter(token for document in documents for token in document)


@pytest.mark.parametrize("longest", [5, 30], ids=["whole documents", "pieces"])
def test_packs_are_the_same_in_any_order(longest):
    rng = np.random.default_rng(1)
    packs = packed([rng.integers(0, 99, rng.integers(0, longest)) for _ in range(40)], length=8)
    rows = rng.integers(0, len(packs), 20)
    found, one_by_one = packs.__getitems__(rows), [packs.__getitems__(row[np.newaxis]) for row in rows]
    for name, values in found.items():
        np.testing.assert_array_equal(values, np.concatenate([each[name] for each in one_by_one]))


class TestSources:
    def test_texts_with_a_tokenizer(self, tmp_path, by_number):
        (tmp_path / "a.txt").write_text("ab\nabc\n")
        source = packed(text(tmp_path / "a.txt", unit="lines"), length=6, key="text", tokenizer=ordinals)
        assert by_number(source)["tokens"].tolist() == [[97, 98, 97, 98, 99, 0]]

    def test_functions_and_dicts(self, by_number):
        assert by_number(packed(lambda: [{"tokens": [1, 2]}], length=2))["tokens"].tolist() == [[1, 2]]


def ordinals(line):
    return [ord(character) for character in line]


class TestPlan:
    def test_is_kept_for_a_source_with_a_fingerprint(self, cache):
        first, second = Kept([[1, 2], [3]]), Kept([[1, 2], [3]])
        told = packed(first, 4, key="input_ids").fingerprint
        assert packed(second, 4, key="input_ids").fingerprint == told
        assert (first.reads, second.reads) == (2, 0)
        assert len(list(cache.iterdir())) == 1
        assert packed(Kept([[1, 2], [3]], "others"), 4, key="input_ids").fingerprint != told

    def test_that_a_changed_source_contradicts_is_told(self, refused):
        packed(Kept([[1, 2], [3]]), 4, key="input_ids")
        for tokens in ([1], [1, 2, 3]):
            changed = packed(Kept([tokens, [3]]), 4, key="input_ids")
            with refused(
                f"document 0 (counted from 0) has {len(tokens)} tokens: expected 2, as when the plan was made"
            ):
                changed.__getitems__(np.array([0]))


class TestRefused:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"length": 0}, "packed.length = 0: expected a whole number of at least 1"),
            ({"source": [[]]}, "packed.source has no tokens: expected at least one"),
            ({"source": {"tokens": [[1]]}}, "packed.source = {'tokens': [[1]]}: expected sequences of tokens"),
            ({"source": 3}, "packed.source = 3: expected sequences of tokens, or an object with __len__"),
            (
                {"source": ["abc"]},
                "packed: document 0 (counted from 0) is a text: expected tokens; bind packed.tokenizer",
            ),
            (
                {"source": [[1], [0.5]]},
                "packed: document 1 (counted from 0) is float64 of shape (1,): expected a sequence",
            ),
            ({"source": [{"x": [1]}]}, "packed.key = 'tokens': expected one of ['x'], which the source gives"),
            ({"tokenizer": 3}, "packed.tokenizer = 3: expected a function"),
        ],
    )
    def test_wrong_arguments_are_refused(self, refused, arguments, message):
        with refused(message):
            packed(**{"source": [[1]], "length": 4} | arguments)
