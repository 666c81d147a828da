"""Examples that cannot be mapped: found, or skipped and counted."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input, bad_examples
from tallyloop.data.bad_examples import first_bad


def in_python(bad):
    def check(y):
        if y in bad:
            raise ValueError(f"a bad one: {y}")
        return y

    return lambda example: {"y": tf.ensure_shape(tf.py_function(check, [example["y"]], tf.int64), [])}


def decoding(bad):
    def decode(example):
        is_bad = tf.reduce_any(example["y"] == tf.constant(bad, tf.int64))
        return {"y": tf.strings.to_number(tf.where(is_bad, "no number", tf.as_string(example["y"])), tf.int64)}

    return decode


def flat(batches):
    return [label for batch in batches for label in batch]


def good(bad, n=23):
    return [i for i in range(n) if i not in bad]


class TestFirstBad:
    def test_finds_the_index(self, numbered, stream_of, raising):
        found = first_bad(stream_of(numbered(2000)).skip(23).concatenate(stream_of(numbered(1))).map(raising))
        assert found.index == 1977
        assert "a bad one" in str(found.error)

    def test_finds_nothing_in_good_examples(self, numbered, stream_of):
        assert first_bad(stream_of(numbered(300))) is None

    def test_an_endless_source_that_raises_only_once_does_not_hang(self, numbered, stream_of):
        calls = []

        def flaky(example):
            def check(y):
                calls.append(y)
                if len(calls) == 300:
                    raise ValueError("no luck")
                assert len(calls) < 5000, "it searches forever"
                return y

            return {"y": tf.ensure_shape(tf.py_function(check, [example["y"]], tf.int64), [])}

        assert first_bad(stream_of(numbered(23)).repeat().map(flaky)) is None

    def test_gives_up_in_time(self, numbered, stream_of, monkeypatch):
        monkeypatch.setattr(bad_examples, "_SEARCH_SECONDS", 0)
        assert first_bad(stream_of(numbered(23)).repeat()) is None


class TestSkipping:
    def test_is_off_by_default(self, numbered, stream_of):
        for data in (numbered(9), stream_of(numbered(9))):
            feed = Input(data, 4, map_fn=lambda example: example).open_eval()
            zero = tf.constant(0, tf.int64)
            assert feed.skipped(feed.fetch(feed.plan(zero, zero + 1), zero)[0]) is None
        assert Input(numbered(9), 4, on_error="skip").open_train().skipped(None) is None

    @pytest.mark.parametrize(("kind", "make_map_fn"), [("stream", None), ("unknown", in_python), ("stream", decoding)])
    def test_an_evaluation_counts_each_once(self, numbered, stream_of, read_skipping, bad, raising, kind, make_map_fn):
        data = stream_of(numbered(23))
        if kind == "unknown":
            data = data.filter(lambda example: True)
        map_fn = raising if make_map_fn is None else make_map_fn(bad)
        feed = Input(data, 4, map_fn=map_fn, on_error="skip").open_eval()
        for _ in range(2):
            feed.rewind()
            labels, skipped = read_skipping(feed, 99)
            assert flat(labels) == good(bad)
            assert [len(batch) for batch in labels] == [4, 4, 4, 4, 2]
            assert skipped == [3, 1, 0, 0, 1]

    @pytest.mark.parametrize("make_map_fn", [None, in_python, decoding])
    def test_an_evaluation_of_arrays_keeps_the_rows_of_each_batch(
        self, numbered, read_skipping, bad, raising, make_map_fn
    ):
        map_fn = raising if make_map_fn is None else make_map_fn(bad)
        feed = Input(numbered(23), 4, map_fn=map_fn, on_error="skip").open_eval()
        for _ in range(2):
            feed.rewind()
            labels, skipped = read_skipping(feed, 99)
            assert flat(labels) == good(bad)
            assert [len(batch) for batch in labels] == [2, 3, 3, 4, 4, 2]
            assert skipped == [2, 1, 1, 0, 0, 1]

    @pytest.mark.parametrize("shuffle", [False, True])
    def test_a_training_stream_counts_each_pass(self, numbered, stream_of, read_skipping, bad, raising, shuffle):
        data = stream_of(numbered(23))
        feed = Input(data, 6, shuffle=shuffle, map_fn=raising, on_error="skip").open_train()
        labels, skipped = read_skipping(feed, 9)  # a pass has 18 good ones
        for one_pass in (slice(0, 3), slice(3, 6), slice(6, 9)):
            assert sorted(flat(labels[one_pass])) == good(bad)
            assert sum(skipped[one_pass]) == len(bad)
        assert (labels[:3] != labels[3:6]) == shuffle

    @pytest.mark.parametrize("shuffle", [False, True])
    def test_training_on_arrays_keeps_the_rows_of_each_step(
        self, numbered, read_labels, read_skipping, bad, raising, shuffle
    ):
        arguments = {"global_batch_size": 4, "shuffle": shuffle, "seed": 3}
        whole = Input(numbered(23), **arguments).open_train()
        feed = Input(numbered(23), **arguments, map_fn=raising, on_error="skip").open_train()
        for first in (0, 3, 600):
            rows = read_labels(whole, first, 8)
            expected = [[i for i in row if i not in bad] for row in rows]
            feed.seek(first)
            lost = [len(row) - len(left) for row, left in zip(rows, expected, strict=True)]
            assert read_skipping(feed, 8, first) == (expected, lost)
        assert set(feed.checkpoint_items()) == {"rows"}
        assert feed.batches_per_epoch == 6

    @pytest.mark.parametrize("mode", ["open_train", "open_eval"])
    @pytest.mark.parametrize("kind", ["arrays", "stream"])
    def test_takes_tuples_and_open_shapes(self, kind, mode):
        def ragged(i):
            with tf.control_dependencies([tf.debugging.Assert(i % 3 > 0, ["a bad one"])]):
                return tf.strings.as_string(i), {"z": tf.zeros([2, 1 + i // 100])}

        data = {"i": np.arange(9)} if kind == "arrays" else tf.data.Dataset.range(9)
        map_fn = (lambda example: ragged(example["i"])) if kind == "arrays" else ragged
        feed = getattr(Input(data, 3, shuffle=False, map_fn=map_fn, on_error="skip"), mode)()
        zero = tf.constant(0, tf.int64)
        part, n = feed.fetch(feed.plan(zero, zero + 1), zero)
        (text, nest), rows = feed.shard(part, n, 0, 1)
        assert text.numpy().tolist()[:2] == [b"1", b"2"]
        assert nest["z"].shape[:2] == (int(n), 2)
        assert int(rows) == n
        assert tf.nest.map_structure(lambda spec: spec.dtype, feed.element_spec) == (tf.string, {"z": tf.float32})

    @pytest.mark.parametrize("shuffle", [False, True])
    def test_the_count_continues_after_a_restore(self, tmp_path, numbered, stream_of, read_skipping, raising, shuffle):
        def opened():
            data = stream_of(numbered(23))
            return Input(data, 4, shuffle=shuffle, shuffle_buffer=8, map_fn=raising, on_error="skip").open_train()

        feed, resumed = opened(), opened()
        saved, restored = (tf.train.Checkpoint(**each.checkpoint_items()) for each in (feed, resumed))
        paths, found = {}, ([], [])
        for step in range(17):
            if step in (0, 3, 5):
                paths[step] = saved.write(str(tmp_path / f"{step}"))
            for total, more in zip(found, read_skipping(feed, 1), strict=True):
                total.extend(more)
        for step, path in paths.items():
            restored.read(path).assert_consumed()
            resumed.seek(step)
            assert read_skipping(resumed, 12) == tuple(each[step : step + 12] for each in found)

    def test_one_trace_serves_a_run_and_its_shards_add_up(self, numbered, raising):
        feed = Input(numbered(23), 6, shuffle=False, map_fn=raising, on_error="skip").open_train()
        traces = []

        @tf.function
        def step(number):
            traces.append(1)
            part, n = feed.fetch(feed.plan(number, 1), tf.constant(0, tf.int64))
            shards = [feed.shard(part, n, index, 4) for index in range(4)]
            return feed.skipped(part), n, tf.concat([batch["y"][:rows] for batch, rows in shards], 0)

        got = [step(tf.constant(number, tf.int64)) for number in range(4)]
        feed.seek(0)
        again = step(tf.constant(0, tf.int64))
        assert [(int(skipped), int(n)) for skipped, n, _ in got] == [(3, 3), (1, 5), (0, 6), (1, 4)]
        assert got[0][2].numpy().tolist() == again[2].numpy().tolist() == [1, 2, 5]
        assert traces == [1]

    def test_a_batch_of_bad_examples_only_ends_the_run(self, numbered, data_error, raising):
        rows = {name: array[3:5] for name, array in numbered(9).items()}
        feed = Input(rows, 2, shuffle=False, map_fn=raising, on_error="skip").open_train()
        expected = "all examples of a global batch are bad (Input.map_fn, row 0: "
        assert expected in str(data_error(feed))

    @pytest.mark.parametrize("endless", [False, True])
    def test_a_source_of_bad_examples_only_is_refused(self, numbered, stream_of, refused, raising, endless):
        rows = stream_of({name: array[3:5] for name, array in numbered(9).items()})
        with refused(
            "has 0 good examples before its end or before 1,000 bad ones in a row; the last bad one: "
        ) as caught:
            Input(rows.repeat() if endless else rows, 2, map_fn=raising, on_error="skip").open_train()
        assert "a bad one" in str(caught.value)
