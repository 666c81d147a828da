"""Examples for which `map_fn` raises: named, or skipped and counted."""

import re

import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from tallyloop.data import Input, bad_examples
from tallyloop.metrics.errors import DataError, UsageError

BAD = (0, 3, 4, 11, 22)


def raising(example):
    is_bad = tf.reduce_any(example["y"] == tf.constant(BAD, tf.int64))
    with tf.control_dependencies([tf.debugging.Assert(~is_bad, ["a bad one:", example["y"]])]):
        return {"x": example["x"] * 2, "y": tf.identity(example["y"])}


def in_python(example):
    def check(y):
        if y in BAD:
            raise ValueError(f"a bad one: {y}")
        return y

    return {"x": example["x"], "y": tf.ensure_shape(tf.py_function(check, [example["y"]], tf.int64), [])}


def decoding(example):
    text = tf.where(tf.reduce_any(example["y"] == tf.constant(BAD, tf.int64)), "no number", tf.as_string(example["y"]))
    return {"x": example["x"], "y": tf.strings.to_number(text, tf.int64)}


def slices(arrays):
    return tf.data.Dataset.from_tensor_slices(arrays)


def unknown(arrays):
    return slices(arrays).filter(lambda example: True)


def taken(feed, steps, first=0):
    """(the labels of each batch, the skipped of each batch) up to the end of an evaluation."""
    labels, skipped = [], []
    plan = feed.plan(tf.constant(first, tf.int64), tf.constant(steps, tf.int64))
    for i in range(steps):
        part, n = feed.fetch(plan, tf.constant(i, tf.int64))
        if n == 0:
            break
        labels.append(feed.shard(part, n, 0, 1)[0]["y"].numpy().tolist())
        skipped.append(int(feed.skipped(part)))
    return labels, skipped


def flat(batches):
    return [label for batch in batches for label in batch]


def error_of(feed, step=0):
    compiled = tf.function(lambda: feed.fetch((), tf.constant(0, tf.int64))[1])
    for _ in range(20):
        try:
            compiled()
        except (tf.errors.OpError, UnicodeDecodeError) as error:
            return feed.data_error(error, step)
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize("map_fn", [raising, in_python, decoding])
@pytest.mark.parametrize(("make", "mode"), [(slices, "open_train"), (dict, "open_train"), (dict, "open_eval")])
def test_the_index_is_named(numbered, make, map_fn, mode):
    rows = {name: array[1:] for name, array in numbered(23).items()}
    error = error_of(getattr(Input(make(rows), 4, map_fn=map_fn), mode)())
    assert isinstance(error, DataError)
    assert re.search(r"example 2 (of the source )?\(counted from 0\)", str(error))
    assert "\n" not in str(error)
    assert 'Input.on_error = "skip"' in str(error)
    if map_fn is not decoding:
        assert "a bad one:" in str(error)


def test_a_shuffled_array_names_the_row_that_was_met(numbered):
    feed = Input(numbered(23), 4, shuffle=True, map_fn=raising).open_train()
    order = Input(numbered(23), 4, shuffle=True).open_train()
    plan = order.plan(tf.constant(2, tf.int64), tf.constant(4, tf.int64))
    wanted = next(row for row in plan[0].numpy().ravel() if row in BAD)
    feed.seek(2)
    assert f"Input.map_fn, example {wanted} of the source" in str(error_of(feed, step=2))


def test_an_error_of_the_model_is_not_one_of_the_data(numbered):
    for data in (numbered(9), slices(numbered(9))):
        feed = Input(data, 4, map_fn=lambda example: example).open_train()
        with pytest.raises(tf.errors.InvalidArgumentError) as raised:
            tf.debugging.check_numerics(np.nan, "the model")
        assert feed.data_error(raised.value, 0) is None
    assert Input(numbered(9), 4).open_train().data_error(raised.value, 0) is None


