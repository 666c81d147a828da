import inspect
import threading

import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import MetricRegistry, Tally, UsageError
from tallyloop.metrics.finishers.finish import finisher
from tallyloop.metrics.recording.recorder import Recorder, current_recorder, recording_into


def line_of(function, text):
    lines, first = inspect.getsourcelines(function)
    return f"{__file__}:{first + next(i for i, line in enumerate(lines) if text in line)}"


class TestMeaning:
    def test_refuses_two_finishers_for_one_name_with_both_lines(self, record):
        def step():
            metrics.add("m", [1.0])  # the first meaning
            metrics.add("m", [1.0], finish="sum")  # the second meaning

        with pytest.raises(UsageError, match=r"'m' has two meanings.*'mean'.*'sum'") as caught:
            record(step)
        assert line_of(step, "# the first meaning") in str(caught.value)
        assert line_of(step, "# the second meaning") in str(caught.value)

    def test_refuses_two_shapes_for_one_name(self, record):
        def step():
            metrics.add("m", tf.ones([4, 3]), finish="per_class")
            metrics.add("m", tf.ones([4, 2]), finish="per_class")

        with pytest.raises(UsageError, match=r"'m' has two meanings.*\(3,\).*\(2,\)"):
            record(step)

    def test_a_function_written_in_the_call_is_the_same_finisher_each_time(self, record):
        def step():
            for value in (1.0, 2.0):
                metrics.add("m", value, finish=lambda value, count: value / count)

        registry = MetricRegistry()
        assert record(step, registry) == record(step, registry) == {"m": (3.0, 2.0)}

    def test_refuses_two_functions_for_one_name(self, record):
        def step():
            metrics.add("m", 1.0, finish=lambda value, count: value / count)
            metrics.add("m", 1.0, finish=lambda value, count: value - count)

        with pytest.raises(UsageError, match="'m' has two meanings"):
            record(step)

    def test_maxima_of_one_name_give_the_larger(self, record):
        def step():
            metrics.add("m", [1.0, 7.0], finish="max")
            metrics.add("m", [4.0], finish="max")

        assert record(step) == {"m": (7.0, 3.0)}


class TestRecordOnly:
    def test_refuses_a_path_that_was_recorded_with_its_line(self):
        recorder = Recorder()
        with recording_into(recorder):
            metrics.add("loss", 1.0)
        with pytest.raises(
            UsageError, match=rf"'loss' has two meanings: it is added at {__file__}:\d+, and it is the name"
        ):
            recorder.record_only("loss", Tally(tf.constant(1.0), tf.constant(1.0)), finisher("mean"))


class TestActiveRecorder:
    def test_there_is_none_outside_a_step(self):
        assert current_recorder() is None

    def test_the_innermost_records_and_leaves_with_an_error(self):
        outer, inner = Recorder(), Recorder()

        def fail():
            with recording_into(inner):
                metrics.add("inner", 1.0)
                raise KeyError

        with recording_into(outer):
            with pytest.raises(KeyError):
                fail()
            metrics.add("outer", 1.0)
        assert (outer.paths, inner.paths, current_recorder()) == (["outer"], ["inner"], None)

    def test_another_thread_does_not_record(self, record_eagerly):
        def step():
            other = threading.Thread(target=metrics.add, args=("other", 1.0))
            other.start()
            other.join()
            metrics.add("mine", 1.0)

        assert set(record_eagerly(step)) == {"mine"}
