"""Documents from whatever holds them."""

import numpy as np
import pytest
from tallyloop.data.sources.plans.documents import Documents

LISTS = [[1, 2, 3], [], [4]]


class Batches:
    """Gives a stacked dict, as tables do."""

    def __len__(self):
        return 3

    def __getitems__(self, rows):
        found = np.empty(len(rows), object)
        found[:] = [LISTS[row] for row in rows]
        return {"tokens": found}


class Examples(Batches):
    def __getitems__(self, rows):
        return [{"tokens": LISTS[row]} for row in rows]


class Callable(Examples):
    """As a module of PyTorch may be."""

    def __call__(self):
        raise AssertionError("not a function that returns a source")


@pytest.mark.parametrize("source", [LISTS, Callable(), [{"tokens": each} for each in LISTS], Batches, Examples()])
def test_of_any_kind(source):
    documents = Documents(source, "tokens", None)
    assert documents.lengths().tolist() == [3, 0, 1]
    assert [each.tolist() for each in documents.read(np.array([2, 0]))] == [[4], [1, 2, 3]]
    assert documents.read(np.array([], np.int64)) == []


class Table(Batches):
    """Documents of one length, as an array."""

    def __init__(self, dtype, largest=6):
        self._rows = np.array([[1, 2], [3, 4], [5, largest]], dtype)

    def __getitems__(self, rows):
        return {"tokens": self._rows[rows]}


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint8])
def test_of_one_length_are_read_at_once(dtype):
    tokens = Documents(Table(dtype), "tokens", None).read(np.array([2, 0]))
    assert [(each.dtype, each.tolist()) for each in tokens] == [(np.int32, [5, 6]), (np.int32, [1, 2])]


def test_a_source_that_leaves_some_out_is_found_out():
    table = Table(np.int32)
    table.__class__ = type("Fewer", (Table,), {"__getitems__": lambda self, rows: {"tokens": self._rows[rows[:1]]}})
    with pytest.raises(ValueError, match="zip"):
        Documents(table, "tokens", None).lengths()


@pytest.mark.parametrize(("dtype", "largest"), [(np.int64, 2**31), (np.float32, 6)])
def test_of_one_length_that_are_no_tokens_are_named(refused, dtype, largest):
    with refused(f"packed: document {0 if dtype == np.float32 else 2} (counted from 0) is {np.dtype(dtype)} of shape"):
        Documents(Table(dtype, largest), "tokens", None).lengths()


def test_a_tokenizer_has_no_fingerprint():
    source = Batches()
    source.fingerprint = "f"
    assert Documents(source, "tokens", None).fingerprint == "f, 'tokens'"
    assert Documents(source, "tokens", list).fingerprint is None


def test_refuses_pairs(refused):
    with refused("packed: document 1 (counted from 0) is a tuple that is not an array"):
        Documents([[1, 2], ([1, 2], 0)], "tokens", None).lengths()
