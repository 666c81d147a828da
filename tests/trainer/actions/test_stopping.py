"""Actions that end a run. The eval loss is a number that the test chooses, step by step."""

import json
import math
import threading
import time

import keras
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.metrics.writers import Summary
from tallyloop.trainer.actions import EarlyStopping, StopAfter, StopAtTarget


class Stub:
    """Stands in for a Trainer: its eval datasets, and the reasons to stop that it was given."""

    def __init__(self, *datasets):
        self.eval_datasets = dict.fromkeys(datasets or ["test"])
        self.eval_metrics = {name: ["loss"] for name in self.eval_datasets}
        self.reasons = []

    def stop(self, reason):
        self.reasons.append(reason)


def evaluate(action, values, trainer=None, first=1, split="eval", name="loss"):
    """Give an action these values of a metric, at steps from `first` on; returns the step at which it stopped, or None."""
    trainer = trainer or Stub()
    for step, value in enumerate(values, first):
        action(trainer, Summary(step, split, {} if value is None else {name: value}, {}))
        if trainer.reasons:
            return step
    return None


class TestEarlyStopping:
    @pytest.mark.parametrize(
        ("mode", "patience", "min_delta", "values", "stops"),
        [
            ("min", 2, 0.0, [3, 2, 2.5, 1, 1.5, 1, 9], 6),  # best at 4, then 5 and 6 without an improvement
            ("max", 1, 0.0, [1, 2, 3, 3], 4),
            ("min", 3, 0.0, [3, 2, 1, 0], None),
            ("min", 2, 0.5, [3, 2.75, 2.5, 2.25], 3),  # 2.5 is not less than 3 - 0.5; after it, 2.25 would have been
            ("max", 2, 0.0, [math.nan, math.nan], 2),
            ("min", 2, 0.0, [math.nan, 5, math.nan, 4, math.nan, None], 6),  # without examples, it isn't better
        ],
    )
    def test_stops_when_it_has_waited(self, mode, patience, min_delta, values, stops):
        assert evaluate(EarlyStopping("loss", mode, patience, min_delta), values) == stops

    def test_says_why(self):
        trainer = Stub()
        evaluate(EarlyStopping("test/loss", "min", 2), [3, 0.5, 0.75, 1.25], trainer)
        assert trainer.reasons == [
            "EarlyStopping: test/loss has not improved for 2 evaluations: best 0.5 at step 2, 1.25 at step 4. To train on, raise "
            "EarlyStopping.patience (2), or remove the action."
        ]

    def test_looks_at_its_dataset_only(self):
        trainer, action = Stub("test", "other"), EarlyStopping("test/loss", "min", 1)
        assert evaluate(action, [3, 3, 3], trainer, split="train") is None
        assert evaluate(action, [3, 3, 3], trainer, split="eval/other") is None
        assert evaluate(action, [3, 3, 3], trainer, split="eval/test") == 2

    def test_counts_an_evaluation_once(self):
        """The rerun after an error of another action evaluates again."""
        action = EarlyStopping("loss", "min", 2)
        assert evaluate(action, [3, 4]) is None
        assert evaluate(action, [4], first=2) is None
        assert evaluate(action, [4], first=3) == 3

    @pytest.mark.parametrize("cut", range(7))
    def test_goes_on_from_its_state(self, cut):
        values = [3, 2, 2.5, 1, 1.5, 1, 9]
        before, after = EarlyStopping("loss", "min", 2), EarlyStopping("loss", "min", 2)
        evaluate(before, values[:cut])
        after.restore(json.loads(json.dumps(before.state())))
        if cut < 6:
            assert evaluate(after, values[cut:], first=cut + 1) == 6
        else:
            trainer = Stub()
            after.start(trainer)
            assert len(trainer.reasons) == 1

    def test_more_patience_trains_on(self):
        before, after, trainer = EarlyStopping("loss", "min", 2), EarlyStopping("loss", "min", 3), Stub()
        evaluate(before, [1, 2, 3])
        after.restore(before.state())
        after.start(trainer)
        assert trainer.reasons == []
        assert evaluate(after, [2], first=4) == 4

    def test_remembers_for_the_metric_and_mode(self):
        assert EarlyStopping("loss", "min", 2).name == EarlyStopping("loss", "min", 3).name
        assert len({EarlyStopping(*each, 2).name for each in (("loss", "min"), ("loss", "max"), ("f1", "min"))}) == 3


