"""The digits, compared with what scikit-learn ships."""

import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits
from tallyloop.data import digit_halves, digits


class TestArrays:
    def test_are_those_of_scikit_learn(self):
        pixels, labels = load_digits(return_X_y=True)
        found = digits(split="all")
        assert found["x"].dtype == np.float32
        assert found["y"].dtype == np.int64
        np.testing.assert_array_equal(found["x"] * 16, pixels)
        np.testing.assert_array_equal(found["y"], labels)
        assert (found["x"].min(), found["x"].max()) == (0, 1)

    def test_have_a_channel_unless_flat(self):
        np.testing.assert_array_equal(digits(flat=False)["x"].reshape(-1, 64), digits()["x"])
        assert digits(flat=False)["x"].shape[1:] == (8, 8, 1)


def test_halves_are_those_of_the_images():
    found, whole = digit_halves("test", seed=3), digits("test", seed=3)["x"].reshape(-1, 8, 8)
    np.testing.assert_array_equal(np.concatenate([found["query"], found["item"]], axis=2), whole)


class TestSplit:
    def test_is_stratified_and_complete(self):
        train, test, everything = (digits(split=split) for split in ("train", "test", "all"))
        of_class = np.bincount(everything["y"])
        np.testing.assert_array_equal(np.bincount(test["y"]), np.round(of_class * 0.2))
        assert (len(train["y"]), len(test["y"])) == (1438, 359)
        parts = np.concatenate([np.c_[part["x"], part["y"]] for part in (train, test)])
        whole = np.c_[everything["x"], everything["y"]]
        np.testing.assert_array_equal(np.sort(parts.view("V260").ravel()), np.sort(whole.view("V260").ravel()))

    def test_depends_on_the_seed_alone(self):
        np.testing.assert_array_equal(digits(seed=3)["y"], digits(seed=3)["y"])
        assert not np.array_equal(digits(split="test", seed=3)["x"], digits(split="test", seed=4)["x"])
        # The zeros among the first hundred that numpy.random.RandomState(0).permutation puts into the test part.
        zeros = np.flatnonzero(load_digits().target == 0)
        chosen = np.sort(np.random.RandomState(0).permutation(zeros)[:36])
        test = digits(split="test")
        np.testing.assert_array_equal(test["x"][test["y"] == 0] * 16, load_digits().data[chosen])

    def test_leaves_one_of_each_class_on_each_side(self):
        assert np.bincount(digits(split="test", test_fraction=1e-6)["y"]).tolist() == [1] * 10
        assert np.bincount(digits(split="train", test_fraction=1 - 1e-6)["y"]).tolist() == [1] * 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "valid"}, "digits.split = 'valid': expected 'train', 'test' or 'all'"),
        ({"test_fraction": 1.0}, "digits.test_fraction = 1.0: expected a number between 0 and 1"),
        ({"test_fraction": True}, "digits.test_fraction = True: expected a number between 0 and 1"),
        ({"seed": 0.5}, "digits.seed = 0.5: expected a whole number"),
        ({"flat": "no"}, "digits.flat = 'no': expected True or False"),
    ],
)
def test_wrong_arguments_are_refused(refused, arguments, message):
    with refused(message):
        digits(**arguments)


def test_a_missing_scikit_learn_is_named(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with refused('pip install "tallyloop[examples]"'):
        digits()
