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
    assert [each.tolist() for each in documents.read([2, 0])] == [[4], [1, 2, 3]]


def test_a_tokenizer_has_no_fingerprint():
    source = Batches()
    source.fingerprint = "f"
    assert Documents(source, "tokens", None).fingerprint == "f, 'tokens'"
    assert Documents(source, "tokens", list).fingerprint is None


def test_refuses_pairs(refused):
    with refused("packed: document 1 (counted from 0) is a tuple that is no array"):
        Documents([[1, 2], ([1, 2], 0)], "tokens", None).lengths()
