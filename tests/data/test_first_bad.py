"""The first bad example is named: its index, and what it raised."""

import inspect
import re

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics.errors import DataError


@pytest.fixture
def flaky():
    """A map function that raises for its third example, and not again."""
    calls = []

    def check(y):
        calls.append(y)
        if len(calls) == 3:
            raise ValueError("no luck")
        return y

    return lambda example: {"y": tf.ensure_shape(tf.py_function(check, [example["y"]], tf.int64), [])}


@pytest.mark.parametrize(
    ("kind", "mode"), [("stream", "open_train"), ("arrays", "open_train"), ("arrays", "open_eval")]
)
def test_the_index_is_named(numbered, stream_of, data_error, raising, kind, mode):
    rows = {name: array[1:] for name, array in numbered(23).items()}
    error = data_error(
        getattr(Input(stream_of(rows) if kind == "stream" else rows, 4, shuffle=False, map_fn=raising), mode)()
    )
    assert isinstance(error, DataError)
    assert re.search(r"(example 2 \(counted from 0\)|row 2): .*a bad one:", str(error))
    assert "\n" not in str(error)
    assert 'skip such examples with Input.on_error = "skip"' in str(error)


def test_what_python_raises_is_quoted(numbered, stream_of, data_error, bad):
    def check(y):
        if y in bad:
            raise ValueError(f"a bad one: {y}")
        return y

    def in_python(example):
        return {"y": tf.ensure_shape(tf.py_function(check, [example["y"]], tf.int64), [])}

    for data in (numbered(23), stream_of(numbered(23))):
        error = data_error(Input(data, 4, shuffle=False, map_fn=in_python).open_train())
        assert re.search(r"(example 0 \(counted from 0\)|row 0): ValueError: a bad one: 0", str(error))
        assert "\n" not in str(error)


def test_what_an_operation_raises_is_named(numbered, stream_of, data_error):
    def decode(example):
        text = tf.where(example["y"] == 2, "no number", tf.as_string(example["y"]))
        return {"y": tf.strings.to_number(text, tf.int64)}

    for data in (numbered(9), stream_of(numbered(9))):
        error = data_error(Input(data, 4, shuffle=False, map_fn=decode).open_train())
        assert re.search(r"(example 2 \(counted from 0\)|row 2): .*no number", str(error))
        line = inspect.getsourcelines(decode)[1] + 2
        assert f" (at {__file__}:{line}, in decode). Fix or remove it" in str(error)


def test_shuffled_arrays_name_the_row_that_was_met(numbered, data_error, bad, raising):
    feed = Input(numbered(23), 4, shuffle=True, map_fn=raising).open_train()
    order = Input(numbered(23), 4, shuffle=True).open_train()
    rows, _ = order.plan(tf.constant(2, tf.int64), tf.constant(4, tf.int64))
    met = next(row for row in rows.numpy().ravel() if row in bad)
    feed.seek(2)
    assert f"Input.map_fn, row {met}:" in str(data_error(feed, step=2))


def test_what_does_not_raise_again_is_quoted(numbered, data_error, flaky):
    error = data_error(Input(numbered(9), 4, map_fn=flaky).open_train())
    assert "did not raise again: ValueError: no luck" in str(error)


def test_an_error_of_the_model_is_not_one_of_the_data(numbered, stream_of):
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        tf.debugging.check_numerics(np.nan, "the model")
    for data in (numbered(9), stream_of(numbered(9))):
        assert Input(data, 4, map_fn=lambda example: example).open_train().data_error(raised.value, 0) is None
    assert Input(numbered(9), 4).open_train().data_error(raised.value, 0) is None