def test_what_raises_only_once_is_said_too(numbered):
    calls = []

    def flaky(example):
        def check(y):
            calls.append(y)
            if len(calls) == 3:
                raise ValueError("no luck")
            return y

        return {"y": tf.ensure_shape(tf.py_function(check, [example["y"]], tf.int64), [])}

    error = error_of(Input(numbered(9), 4, map_fn=flaky).open_train())
    assert "did not raise again: ValueError: no luck" in str(error)


def test_what_raises_only_once_does_not_hang_with_an_endless_source(numbered):
    calls = []

    def flaky(example):
        def check(y):
            calls.append(y)
            if len(calls) == 300:
                raise ValueError("no luck")
            assert len(calls) < 5000, "it looks for ever"
            return y

        return {"y": tf.ensure_shape(tf.py_function(check, [example["y"]], tf.int64), [])}

    assert bad_examples.first_bad(slices(numbered(23)).repeat().map(flaky)) is None


def test_nothing_is_counted_by_default(numbered):
    for data in (numbered(9), slices(numbered(9))):
        feed = Input(data, 4, map_fn=lambda example: example).open_eval()
        assert feed.skipped(feed.fetch((), tf.constant(0, tf.int64))[0]) is None
    arrays = Input(numbered(9), 4, on_error="skip").open_train()
    assert arrays.skipped(None) is None


@pytest.mark.parametrize(
    ("make", "map_fn"), [(slices, raising), (dict, raising), (unknown, in_python), (dict, decoding)]
)
def test_an_evaluation_skips_and_counts_each_once(numbered, make, map_fn):
    feed = Input(make(numbered(23)), 4, map_fn=map_fn, on_error="skip").open_eval()
    for _ in range(2):
        feed.rewind()
        labels, skipped = taken(feed, 99)
        assert flat(labels) == [i for i in range(23) if i not in BAD]
        assert [len(batch) for batch in labels] == [4, 4, 4, 4, 2]
        assert sum(skipped) == len(BAD)
    assert skipped == [3, 1, 0, 0, 1]


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_training_stream_counts_each_pass(numbered, shuffle):
    feed = Input(slices(numbered(23)), 6, shuffle=shuffle, map_fn=raising, on_error="skip").open_train()
    labels, skipped = taken(feed, 9)  # a pass has 18 good ones
    for one_pass in (slice(0, 3), slice(3, 6), slice(6, 9)):
        assert sorted(flat(labels[one_pass])) == [i for i in range(23) if i not in BAD]
        assert sum(skipped[one_pass]) == len(BAD)
    assert (labels[:3] != labels[3:6]) == shuffle


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_training_on_arrays_keeps_the_rows_of_each_step(read, numbered, shuffle):
    arguments = {"global_batch_size": 4, "shuffle": shuffle, "seed": 3}
    whole = Input(numbered(23), **arguments).open_train()
    feed = Input(numbered(23), **arguments, map_fn=raising, on_error="skip").open_train()
    wanted = []
    for first in (0, 3, 600):
        rows = [batch["y"] for batch in read(whole, first, 8)]
        wanted = [[i for i in row if i not in BAD] for row in rows]
        feed.seek(first)
        assert taken(feed, 8, first) == (wanted, [len(r) - len(w) for r, w in zip(rows, wanted, strict=True)])
    assert feed.checkpoint_items() == {}
    assert feed.batches_per_epoch == 6


