"""The digits: compared with what scikit-learn ships."""

import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits
from tallyloop.data import digits
from tallyloop.metrics.errors import UsageError


def test_all_of_them():
    pixels, labels = load_digits(return_X_y=True)
    found = digits(split="all")
    assert found["x"].dtype == np.float32
    assert found["y"].dtype == np.int64
    np.testing.assert_array_equal(found["x"] * 16, pixels)
    np.testing.assert_array_equal(found["y"], labels)
    assert (found["x"].min(), found["x"].max()) == (0, 1)


def test_images_with_a_channel():
    np.testing.assert_array_equal(digits(flat=False)["x"].reshape(-1, 64), digits()["x"])
    assert digits(flat=False)["x"].shape[1:] == (8, 8, 1)


def test_the_split_is_stratified_and_complete():
    train, test, everything = (digits(split=split) for split in ("train", "test", "all"))
    of_class = np.bincount(everything["y"])
    np.testing.assert_array_equal(np.bincount(test["y"]), np.round(of_class * 0.2))
    assert (len(train["y"]), len(test["y"])) == (1438, 359)
    parts = np.concatenate([np.c_[part["x"], part["y"]] for part in (train, test)])
    whole = np.c_[everything["x"], everything["y"]]
    np.testing.assert_array_equal(np.sort(parts.view("V260").ravel()), np.sort(whole.view("V260").ravel()))


def test_the_split_is_the_seeds_alone():
    np.testing.assert_array_equal(digits(seed=3)["y"], digits(seed=3)["y"])
    assert not np.array_equal(digits(split="test", seed=3)["x"], digits(split="test", seed=4)["x"])
    # The zeros among the first hundred that numpy.random.RandomState(0).permutation puts into the test part.
    zeros = np.flatnonzero(load_digits().target == 0)
    chosen = np.sort(np.random.RandomState(0).permutation(zeros)[:36])
    test = digits(split="test")
    np.testing.assert_array_equal(test["x"][test["y"] == 0] * 16, load_digits().data[chosen])


def test_a_tiny_fraction_leaves_one_of_each_class():
    assert np.bincount(digits(split="test", test_fraction=1e-6)["y"]).tolist() == [1] * 10
    assert np.bincount(digits(split="train", test_fraction=1 - 1e-6)["y"]).tolist() == [1] * 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "valid"}, r"digits.split = 'valid': want one of \('train', 'test', 'all'\)"),
        ({"test_fraction": 1.0}, "digits.test_fraction = 1.0: want a number between 0 and 1"),
        ({"test_fraction": True}, "digits.test_fraction = True: want a number between 0 and 1"),
        ({"seed": 0.5}, "digits.seed = 0.5: want an integer"),
        ({"flat": "no"}, "digits.flat = 'no': want True or False"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(UsageError, match=message):
        digits(**arguments)


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UsageError, match=r'pip install "tallyloop\[examples\]"'):
        digits()