class TestStopAtTarget:
    @pytest.mark.parametrize(
        ("mode", "target", "values", "stops"),
        [
            ("max", 0.5, [0.25, 0.5, 0.75], 2),
            ("min", 0.5, [1.0, 0.75, 0.25], 3),
            ("min", 0.5, [math.nan, None, 0.75], None),
        ],
    )
    def test_stops_once_it_is_reached(self, mode, target, values, stops):
        assert evaluate(StopAtTarget("loss", mode, target), values) == stops

    def test_says_why(self):
        trainer = Stub()
        evaluate(StopAtTarget("accuracy", "max", 0.5), [0.625], trainer, name="accuracy")
        assert trainer.reasons == [
            "StopAtTarget: accuracy is 0.625 at step 1, and the target 0.5. To train on, change StopAtTarget.target, or remove "
            "the action."
        ]

    def test_stays_reached(self):
        before = StopAtTarget("loss", "min", 0.5)
        evaluate(before, [0.25])
        for target, stopped in ((0.5, 1), (0.125, 0)):
            after, trainer = StopAtTarget("loss", "min", target), Stub()
            after.restore(json.loads(json.dumps(before.state())))
            after.start(trainer)
            assert len(trainer.reasons) == stopped


class TestStopAfter:
    def test_asks_once_the_time_is_over(self):
        trainer, action = Stub(), StopAfter(seconds=0.05, minutes=0.001)
        asked = threading.Event()
        trainer.stop = lambda reason: (trainer.reasons.append(reason), asked.set())
        action.start(trainer)
        assert asked.wait(10)
        assert trainer.reasons == ["StopAfter: 0.11 s are over. The same command trains on."]

    def test_is_silent_after_the_end(self):
        trainer, action = Stub(), StopAfter(hours=1)
        action.start(trainer)
        action.end(trainer)
        action._timer.join(10)
        assert not action._timer.is_alive()
        assert trainer.reasons == []

    def test_is_of_the_whole_process(self):
        """A second training in it has what the first has left."""
        trainer, action = Stub(), StopAfter(seconds=0.02)
        time.sleep(0.03)
        action.start(trainer)
        action._timer.join(10)
        assert len(trainer.reasons) == 1


class TestCheck:
    def test_a_metric_of_training_is_none_of_evaluations(self):
        with pytest.raises(UsageError, match=r"StopAtTarget.metric = 'train/loss': no evaluation computes it"):
            StopAtTarget("train/loss", "min", 1).check(Stub())

    def test_needs_eval_datasets(self):
        trainer = Stub()
        trainer.eval_datasets = {}
        with pytest.raises(UsageError, match=r"EarlyStopping.metric = 'loss': expected Trainer.eval_datasets"):
            EarlyStopping("loss", "min", 1).check(trainer)

    def test_a_run_without_evaluations_is_reported(self, caplog):
        trainer = Stub()
        trainer.eval_metrics = {}
        action = EarlyStopping("loss", "min", 1)
        action.check(trainer)
        action.start(trainer)
        assert "EarlyStopping never acts, as this run does not evaluate" in caplog.text


class TestArguments:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: EarlyStopping(3, "min", 1), r"EarlyStopping.metric = 3: expected the name of an eval metric"),
            (lambda: EarlyStopping("loss", "least", 1), r"EarlyStopping.mode = 'least': expected 'max' or 'min'"),
            (
                lambda: EarlyStopping("loss", "min", 0),
                r"EarlyStopping.patience = 0: expected a whole number of at least 1",
            ),
            (
                lambda: EarlyStopping("loss", "min", 1, -0.5),
                r"EarlyStopping.min_delta = -0.5: expected a number of at least 0",
            ),
            (lambda: StopAtTarget("loss", "min", "0.5"), r"StopAtTarget.target = '0.5': expected a number"),
            (lambda: StopAtTarget("loss", "min", math.nan), r"StopAtTarget.target = nan: expected a number"),
            (lambda: StopAfter(), r"StopAfter.hours = 0: expected a time"),
            (lambda: StopAfter(minutes=-1), r"StopAfter.minutes = -1: expected a number of at least 0"),
        ],
    )
    def test_are_checked(self, make, message):
        with pytest.raises(UsageError, match=message):
            make()


LOSSES = {4: 3.0, 8: 1.0, 12: 2.0, 16: 2.0, 20: 2.0, 24: 0.5, 28: 0.5, 32: 0.5}