def test_tuples_and_ragged_shapes_are_skipped_too():
    def ragged(i):
        with tf.control_dependencies([tf.debugging.Assert(i % 3 > 0, ["a bad one"])]):
            return tf.strings.as_string(i), {"z": tf.zeros([2, 1 + i // 100])}

    for data in ({"i": np.arange(9)}, tf.data.Dataset.range(9)):
        map_fn = (lambda example: ragged(example["i"])) if isinstance(data, dict) else ragged
        for mode in ("open_train", "open_eval"):
            feed = getattr(Input(data, 3, map_fn=map_fn, on_error="skip"), mode)()
            part, n = feed.fetch((), tf.constant(0, tf.int64))
            (text, nest), rows = feed.shard(part, n, 0, 1)
            assert text.numpy().tolist()[:2] == [b"1", b"2"]
            assert nest["z"].shape[:2] == (int(n), 2)
            assert int(rows) == n
            assert tf.nest.map_structure(lambda spec: spec.dtype, feed.element_spec) == (tf.string, {"z": tf.float32})


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("stop", [0, 3, 5])
def test_the_count_goes_on_after_a_restore(tmp_path, numbered, stop, shuffle):
    def opened():
        data = slices(numbered(23))
        return Input(data, 4, shuffle=shuffle, shuffle_buffer=8, map_fn=raising, on_error="skip").open_train()

    feed = opened()
    taken(feed, stop)
    path = tf.train.Checkpoint(**feed.checkpoint_items()).write(str(tmp_path / "at"))
    expected = taken(feed, 12)
    resumed = opened()
    tf.train.Checkpoint(**resumed.checkpoint_items()).read(path).assert_consumed()
    resumed.seek(stop)
    assert taken(resumed, 12) == expected


def test_one_trace_and_shards_that_add_up(numbered):
    feed = Input(numbered(23), 6, map_fn=raising, on_error="skip").open_train()
    traces = []

    @tf.function
    def step(replicas):
        traces.append(1)
        part, n = feed.fetch((), tf.constant(0, tf.int64))
        shards = [feed.shard(part, n, index, 4) for index in range(4)]
        return feed.skipped(part), n, tf.concat([batch["y"][:rows] for batch, rows in shards], 0)

    got = [step(4) for _ in range(4)]
    feed.seek(0)
    again = step(4)
    assert [(int(skipped), int(n)) for skipped, n, _ in got] == [(3, 3), (1, 5), (0, 6), (1, 4)]
    assert got[0][2].numpy().tolist() == again[2].numpy().tolist() == [1, 2, 5]
    assert traces == [1]


def test_a_cache_leaves_bad_examples_out_once(numbered, monkeypatch):
    said = []
    monkeypatch.setattr(logging, "warning", lambda message, *args: said.append(message % args))
    for make in (dict, slices):
        data = Input(make(numbered(23)), 6, cache=True, drop_remainder=True, map_fn=raising, on_error="skip")
        assert data.open_train().num_examples == 18
        assert "5 bad examples were left out of the 18 kept in memory" in said.pop()
        with pytest.raises(UsageError, match=r"example 0 \(counted from 0\): .*a bad one.* Input.on_error"):
            Input(make(numbered(23)), 6, cache=True, map_fn=raising).open_train()


def test_what_cannot_be_skipped(numbered):
    with pytest.raises(UsageError, match=r"Input\.on_error = 'ignore': want \"raise\" or \"skip\""):
        Input(numbered(3), 2, on_error="ignore")
    with pytest.raises(UsageError, match=r"Input\.drop_remainder = True wants all full: bind Input\.cache = True"):
        Input(numbered(23), 2, drop_remainder=True, map_fn=raising, on_error="skip").open_train()
    feed = Input({name: rows[3:5] for name, rows in numbered(9).items()}, 2, map_fn=raising, on_error="skip")
    assert "all examples of a global batch are bad (Input.map_fn, example 0 of the source" in str(
        error_of(feed.open_train())
    )


@pytest.mark.parametrize("endless", [False, True])
def test_nothing_but_bad_examples_is_refused_and_does_not_hang(numbered, endless):
    rows = slices({name: rows[3:5] for name, rows in numbered(9).items()})
    with pytest.raises(UsageError, match=r"has 0 good examples .*a bad one"):
        Input(rows.repeat() if endless else rows, 2, map_fn=raising, on_error="skip").open_train()
