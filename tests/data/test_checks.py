"""Validators of what a user bound."""

from fractions import Fraction

import numpy as np
import pytest
from tallyloop.data.checks import equal_length_arrays, number, one_of, seed_number, true_or_false, whole_number


class TestWholeNumber:
    @pytest.mark.parametrize("value", [1, np.int64(1), np.uint8(1)])
    def test_returns_an_int(self, value):
        found = whole_number("Input.n", value, least=1)
        assert (found, type(found)) == (1, int)

    @pytest.mark.parametrize("value", [0, True, 2.0, "3", None, np.ones(2)])
    def test_refuses_other_values(self, refused, value):
        with refused(f"Input.n = {value!r}: expected a whole number of at least 1"):
            whole_number("Input.n", value, least=1)

    def test_refuses_numbers_out_of_range(self, refused):
        assert whole_number("Input.n", 5, least=1, most=5) == 5
        with refused("Input.n = 6: expected a whole number from 1 to 5"):
            whole_number("Input.n", 6, least=1, most=5)

    def test_names_what_else_is_accepted(self, refused):
        with refused("Trainer.n = -1: expected a whole number of at least 0, or None"):
            whole_number("Trainer.n", -1, least=0, otherwise="None")


class TestNumber:
    @pytest.mark.parametrize("value", [0.5, 1, np.float32(0.5), np.int64(1), Fraction(1, 2)])
    def test_returns_a_float(self, value):
        found = number("Input.x", value)
        assert (found, type(found)) == (value, float)

    @pytest.mark.parametrize("value", [True, np.True_, "1", None, float("nan"), 10**400, np.ones(2), [1.0]])
    def test_refuses_other_values(self, refused, value):
        with refused(f"Input.x = {value!r}: expected a number"):
            number("Input.x", value)

    @pytest.mark.parametrize("value", [float("inf"), float("-inf"), np.float32("inf")])
    def test_says_that_infinity_is_refused(self, refused, value):
        with refused(f"Input.x = {value!r}: expected a finite number"):
            number("Input.x", value)

    @pytest.mark.parametrize(
        ("bounds", "good", "bad", "told"),
        [
            ({"least": 0}, [0, 5], [-0.1], "a number of at least 0"),
            ({"most": 2.5}, [2.5, -1], [2.6], "a number of at most 2.5"),
            ({"above": 0}, [0.1], [0, -1], "a number greater than 0"),
            ({"below": 1}, [0.9], [1, 2], "a number less than 1"),
            ({"least": 0, "most": 1}, [0, 0.5, 1], [-0.1, 1.1], "a number from 0 to 1"),
            ({"above": 0, "below": 1}, [0.5], [0, 1], "a number between 0 and 1"),
            ({"least": 0, "below": 1}, [0, 0.5], [-0.1, 1], "a number of at least 0 and less than 1"),
            ({"above": 0, "otherwise": "None"}, [1], [0, None], "a number greater than 0, or None"),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
    )
    def test_keeps_to_the_bounds(self, refused, bounds, good, bad, told):
        assert [number("Input.x", value, **bounds) for value in good] == good
        for value in bad:
            with refused(f"Input.x = {value!r}: expected {told}"):
                number("Input.x", value, **bounds)


class TestSeedNumber:
    @pytest.mark.parametrize("value", [0, 2**32 - 1])
    def test_takes_32_bits(self, value):
        assert seed_number("Input.seed", value) == value

    @pytest.mark.parametrize("value", [-1, 2**32, 0.5])
    def test_refuses_other_values(self, refused, value):
        with refused(f"Input.seed = {value}: expected a whole number from 0 to 4294967295"):
            seed_number("Input.seed", value)


class TestTrueOrFalse:
    @pytest.mark.parametrize("value", [True, False, np.True_, np.False_])
    def test_returns_a_bool(self, value):
        found = true_or_false("Input.flag", value)
        assert (found, type(found)) == (bool(value), bool)

    @pytest.mark.parametrize("value", ["False", 1, None])
    def test_refuses_what_python_takes_for_one(self, refused, value):
        with refused(f"Input.flag = {value!r}: expected True or False"):
            true_or_false("Input.flag", value)


class TestOneOf:
    def test_returns_the_word(self):
        assert one_of("Input.word", "b", ("a", "b")) == "b"

    @pytest.mark.parametrize("value", ["d", None, ["a"]])
    def test_lists_the_words(self, refused, value):
        with refused(f"Input.word = {value!r}: expected 'a', 'b' or 'c'"):
            one_of("Input.word", value, ("a", "b", "c"))


class Splits(list):
    """Rows by number, as a library has them."""

    def __getitems__(self, rows):
        return [self[row] for row in rows]


class TestEqualLengthArrays:
    def test_converts_lists(self):
        found = equal_length_arrays("it", {"x": [[1.0], [2.0]], "s": ["a", "b"]})
        assert [(type(array), len(array)) for array in found.values()] == [(np.ndarray, 2)] * 2

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({}, "it has no arrays: expected a dict"),
            ({"x": [1, 2], "y": [1, 2, 3]}, "it has arrays of different lengths {'x': 2, 'y': 3}: expected the same"),
            ({"x": [], "y": []}, "it has no examples (lengths {'x': 0, 'y': 0}): expected at least one"),
            ({"x": np.array([{}, {}])}, "it: 'x' has dtype object, which holds Python objects: expected numbers"),
            (
                {"train": Splits()},
                "it: 'train' is a Splits, rows by number: expected an array; give Input one such source",
            ),
            ({"s": np.array(["a", "b"], object)}, "it: 's' has dtype object, which holds Python objects"),
            ({"x": [[1], [1, 2]]}, "it: 'x' cannot be converted to an array"),
            ({"x": 3.0}, "it: 'x' is a single value: expected an array with one row per example"),
            ({3: [1, 2]}, "it: expected strings as keys, got 3 of type int"),
            (([1], {"a": {"b": [1, 2]}}), "it has arrays of different lengths {'0': 1, '1/a/b': 2}"),
            ({"x": {"a": ({3: [1]},)}}, "it: expected strings as keys, got 3 of type int"),
            ({"x": {}, "y": ()}, "it has no arrays: expected a dict"),
        ],
    )
    def test_refuses(self, refused, arrays, message):
        with refused(message):
            equal_length_arrays("it", arrays)