@pytest.fixture(scope="module")
def train(make_trainer, regression_task):
    """train(folder, *actions, ...) -> a Trainer that has trained with them, and evaluated to `LOSSES`."""

    class Chosen(regression_task):
        def eval_step(self, model, batch):
            return tf.fill(tf.shape(batch["y"]), tf.gather(list(LOSSES.values()), tf.cast(self.level, tf.int32) - 1))

        def build_model(self):
            self.level = tf.Variable(0, dtype=tf.int64)
            return super().build_model()

    def start(folder, *actions, steps=32, **arguments):
        task = Chosen()

        def advance(trainer, summary):
            task.level.assign(trainer.step // 4)

        trainer = make_trainer(
            task,
            train_steps=steps,
            evaluate=True,
            model_dir=folder,
            summary_interval=4,
            eval_interval=4,
            checkpoint_interval=10,
            actions=[advance, *actions],
            **arguments,
        )
        trainer.evaluated = trainer.train_and_eval()
        return trainer

    return start


def evaluations(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line["metrics"]["loss"] for line in lines if line["split"] == "eval"}


class TestRun:
    """With a real Trainer: the best eval loss is at step 8, then 12, 16 and 20 are without an improvement."""

    def test_stops_and_stays_stopped(self, train, tmp_path, capsys):
        trainer = train(tmp_path, EarlyStopping("test/loss", "min", patience=2))
        assert (trainer.step, trainer.evaluated) == (16, {"test": {"loss": 2.0}})
        assert trainer.stopped.startswith(
            "stopped at step 16: EarlyStopping: test/loss has not improved for 2 evaluations"
        )
        assert f"S{trainer.stopped[1:]}" in capsys.readouterr().out.splitlines()
        assert tf.train.latest_checkpoint(str(tmp_path / "checkpoints")).endswith("ckpt-16")
        again = train(tmp_path, EarlyStopping("test/loss", "min", patience=2), steps=100)
        assert (again.step, again.stopped, again.evaluated) == (16, trainer.stopped, {})
        assert f"S{trainer.stopped[1:]}" in capsys.readouterr().out.splitlines()
        assert [*evaluations(tmp_path)] == [4, 8, 12, 16]

    def test_goes_on_with_more_patience_and_without_the_action(self, train, tmp_path):
        train(tmp_path, EarlyStopping("test/loss", "min", patience=2))
        more = train(tmp_path, EarlyStopping("test/loss", "min", patience=3))
        assert more.stopped.startswith("stopped at step 20: EarlyStopping")
        without = train(tmp_path)
        assert (without.step, without.stopped) == (32, None)
        assert evaluations(tmp_path) == LOSSES

    def test_an_action_that_is_added_later_starts_anew(self, train, tmp_path):
        assert train(tmp_path, steps=12).step == 12
        assert train(tmp_path, EarlyStopping("loss", "min", patience=1)).step == 20  # 16 is its first

    def test_trains_as_without_up_to_the_stop(self, train, tmp_path, assert_same_weights):
        assert_same_weights(train(tmp_path, StopAtTarget("loss", "min", 1.0)), train(tmp_path / "other", steps=8))

    def test_time_that_is_over_leaves_the_rest_to_the_rerun(self, train, tmp_path, assert_same_weights):
        def wait(trainer, summary):
            if trainer.step == 8 and summary.split == "train":
                time.sleep(0.05)
                trainer.stop("StopAfter: its time is over")

        first = train(tmp_path, wait)
        assert first.stopped == "stopped at step 8: StopAfter: its time is over"
        again = train(tmp_path, wait)
        assert (again.step, again.stopped) == (32, None)
        assert_same_weights(again, train(tmp_path / "other"))

    def test_from_another_thread(self, make_trainer):
        trainer = make_trainer(train_steps=10**9, steps_per_loop=2)
        threading.Timer(0.3, trainer.stop, ["a button"]).start()
        trainer.train()
        assert trainer.stopped == f"stopped at step {trainer.step}: a button"

    def test_a_wrong_metric_is_refused_before_the_first_step(self, train, tmp_path):
        with pytest.raises(UsageError, match=r"metric = 'los': no evaluation computes it: did you mean \"loss\""):
            train(tmp_path / "run", EarlyStopping("los", "min", 1))
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("reason", ["", "  ", None, 3])
    def test_needs_a_reason(self, make_trainer, reason):
        with pytest.raises(UsageError, match=r"trainer.stop\(reason\): reason = .*: expected a text"):
            make_trainer().stop(reason)

    def test_two_datasets(self, make_trainer, rows):
        data = {name: Input(rows(16), 16) for name in ("a", "b")}
        rate = lambda: keras.optimizers.SGD(0.0)  # noqa: E731
        action = EarlyStopping("b/loss", "min", 2)
        trainer = make_trainer(eval_datasets=data, optimizer=rate, eval_interval=1, train_steps=9, actions=[action])
        trainer.train_and_eval()
        assert trainer.step == 3  # the best is the first; 2 and 3 are equal


class TestNames:
    def test_two_on_one_metric(self, make_trainer):
        """As a quick stop with `min_delta`, and a patient one without."""
        two = [EarlyStopping("loss", "min", 2, min_delta=0.1), EarlyStopping("loss", "min", 5)]
        with pytest.raises(UsageError, match=r"give them different names, as in a/EarlyStopping.name"):
            make_trainer(evaluate=True, actions=two)
        named = [EarlyStopping("loss", "min", 2, name="quick"), StopAtTarget("loss", "min", 0.1, name="good")]
        assert [each.name for each in named] == ["quick", "good"]
        make_trainer(evaluate=True, actions=[*named, EarlyStopping("loss", "min", 5), StopAtTarget("loss", "min", 0.0)])
