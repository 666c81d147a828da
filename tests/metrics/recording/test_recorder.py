import inspect
import threading

import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import MetricRegistry, Tally, UsageError
from tallyloop.metrics.device.inner_graph_sums import InnerGraphSums
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
            for values in ([1.0, 7.0], [4.0]):
                metrics.add("m", values, finish="max")

        assert record(step) == {"m": (7.0, 3.0)}


class TestPlace:
    def test_refuses_two_lines_for_one_name_with_both(self, record):
        def step():
            metrics.add("m", [1.0])  # the first line
            metrics.add("m", [2.0])  # the second line

        with pytest.raises(UsageError, match=r"'m' is added by two lines of a step.*another name") as caught:
            record(step)
        assert line_of(step, "# the first line") in str(caught.value)
        assert line_of(step, "# the second line") in str(caught.value)

    def test_one_line_called_twice_adds_up(self, record):
        def add(value):
            metrics.add("m", value)

        def step():
            add([1.0])
            add([2.0, 6.0])

        assert record(step) == {"m": (9.0, 3.0)}

    @pytest.mark.parametrize("branch", [0, 1])
    @pytest.mark.parametrize("condition", ["cond", "switch_case", "nested"])
    def test_branches_of_one_condition_add_up(self, record_traced, condition, branch):
        def first():
            metrics.add("m", 1.0)
            return 0

        def second():
            metrics.add("m", 10.0)
            return 0

        def step():
            i = tf.constant(branch)
            if condition == "switch_case":
                tf.switch_case(i, [first, second])
            else:
                last = (lambda: tf.cond(i == 1, second, first)) if condition == "nested" else second
                tf.cond(i == 0, first, last)

        assert record_traced(step) == {"m": ([1.0, 10.0][branch], 1.0)}

    @pytest.mark.parametrize("branches", ["of two conditions", "the same"])
    def test_refuses_two_lines_that_may_both_run(self, record_traced, branches):
        def one():
            metrics.add("m", 1.0)
            if branches == "the same":
                metrics.add("m", 2.0)
            return 0

        def other():
            metrics.add("m", 3.0)
            return 0

        def step():
            for branch in (one, other):
                tf.cond(tf.constant(True), branch, lambda: 0)

        with pytest.raises(UsageError, match="two lines of a step"):
            record_traced(step)


class TestRecorder:
    def test_knows_what_was_recorded_and_where(self):
        recorder = Recorder()

        def step():
            for values in ([1.0], [2.0]):
                metrics.add("m", values, finish="sum")  # first
            metrics.add("a", tf.ones([2, 3]), finish="per_class")

        with recording_into(recorder) as active:
            step()
        assert active is recorder
        assert recorder.paths == ["a", "m"]
        assert recorder.meanings == {"m": (finisher("sum"), ()), "a": (finisher("per_class"), (3,))}
        assert recorder.places["m"] == line_of(step, "# first")

    def test_knows_whether_it_was_collected(self):
        recorder = Recorder()
        assert recorder.collected is False
        recorder.collect()
        assert recorder.collected is True

    def test_sums_inside_a_loop_go_through_the_given_variables(self):
        class Counted(InnerGraphSums):
            def __init__(self):
                super().__init__()
                self.paths = []

            def add(self, path, tally):
                self.paths.append(path)
                return super().add(path, tally)

        sums = Counted()
        assert self.in_a_loop(lambda: Recorder(sums)) == (2 * 3.0, 2 * 2.0)
        assert sums.paths == ["inside"]

    def test_has_variables_of_its_own(self):
        assert self.in_a_loop(Recorder) == (2 * 3.0, 2 * 2.0)

    @staticmethod
    def in_a_loop(make):
        """The tally of (1, 2), added twice in a loop."""

        @tf.function(autograph=False)
        def run():
            def body(i):
                metrics.add("inside", tf.constant([1.0, 2.0]))
                return (i + 1,)

            recorder = make()
            with recording_into(recorder):
                tf.while_loop(lambda i: i < 2, body, [tf.constant(0)])
                return dict(recorder.collect())

        return tuple(float(part) for part in run()["inside"])

    def test_maxima_cannot_leave_a_loop(self):
        def body(i):
            metrics.add("largest", tf.constant([1.0]), finish="max")
            return (i + 1,)

        @tf.function(autograph=False)
        def run():
            with recording_into(Recorder()):
                tf.while_loop(lambda i: i < 2, body, [tf.constant(0)])

        with pytest.raises(
            UsageError,
            match=r"'largest' \(.*test_recorder.py:\d+\): finish='max' cannot be added inside a tf.while_loop, tf.cond",
        ):
            run()

    def test_adds_what_is_inside_to_what_is_outside(self, record_traced):
        def step():
            def add(value):
                metrics.add("m", value)

            def body(i):
                add(10.0)
                return (i + 1,)

            add(1.0)
            tf.while_loop(lambda i: i < 2, body, [tf.constant(0)])

        assert record_traced(step) == {"m": (21.0, 3.0)}


class TestRecordOnly:
    def test_records_once(self):
        recorder = Recorder()
        recorder.record_only("loss", Tally(tf.constant(6.0), tf.constant(2.0)), finisher("mean"))
        assert recorder.collect() == {"loss": Tally(6.0, 2.0)}
        assert recorder.meanings["loss"].finisher is finisher("mean")

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
