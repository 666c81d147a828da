"""Whose turn it is: a fair schedule of sources by weight, in which each position is computed on its own."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from ....metrics.errors import UsageError
from ...checks import number

_LONGEST = 100_000  # turns until the schedule repeats


class Turns:
    """A schedule that gives each source its share of turns.

    After n turns from the start, each source has had n times its weight, to less than one turn. From any other turn on, it is
    to less than two turns, and to one with two sources. (For three or more sources, no schedule keeps every window within one
    turn, except for a few sets of weights: Fraenkel's conjecture.) The order is that of R. Tijdeman, "The chairman assignment
    problem", 1980. It repeats after `period` turns, so that it is a table.

    Args:
      shares: how many of the turns of a period each source has.
    """

    def __init__(self, shares: Sequence[int]):
        self.period: int = sum(shares)
        self._owner = _schedule(shares)
        self._shares = np.asarray(shares, np.int64)
        self._own = [np.flatnonzero(self._owner == source) for source in range(len(shares))]
        self._count = np.empty(self.period, np.int64)
        for own in self._own:
            self._count[own] = np.arange(len(own))

    def at(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the source of each position, and how many turns it had before."""
        cycles = positions // self.period
        places = positions - cycles * self.period
        owners = self._owner[places]
        return owners, cycles * self._shares[owners] + self._count[places]

    def end_of(self, source: int, turns: int) -> int:
        """Return after how many positions a source has had so many turns, at least one."""
        cycles, place = divmod(turns - 1, int(self._shares[source]))
        return cycles * self.period + int(self._own[source][place]) + 1


def shares_of(binding: str, weights: Sequence[Any]) -> list[int]:
    """Return the smallest whole numbers in the proportion of the weights.

    Raises:
      UsageError: a weight is not a positive number, or the numbers add up to more than 100,000.
    """
    parts = [_fraction(binding, weight) for weight in weights]
    common = math.lcm(*(part.denominator for part in parts))
    whole = [int(part * common) for part in parts]
    shares = [part // math.gcd(*whole) for part in whole]
    if sum(shares) > _LONGEST:
        raise UsageError(
            f"{binding}: weights {list(weights)} are as {shares}: expected whole numbers that add up to at most {_LONGEST}, or "
            "fractions with few digits, such as 0.7 and 0.3; round them"
        )
    return shares


def _fraction(binding: str, weight: Any) -> Fraction:
    given = number(f"{binding}: weight", weight, above=0)
    if isinstance(weight, numbers.Rational):
        return Fraction(weight)
    near = Fraction(given).limit_denominator(1000)  # what 1 / 3 was meant to be
    return near if float(near) == given else Fraction(repr(given))


def _schedule(shares: Sequence[int]) -> np.ndarray:
    """Return the source of each turn of a period.

    In whole numbers: `owed[k]` is period x (weight x turns - turns had), which the choice keeps at most
    period x (1 - 1 / (2n - 2)) from zero.
    """
    period, n = sum(shares), len(shares)
    owner = np.zeros(period, np.int16 if n < 2**15 else np.int64)
    if n == 1:
        return owner
    owed = [0] * n
    scale = 2 * n - 2
    for turn in range(period):
        for k, share in enumerate(shares):
            owed[k] += share
        # Those that may have a turn; of them, the one whose deadline, when it would be owed too much, is the first.
        ready = [k for k in range(n) if owed[k] * scale >= period]
        chosen = min(ready, key=lambda k: Fraction(period * (scale - 1) - owed[k] * scale, shares[k]))
        owed[chosen] -= period
        owner[turn] = chosen
    return owner
