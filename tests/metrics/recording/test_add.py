import inspect

import keras
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import Tally, UsageError
from tallyloop.metrics.recording.recorder import Recorder, recording_into


def line_of(function, text):
    lines, first = inspect.getsourcelines(function)
    return f"{__file__}:{first + next(i for i, line in enumerate(lines) if text in line)}"


class TestAdd:
    def test_takes_tensors_lists_and_numbers(self, record):
        def step():
            metrics.add("tensor", tf.constant([1.0, 2.0]))
            metrics.add("list", [3, 4, 5])
            metrics.add("number", 7.5)

        assert record(step) == {"tensor": (3.0, 2.0), "list": (12.0, 3.0), "number": (7.5, 1.0)}

    def test_takes_a_tally_of_sums_that_are_ready(self, record):
        assert record(lambda: metrics.add("m", Tally(6.0, 4))) == {"m": (6.0, 4.0)}

    def test_the_same_name_twice_adds_up(self, record):
        def step():
            for values, weights in (([1.0, 2.0], None), ([10.0], [3.0]), ([True, False], None)):
                metrics.add("m", values, weights=weights)

        assert record(step) == {"m": (1 + 2 + 30 + 1, 2 + 3 + 2)}

    def test_names_may_come_from_a_dict(self, record):
        names = {"hidden": "stage_1/hidden", "logits": "stage_2/logits"}

        def step():
            x = tf.constant([1.0, 3.0])
            for key, value in {"hidden": x * 2, "logits": x + 10}.items():
                metrics.add(names[key], value)

        assert record(step) == {"stage_1/hidden": (8, 2), "stage_2/logits": (24, 2)}

    def test_a_weighted_mean_with_unequal_replicas(self, evaluate):
        pieces = [
            {"hit": [True, True, True], "y": [0.0, 0.0, 0.0], "p": [1.0, 2.0, 3.0], "w": [1.0, 2.0, 1.0]},
            {"hit": [False], "y": [0.0], "p": [5.0], "w": [4.0]},
        ]

        def step(p):
            metrics.add("weighted", p["hit"], weights=p["w"])
            metrics.add("plain", p["hit"])
            metrics.add("mse", (p["y"] - p["p"]) ** 2, weights=p["w"])

        as_arrays = [{key: tf.constant(value) for key, value in piece.items()} for piece in pieces]
        # The mean of the replicas' means would be 1/2 for both.
        assert evaluate(step, as_arrays) == {"weighted": 4 / 8, "plain": 3 / 4, "mse": (1 + 8 + 9 + 100) / 8}

    def test_refuses_weights_that_do_not_fit_at_the_line_that_adds(self, record):
        def step():
            metrics.add("a.b", tf.ones([3]), weights=tf.ones([2]))  # does not fit

        with pytest.raises(UsageError, match="Metric 'a/b'") as caught:
            record(step)
        assert line_of(step, "# does not fit") in str(caught.value)

    @pytest.mark.parametrize("name", ["", "a b", "a//b", 3])
    def test_refuses_a_malformed_name(self, name, record_eagerly):
        with pytest.raises(UsageError, match=r"Metric name .*: expected"):
            record_eagerly(lambda: metrics.add(name, 1.0))

    def test_names_a_malformed_name_and_its_line(self, record_eagerly):
        def step():
            metrics.add("a b", 1.0)  # malformed

        with pytest.raises(UsageError) as caught:
            record_eagerly(step)
        assert str(caught.value).startswith(
            f"Metric 'a b' ({line_of(step, '# malformed')}): Metric name 'a b': expected"
        )

    def test_names_the_whole_path_of_an_unknown_finisher_or_dtype(self, record_eagerly):
        def step():
            with metrics.scope("loss"):
                metrics.add("text", ["a"])

        with pytest.raises(UsageError, match=r"^Metric 'loss/text' \(.*expected numbers or bools"):
            record_eagerly(step)
        with pytest.raises(UsageError, match=r"^Metric 'm' \(.*test_add.py:\d+\): finish = 'median': expected one of"):
            record_eagerly(lambda: metrics.add("m", 1.0, finish="median"))

    @pytest.mark.parametrize("given", [tf.ragged.constant([[1.0], [2.0, 3.0]]), tf.sparse.from_dense([[0.0, 1.0]])])
    def test_refuses_what_is_not_dense(self, record_eagerly, given):
        expected = f"expected dense values and weights, got a {type(given).__name__}: add its `flat_values`"
        with pytest.raises(UsageError, match=expected):
            record_eagerly(lambda: metrics.add("m", given))
        with pytest.raises(UsageError, match=expected):
            record_eagerly(lambda: metrics.add("m", [[1.0, 2.0]], weights=given))

    def test_a_finisher_sums_what_it_needs(self, record):
        def step():
            metrics.add("max", [1.0, 7.0, 9.0], weights=[1.0, 2.0, 0.0], finish="max")
            metrics.add("mean", [1.0, 7.0, 9.0], weights=[1.0, 2.0, 0.0])

        assert record(step) == {"max": (7.0, 3.0), "mean": (15.0, 3.0)}

    def test_a_tally_of_numbers_becomes_tensors(self):
        recorder = Recorder()
        with recording_into(recorder):
            metrics.add("m", Tally(6.0, 4), finish="sum")
            (tally,) = recorder.collect().values()
        assert (tally.value.dtype, tally.count.dtype) == (tf.float32, tf.int32)

    def test_a_name_of_a_loop_body_elsewhere_does_no_harm(self, record_eagerly):
        def step():
            with tf.name_scope("my_loop_body"):
                metrics.add("m", 1.0)

        assert record_eagerly(step) == {"m": (1.0, 1.0)}


class TestScope:
    def test_nests_and_closes(self, record):
        def step():
            with metrics.scope("loss"):
                with metrics.scope("stage_1.inner"):
                    metrics.add("combined", 1.0)
                metrics.add("after", 2.0)
            metrics.add("top", 3.0)

        assert set(record(step)) == {"loss/stage_1/inner/combined", "loss/after", "top"}

    def test_closes_when_an_error_passes(self, record):
        def step():
            with pytest.raises(KeyError), metrics.scope("broken"):
                raise KeyError
            metrics.add("m", 1.0)

        assert set(record(step)) == {"m"}

    def test_refuses_a_malformed_name(self):
        with pytest.raises(UsageError, match="Metric name 'a b'"), metrics.scope("a b"):
            pass


class TestOutsideAStep:
    def test_nothing_happens(self, record_eagerly):
        metrics.add("anything", [1.0])
        metrics.add("not a name", ["not a number"])
        with metrics.scope("a"):
            metrics.add("b", [1.0], finish="sum")
        assert record_eagerly(lambda: None) == {}

    def test_a_model_with_metrics_inside_is_built_called_and_exported(self, tmp_path, record_eagerly):
        class Shown(keras.layers.Layer):
            def call(self, inputs):
                metrics.add("shown", inputs)
                return inputs * 2

        model = keras.Sequential([keras.Input((2,)), Shown()])
        assert model(tf.ones([1, 2])).numpy().tolist() == [[2.0, 2.0]]
        model.export(tmp_path / "served", verbose=False)
        assert tf.saved_model.load(tmp_path / "served").serve(tf.ones([1, 2])).numpy().tolist() == [[2.0, 2.0]]
        assert record_eagerly(lambda: model(tf.constant([[3.0, 4.0]]))) == {"shown": (7.0, 2.0)}
