"""What a step gets: the same rows, read, transformed and mapped in this order."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data.feeds.feed import Share
from tallyloop.data.feeds.order import Order
from tallyloop.data.rows.loader import Loader
from tallyloop.data.rows.rows import as_rows
from tallyloop.metrics.errors import DataError

TEN = [{"y": np.int64(row)} for row in range(10)]


def loader(transform=None, map_fn=None, skip=False, rows=TEN):
    order = Order(len(rows), batch_size=4, shuffle=False, seed=0, drop_remainder=False, endless=True)
    return Loader(as_rows(rows), order, transform, map_fn, skip)


def plus_one(example, rng):
    return {"y": example["y"] + 1}


def times_ten(example):
    return {"y": example["y"] * 10, "text": tf.strings.as_string(example["y"])}


def no_fives(example, rng):
    if example["y"] == 5:
        raise ValueError("a five")
    return example


def test_transforms_before_it_maps():
    found = loader(plus_one, times_ten)
    share = found.share(1, Share(1, 2))  # rows 6 and 7 of the batch from 4 to 7
    assert {key: values.tolist() for key, values in share.items()} == {"y": [70, 80], "text": [b"7", b"8"]}
    assert found.element_spec == {"y": tf.TensorSpec([], tf.int64), "text": tf.TensorSpec([], tf.string)}


def test_what_is_left_of_a_batch():
    found = loader(no_fives, times_ten, skip=True)
    whole, short = found.good(0), found.good(1)
    assert (whole.examples["y"].tolist(), whole.lost, whole.reason) == ([0, 10, 20, 30], 0, "")
    assert (short.examples["y"].tolist(), short.lost) == ([40, 60, 70], 1)
    assert "Input.transform, row 5: ValueError: a five" in short.reason
    only_fives = loader(no_fives, skip=True, rows=[*TEN[:4], *[{"y": np.int64(5)}] * 4])
    assert only_fives.good(1)[:2] == (None, 4)
    with pytest.raises(DataError, match="a five"):
        found.share(1, Share(0, 1))


def from_python(example):
    return {"y": tf.ensure_shape(tf.numpy_function(lambda y: y, [example["y"]], tf.int64), [])}


@pytest.mark.parametrize(
    ("map_fn", "repeatable"),
    [
        (None, True),
        (times_ten, True),
        (lambda example, seed: {"y": tf.random.stateless_uniform([], seed)}, True),
        (lambda example: {"y": tf.random.uniform([])}, False),
        (from_python, False),
    ],
)
def test_tells_whether_a_map_fn_gives_the_same_again(map_fn, repeatable):
    assert loader(map_fn=map_fn).repeatable == repeatable


class TestUnlikeRows:
    """Rows that don't fit to the first one are named, not left to TensorFlow."""

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            (
                [{"y": 1}] * 5 + [{"y": 1.5}],
                r"row 5: expected {'y': 'int64 \(\)'}, as row 0, got {'y': 'float64 \(\)'}",
            ),
            (
                [{"y": 1}] * 4 + [{"z": 1}] * 2,
                r"row 4: expected {'y': 'int64 \(\)'}, as row 0, got {'z': 'int64 \(\)'}",
            ),
            ([{"y": 1}] * 4 + [{"y": [1, 2]}] * 2, r"row 4: expected .*, got {'y': 'int64 \(2,\)'}"),
            ([{"y": 1}] * 4 + [{"y": None}] * 2, r"row 4: expected .*, got {'y': 'object of NoneType \(\)'}"),
            ([{"y": "a"}] * 4 + [{"y": None}] * 2, r"row 4: expected .*, got {'y': 'object of NoneType \(\)'}"),
            ([{"y": 1}] * 5 + [{"y": [1, 2]}], r"row 5, is unlike row 4: .*same shape"),
            ([{"y": 1}] * 5 + [None], r"row 5, is unlike row 4: .*expected one structure"),
        ],
    )
    def test_are_named(self, rows, message):
        with pytest.raises(DataError, match=message):
            loader(rows=rows).share(1, Share(0, 1))

    def test_of_a_transform(self):
        def ragged(example, rng):
            return {"y": np.zeros(2 if example["y"] == 6 else 3)}

        with pytest.raises(DataError, match=r"Input.transform, row 6, is unlike row 4: .*same shape"):
            loader(ragged).share(1, Share(0, 1))


class Named(list):
    def named(self, row):
        return f"picture {row}"


@pytest.mark.parametrize("how", ["transform", "map_fn"])
def test_errors_name_the_row_as_the_source_does(how):
    def broken(example, *rng):
        tf.debugging.assert_less(example["y"], np.int64(5))
        return example

    with pytest.raises(DataError, match=rf"Input.{how}, picture 5: "):
        loader(rows=Named(TEN), **{how: broken}).share(1, Share(0, 1))
