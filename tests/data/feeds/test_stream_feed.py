"""The feed of a `tf.data` pipeline."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics.errors import DataError


def labels(batches):
    return [batch["y"].tolist() for batch in batches]


class TestTraining:
    def test_a_stream_gives_the_batches_of_arrays(self, read, numbered, stream_of):
        arrays = numbered(10)
        stream, array = (Input(each, 4, shuffle=False).open_train() for each in (stream_of(arrays), arrays))
        for got, expected in zip(read(stream, 0, 7), read(array, 0, 7), strict=True):
            np.testing.assert_array_equal(got["x"], expected["x"])
            np.testing.assert_array_equal(got["y"], expected["y"])
        assert stream.element_spec == array.element_spec
        assert (stream.num_examples, stream.batches_per_epoch) == (None, None)

    def test_full_batches_have_static_shapes(self, read_labels, numbered, stream_of):
        feed = Input(stream_of(numbered(10)), 4, shuffle=False, drop_remainder=True).open_train()
        assert read_labels(feed, 0, 3) == [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 2, 3]]
        assert feed.element_spec["x"] == tf.TensorSpec([4, 2], tf.float32)

    def test_takes_tuples_and_nests(self, read):
        pairs = tf.data.Dataset.range(5).map(lambda i: (i, {"z": tf.cast(i, tf.float32)}))
        first, nest = read(Input(pairs, 3, shuffle=False).open_train(), 0, 2)[-1]
        assert first.tolist() == [3, 4]
        assert nest["z"].dtype == np.float32

    def test_a_feed_that_is_stopped_reads_no_more(self, read, numbered, stream_of):
        feed = Input(stream_of(numbered(10)), 4).open_train()
        read(feed, 0, 1)
        feed.stop()
        with pytest.raises(tf.errors.OutOfRangeError):
            read(feed, 1, 1)


class TestEvaluation:
    def test_ends_and_starts_again(self, read_to_end, numbered, stream_of):
        feed = Input(stream_of(numbered(5)), 2, shuffle=True).open_eval()
        for _ in range(3):
            feed.rewind()
            assert labels(read_to_end(feed)) == [[0, 1], [2, 3], [4]]

    def test_a_rewind_in_the_middle_starts_at_the_first_example(self, read, read_to_end, numbered, stream_of):
        feed = Input(stream_of(numbered(5)), 2).open_eval()
        read(feed, 0, 2)
        feed.rewind()
        assert labels(read_to_end(feed)) == [[0, 1], [2, 3], [4]]

    @pytest.mark.parametrize("drop", [False, True])
    def test_past_the_end_comes_a_placeholder_that_counts_nothing(self, read_shards, numbered, stream_of, drop):
        feed = Input(stream_of(numbered(4)), 2, drop_remainder=drop).open_eval()
        for _ in range(2):
            assert read_shards(feed, 0, 1)[0] == 2
        n, ((batch, counted),) = read_shards(feed, 0, 1)
        assert (n, counted) == (0, 0)
        np.testing.assert_array_equal(batch["x"], np.zeros([1, 2]))

    def test_one_trace_serves_every_pass(self, numbered, stream_of):
        feed = Input(stream_of(numbered(5)), 2).open_eval()
        traces = []

        @tf.function
        def evaluate():
            traces.append(1)
            part, n = feed.fetch((), tf.constant(0, tf.int64))
            total = tf.constant(0, tf.int64)
            while n > 0:
                batch, rows = feed.shard(part, n, 0, 1)
                total += tf.reduce_sum(batch["y"][:rows] + 1)
                part, n = feed.fetch((), tf.constant(0, tf.int64))
            return total

        for _ in range(3):
            feed.rewind()
            assert int(evaluate()) == 15
        assert traces == [1]


class TestCheckpoint:
    @pytest.mark.parametrize("shuffle", [False, True])
    def test_holds_the_place_at_every_step(self, tmp_path, read_labels, numbered, stream_of, shuffle):
        """A pass has 6 steps: the places before, at and after the end of two passes."""
        stream = stream_of(numbered(23))
        feed, resumed = (Input(stream, 4, shuffle=shuffle, shuffle_buffer=8, seed=1).open_train() for _ in range(2))
        saved, restored = (tf.train.Checkpoint(**each.checkpoint_items()) for each in (feed, resumed))
        paths, whole = [], []
        for step in range(23):
            paths.append(saved.write(str(tmp_path / f"{step}")))
            whole += read_labels(feed, step, 1)
        for step in range(14):
            restored.read(paths[step]).assert_consumed()
            resumed.seek(step)
            assert read_labels(resumed, step, 9) == whole[step : step + 9]


class TestDataError:
    @pytest.mark.parametrize("error", [tf.errors.OutOfRangeError, tf.errors.CancelledError])
    def test_is_not_made_of_an_end(self, numbered, stream_of, error):
        feed = Input(stream_of(numbered(4)), 2).open_eval()
        assert feed.data_error(error(None, None, "IteratorGetNext"), 0) is None

    def test_is_made_of_text_that_does_not_decode(self, numbered, stream_of):
        feed = Input(stream_of(numbered(4)), 2).open_eval()
        found = feed.data_error(UnicodeDecodeError("utf-8", b"lost: \xff", 6, 7, "invalid start byte"), 0)
        assert isinstance(found, DataError)
        assert "which did not raise again: lost: \\xff" in str(found)
