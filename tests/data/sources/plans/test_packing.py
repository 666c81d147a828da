"""The plan of packs, counted."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tallyloop.data.sources.plans.packing import Plan, plan_packs


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 12))
def test_each_token_stands_once_and_none_is_over(lengths, size):
    plan = plan_packs(np.array(lengths, np.int64), size)
    tokens = [
        (document, start + i)
        for document, start, length in zip(plan.documents, plan.starts, plan.lengths, strict=True)
        for i in range(length)
    ]
    assert sorted(tokens) == [(document, i) for document, length in enumerate(lengths) for i in range(length)]
    filled = [plan.lengths[a:b].sum() for a, b in zip(plan.packs[:-1], plan.packs[1:], strict=True)]
    assert all(0 < each <= size for each in filled)
    # Best fit opens a pack only where none has room: at most one is half empty.
    assert sum(2 * each <= size for each in filled) <= 1


def test_pieces_go_where_the_least_space_remains():
    plan = plan_packs(np.array([7, 6, 3, 4, 12]), 10)
    packs = [plan.documents[a:b].tolist() for a, b in zip(plan.packs[:-1], plan.packs[1:], strict=True)]
    assert packs == [[0, 2], [1, 3], [4], [4]]


def test_is_the_same_from_its_files(tmp_path):
    plan = plan_packs(np.array([3, 9, 1]), 5)
    plan.save(tmp_path)
    for found, expected in zip(Plan.load(tmp_path), plan, strict=True):
        np.testing.assert_array_equal(found, expected)
