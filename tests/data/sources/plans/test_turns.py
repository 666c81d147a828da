"""A schedule by weights, counted over all its windows."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tallyloop.data.sources.plans.turns import Turns, shares_of


class TestTurns:
    @settings(max_examples=80, deadline=None)
    @given(st.lists(st.integers(1, 40), min_size=1, max_size=7))
    def test_are_fair_over_any_window(self, shares):
        turns = Turns(shares)
        positions = np.arange(3 * turns.period)
        owners, counts = turns.at(positions)
        for source, share in enumerate(shares):
            had = np.concatenate([[0], np.cumsum(owners == source)])
            np.testing.assert_array_equal(counts[owners == source], np.arange(had[-1]))
            # period x (turns had - weight x turns), in whole numbers
            excess = had * turns.period - np.arange(len(had)) * share
            assert np.abs(excess).max() < turns.period or len(shares) == 1
            window = excess.max() - excess.min()
            assert window <= turns.period * (1 if len(shares) <= 2 else 2)

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.integers(1, 9), min_size=1, max_size=4), st.integers(1, 50))
    def test_the_end_of_so_many(self, shares, count):
        turns = Turns(shares)
        for source in range(len(shares)):
            end = turns.end_of(source, count)
            owners, _ = turns.at(np.arange(end))
            assert owners[-1] == source
            assert (owners == source).sum() == count

    def test_of_any_position_is_known_at_once(self):
        owners, counts = Turns([7, 3]).at(np.array([10**15, 10**15 + 9]))
        assert counts.tolist() == [7 * 10**14 if owner == 0 else 3 * 10**14 for owner in owners[:1]] + [
            7 * 10**14 + 6 if owners[1] == 0 else 3 * 10**14 + 2
        ]


class TestShares:
    @pytest.mark.parametrize(
        ("weights", "shares"),
        [
            ([0.7, 0.3], [7, 3]),
            ([0.7, 0.2, 0.1], [7, 2, 1]),
            ([1 / 3, 2 / 3], [1, 2]),
            ([20, 10], [2, 1]),
            ([1], [1]),
            ([np.float64(0.25), np.int64(1), Fraction(1, 7)], [7, 28, 4]),
        ],
    )
    def test_are_the_smallest_whole_numbers(self, weights, shares):
        assert shares_of("Mixture.sources", weights) == shares

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ([1, 0], "Mixture.sources: weight = 0: expected a number greater than 0"),
            ([1, float("nan")], "weight = nan: expected a number greater than 0"),
            ([1, True], "weight = True: expected a number greater than 0"),
            ([1, 0.123456789], "expected whole numbers that add up to at most 100000"),
        ],
    )
    def test_mistakes_are_refused(self, refused, weights, message):
        with refused(message):
            shares_of("Mixture.sources", weights)
