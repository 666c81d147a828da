"""The host's loop: what it calls and in which order, what it does on errors, and when it is asked to stop."""

import contextlib
import json
import time

import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics.errors import UsageError
from tallyloop.metrics.writers import Summary
from tallyloop.trainer.checkpointing.retention import Best
from tallyloop.trainer.distribution import preemption, workers
from tallyloop.trainer.errors import ClusterError, OutputError, PreemptedError
from tallyloop.trainer.loop.acting import Actions, StopRequest
from tallyloop.trainer.loop.host_loop import HostLoop
from tallyloop.trainer.loop.progress import Progress
from tallyloop.trainer.loop.schedule import LoopLength, Schedule
from tallyloop.trainer.loop.timing import TIMES
from tallyloop.trainer.step.batches import Fetched
from tallyloop.trainer.step.eval_loop import EvaluationStopped


class Session:
    """Stands in for a session, its loop, its metrics and its state. The first loop compiles; `bad` steps are not finite."""

    trace_seconds = 0.0
    steps_summed = 1

    def __init__(self, log, step, bad):
        self._log, self._bad, self._compiled = log, list(bad), False
        self.strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
        self.progress = Progress(Best("loss", "min"))
        self.progress.step_variable.assign(step)
        self.loop = self.fetching = self.registry = self.state = self

    def compiled_steps(self, step, wanted):
        return wanted if self._compiled else 0

    def uncounted(self):
        return contextlib.nullcontext()

    def take(self):
        return Fetched(1, 16, 0.0)

    def run(self, step, steps, settle):
        self._compiled = True
        self._log.append(("run", step, steps))
        settle()
        if step in self._bad:
            self._bad.remove(step)
            return False
        self.progress.step_variable.assign_add(steps)
        return True

    def known(self):
        return {}

    def drain(self):
        return self

    def tallies(self):
        return {}

    def non_finite(self):
        return {}

    def finish(self, tallies, seconds):
        return {"loss": 1.0}, {"loss": 16.0}

    def before_save(self):
        self._log.append(("before_save",))


class Evaluation:
    """Stands in for an evaluation: the loss of a step is in `losses`, or is an error."""

    def __init__(self, log, losses):
        self._log, self._losses = log, losses

    def run(self, step, stop, steps_per_call):
        self._log.append(("evaluate", step))
        if stop():
            raise EvaluationStopped
        if isinstance(self._losses.get(step), Exception):
            raise self._losses[step]
        return {"test": Summary(step, "eval", {"loss": self._losses.get(step, 9.0)}, {"loss": 1.0})}


class Rollbacks:
    """Stands in for the rollbacks: the bad batch counts as a step, and its update is undone."""

    def __init__(self, log, allowed):
        self.allowed = allowed
        self._log = log

    def resume(self, session):
        self._log.append(("resume rollbacks",))

    def forgive(self, session, step):
        pass

    def go_back(self, session):
        self._log.append(("go_back",))
        session.progress.step_variable.assign_add(1)


class Writer:
    """Stands in for the run's writer; a test may set `fails`, and the `errors` of steps."""

    def __init__(self, log, saves):
        self.saves = saves
        self.fails = False
        self.errors = {}
        self._log = log

    def resume(self, step, needed):
        self._log.append(("resume", step, needed))

    def write(self, summary):
        self._log.append(("write", summary.step, summary.split))
        if summary.step in self.errors:
            raise self.errors[summary.step]

    def failing(self):
        return self.fails

    def save(self, step, needed):
        self._log.append(("save", step))

    def settle(self):
        self._log.append(("settle",))


class Console:
    def __init__(self):
        self.notes = []
        self.pauses = 0

    @contextlib.contextmanager
    def paused(self):
        self.pauses += 1
        yield
        self.pauses -= 1

    def doing(self, what):
        return self.paused()

    def say(self, line):
        self.notes.append(line)

    def resume(self, step):
        pass

    def finish(self, lines):
        self.last_lines = lines

    def write(self, summary):
        pass

    def progress(self, step):
        pass


SCHEDULE = Schedule(5, summary_interval=2, eval_interval=3, checkpoint_interval=4)


class Host:
    """A host loop among stubs."""

    def __init__(
        self,
        step=0,
        schedule=SCHEDULE,
        most=10,
        losses=None,
        evaluates=True,
        rollbacks=0,
        bad=(),
        saves=True,
        actions=(),
    ):
        self.log = []
        self.session = Session(self.log, step, bad)
        self.session.loop_length = LoopLength(most, most)
        self.writer = Writer(self.log, saves)
        self.console = Console()
        self.stop = StopRequest()
        self.loop = HostLoop(
            session=self.session,
            evaluation=Evaluation(self.log, losses or {}) if evaluates else None,
            schedule=schedule,
            rollbacks=Rollbacks(self.log, rollbacks),
            writer=self.writer,
            console=self.console,
            actions=Actions([lambda _, summary, act=act: act(summary) for act in actions], None, self.stop),
            last_lines=list,
        )

    def run(self):
        return self.loop.run()

    def events(self, *names):
        """The calls of these names, in order."""
        return [each for each in self.log if each[0] in names]


@pytest.fixture
def stop_at(monkeypatch):
    """stop_at(host, step) asks the host's run to stop once so many steps are done."""
    return lambda host, step: monkeypatch.setattr(preemption, "requested", lambda: host.session.progress.step >= step)


class TestOrder:
    def test_of_a_whole_run(self):
        """A train summary is written during the next loop, but before an evaluation and before a checkpoint."""
        host = Host()
        assert host.run() == {"test": {"loss": 9.0}}
        assert host.log == [
            ("resume", 0, -1),
            ("resume rollbacks",),
            ("run", 0, 1),  # compiles
            ("run", 1, 1),
            ("run", 2, 1),
            ("write", 2, "train"),
            ("evaluate", 3),
            ("write", 3, "eval"),
            ("before_save",),  # the best evaluation so far
            ("save", 3),
            ("run", 3, 1),
            ("write", 4, "train"),
            ("before_save",),
            ("save", 4),
            ("run", 4, 1),
            ("write", 5, "train"),
            ("evaluate", 5),
            ("write", 5, "eval"),
            ("before_save",),
            ("save", 5),
            ("settle",),
        ]

    def test_saves_after_a_better_evaluation_only(self):
        better, worse = Host(losses={3: 2.0, 5: 1.0}), Host(losses={3: 1.0, 5: 2.0})
        for host in (better, worse):
            host.run()
            assert host.events("save") == [("save", 3), ("save", 4), ("save", 5)]
        assert better.session.progress.best.record()["step"] == 5
        assert worse.session.progress.best.record()["step"] == 3

    def test_loops_end_at_events(self):
        """Loops of at most 2 steps, after the one that compiles; checkpoints at 3, 6 and 7."""
        schedule = Schedule(7, summary_interval=7, eval_interval=7, checkpoint_interval=3)
        host = Host(schedule=schedule, most=2, evaluates=False)
        host.run()
        assert host.events("run") == [("run", 0, 1), ("run", 1, 2), ("run", 3, 2), ("run", 5, 1), ("run", 6, 1)]
        assert host.events("save") == [("save", 3), ("save", 6), ("save", 7)]

    def test_actions_see_a_summary_at_once(self):
        host = Host(evaluates=False, actions=[lambda summary: host.log.append(("action", summary.step))])
        host.run()
        assert host.events("run", "write", "action")[:5] == [
            ("run", 0, 1),
            ("run", 1, 1),
            ("write", 2, "train"),
            ("action", 2),
            ("run", 2, 1),
        ]

    def test_nothing_to_do(self):
        host = Host(step=5)
        host.session.progress.evaluated = 5
        assert host.run() == {}
        assert host.console.notes == ["Nothing to do: 5 of 5 steps are done. Raise Trainer.train_steps to continue."]
        assert host.events("run", "evaluate", "save") == []

    def test_without_a_folder_nothing_is_saved(self):
        host = Host(saves=False)
        host.run()
        assert host.events("save") == []
        assert host.events("evaluate") == [("evaluate", 3), ("evaluate", 5)]


class TestStop:
    def test_saves_the_step(self, stop_at):
        """At step 2, where no checkpoint is due: a rollback would not go back to it."""
        host = Host()
        stop_at(host, 2)
        with pytest.raises(PreemptedError, match="Stopped after step 2"):
            host.run()
        assert host.log[-4:] == [("write", 2, "train"), ("before_save",), ("save", 2), ("settle",)]
        assert host.session.progress.last_due_checkpoint == -1

    def test_at_a_due_checkpoint(self, stop_at):
        host = Host(evaluates=False)
        stop_at(host, 4)
        with pytest.raises(PreemptedError, match="Stopped after step 4"):
            host.run()
        assert host.events("save") == [("save", 4)]
        assert host.session.progress.last_due_checkpoint == 4

    def test_leaves_a_due_evaluation_to_the_rerun(self, stop_at):
        host = Host()
        stop_at(host, 3)
        with pytest.raises(PreemptedError, match="Stopped after step 3"):
            host.run()
        assert host.events("write", "save") == [("write", 2, "train"), ("save", 3)]
        assert host.session.progress.evaluated == -1

    def test_rerun_evaluates_first(self):
        host = Host(step=3)
        host.run()
        assert host.events("run", "evaluate")[:2] == [("evaluate", 3), ("run", 3, 1)]
        again = Host(step=3)
        again.session.progress.evaluated = 3
        again.run()
        assert again.events("run", "evaluate")[:1] == [("run", 3, 1)]


class TestStopRequest:
    """A request of an action, or of another thread; `stop_at` above is that of a signal."""

    def test_ends_the_run_where_it_is_saved(self):
        """At step 2, where no checkpoint is due: a rollback would not go back to it."""
        host = Host(actions=[lambda summary: host.stop.ask("enough")])
        assert host.run() == {}
        assert host.log[-4:] == [("write", 2, "train"), ("before_save",), ("save", 2), ("settle",)]
        assert host.session.progress.last_due_checkpoint == -1
        assert host.stop.outcome == "stopped at step 2: enough"
        assert host.console.notes == ["Stopped at step 2: enough"]

    def test_the_first_reason_counts(self):
        host = Host(actions=[lambda summary: host.stop.ask("first"), lambda summary: host.stop.ask("second")])
        host.run()
        assert host.stop.outcome == "stopped at step 2: first"

    def test_does_not_keep_a_due_evaluation(self):
        schedule = Schedule(5, summary_interval=3, eval_interval=3, checkpoint_interval=4)
        host = Host(schedule=schedule, actions=[lambda summary: host.stop.ask("enough")])
        assert host.run() == {"test": {"loss": 9.0}}
        assert host.events("evaluate", "save") == [("evaluate", 3), ("save", 3)]

    def test_before_the_first_step_saves_nothing(self):
        host = Host(step=3)
        host.stop.ask("over already")
        assert host.run() == {}
        assert host.events("run", "evaluate", "save") == []
        assert host.console.notes == ["Stopped at step 3: over already"]

    def test_an_error_at_the_start_saves_nothing(self):
        host = Host()
        host.loop._actions.start = lambda: {}["a bug"]
        with pytest.raises(KeyError, match="a bug") as raised:
            host.run()
        assert host.events("run", "save") == []
        assert getattr(raised.value, "__notes__", []) == []

    def test_is_gone_with_the_run(self):
        host = Host(actions=[lambda summary: host.stop.ask("enough")])
        host.run()
        assert host.stop.asked is None

    def test_a_signal_comes_first(self, stop_at):
        """The command is to be run again."""
        host = Host(actions=[lambda summary: host.stop.ask("enough")])
        stop_at(host, 2)
        with pytest.raises(PreemptedError):
            host.run()
        assert host.stop.outcome is None

    def test_an_error_comes_first(self):
        host = Host(actions=[lambda summary: host.stop.ask("enough"), fails(ValueError("a bug"), at=2)])
        with pytest.raises(ValueError, match="a bug"):
            host.run()

    def test_at_the_last_step(self):
        host = Host(evaluates=False, actions=[lambda summary: summary.step == 5 and host.stop.ask("enough")])
        host.run()
        assert host.events("save") == [("save", 4), ("save", 5)]
        assert host.stop.outcome == "stopped at step 5: enough"


SAVED = "The run is saved as it was after step {}: the same command continues from there."
# The actions here come from `fails`, and are called by a lambda.
PLACE = f"(Trainer.actions: <lambda>, after the train summary of step 2, at {__file__}:"


def fails(error, at, split="train"):
    """An action that raises this error at that step."""

    def action(summary):
        if (summary.step, summary.split) == (at, split):
            raise error

    return action


class TestErrors:
    def test_failing_evaluation_saves(self):
        """Step 5 is the last: a checkpoint is due; at step 3 none is, so a rollback would not go back to it."""
        for step, saved, due in ((3, [3], -1), (5, [3, 4, 5], 5)):
            host = Host(losses={step: ValueError("bad eval data")})
            with pytest.raises(ValueError, match="bad eval data") as raised:
                host.run()
            assert host.events("save") == [("save", step) for step in saved]
            assert host.session.progress.last_due_checkpoint == due
            assert raised.value.__notes__ == [SAVED.format(step)]

    @pytest.mark.parametrize("kind", [ValueError, SystemExit])
    def test_failing_action_saves_first(self, kind):
        """At step 2, where no checkpoint is due."""
        error = kind("a bug")
        host = Host(actions=[fails(error, at=2), lambda summary: host.log.append(("action", summary.step))])
        with pytest.raises(kind, match="a bug") as raised:
            host.run()
        assert raised.value is error
        assert error.__notes__[-1] == SAVED.format(2)
        assert [note.startswith(PLACE) for note in error.__notes__[:-1]] == ([True] if kind is ValueError else [])
        assert host.log[-5:] == [
            ("write", 2, "train"),
            ("action", 2),  # the other action has its summary
            ("before_save",),
            ("save", 2),
            ("settle",),
        ]
        assert host.session.progress.last_due_checkpoint == -1

    def test_failing_action_at_a_due_checkpoint(self):
        host = Host(actions=[fails(ValueError("a bug"), at=4)])
        with pytest.raises(ValueError, match="a bug"):
            host.run()
        assert host.events("save") == [("save", 3), ("save", 4)]
        assert host.session.progress.last_due_checkpoint == 4

    def test_two_failing_actions(self):
        host = Host(actions=[fails(ValueError("first"), at=2), fails(KeyError("second"), at=2)])
        with pytest.raises(ValueError, match="first") as raised:
            host.run()
        assert raised.value.__notes__[0].startswith(PLACE)
        assert raised.value.__notes__[1:] == ["Later: KeyError('second')", SAVED.format(2)]

    def test_failing_action_on_an_evaluation(self):
        """The rerun evaluates again, so that every action sees the evaluation."""
        host = Host(actions=[fails(ValueError("a bug"), at=3, split="eval")])
        with pytest.raises(ValueError, match="a bug"):
            host.run()
        assert host.events("save") == [("save", 3)]
        assert host.session.progress.evaluated == -1

    def test_no_evaluation_after_a_failing_action(self):
        schedule = Schedule(5, summary_interval=3, eval_interval=3, checkpoint_interval=4)
        host = Host(schedule=schedule, actions=[fails(ValueError("a bug"), at=3)])
        with pytest.raises(ValueError, match="a bug"):
            host.run()
        assert host.events("write", "save") == [("write", 3, "train"), ("save", 3)]

    def test_failing_writer_while_steps_run(self):
        """The summary of step 2 is written while the loop to step 3 runs: that loop ends, and is saved."""
        host = Host(evaluates=False)
        host.writer.errors[2] = ValueError("a bug")
        with pytest.raises(ValueError, match="a bug"):
            host.run()
        assert host.events("run", "save") == [("run", 0, 1), ("run", 1, 1), ("run", 2, 1), ("save", 3)]

    def test_failing_console_saves_first(self):
        """Nobody reads standard output any more."""
        host = Host(evaluates=False)
        host.console.progress = lambda step: fails(BrokenPipeError(), at=2)(Summary(step, "train", {}, {}))
        with pytest.raises(BrokenPipeError):
            host.run()
        assert host.events("save") == [("save", 2)]

    def test_failing_finisher_saves_first(self):
        host = Host(evaluates=False)
        host.session.finish = lambda tallies, seconds: {}["a bug"]
        with pytest.raises(KeyError, match="a bug"):
            host.run()
        assert host.events("save") == [("save", 3)]

    def test_writer_that_fails_at_the_last_save(self):
        host = Host(evaluates=False)
        host.writer.errors[5] = ValueError("a bug")
        with pytest.raises(ValueError, match="a bug"):
            host.run()
        assert host.events("save") == [("save", 4), ("save", 5)]

    def test_failing_step_saves_nothing(self):
        """What it was about to change may be changed in part."""
        host = Host(evaluates=False)
        run = host.session.run
        host.session.run = lambda step, *rest: run(step, *rest) if step < 2 else {}["a bug"]
        with pytest.raises(KeyError, match="a bug"):
            host.run()
        assert host.events("save") == []

    def test_ctrl_c_stops_at_once(self):
        host = Host(actions=[fails(KeyboardInterrupt(), at=2)])
        with pytest.raises(KeyboardInterrupt):
            host.run()
        assert host.events("save") == []

    def test_without_a_folder(self):
        error = ValueError("a bug")
        host = Host(saves=False, actions=[fails(error, at=2)])
        with pytest.raises(ValueError, match="a bug"):
            host.run()
        assert host.events("save") == []
        assert [note.startswith(PLACE) for note in error.__notes__] == [True]

    def test_of_another_worker(self, monkeypatch):
        """Which sets the flag that all agree on: this one takes part in the save, and ends too."""
        host = Host(evaluates=False)
        monkeypatch.setattr(
            workers, "any_of", lambda strategy, *mine: [len(mine) > 2 and i == 1 for i in range(len(mine))]
        )
        with pytest.raises(ClusterError, match=r"another worker has failed.* saved as it was after step 1"):
            host.run()
        assert host.events("save") == [("save", 1)]

    def test_failing_metrics_save_at_once(self):
        """The writer raises the error then."""
        host = Host(evaluates=False)
        host.writer.fails = True

        def save(step, needed):
            raise OutputError(f"step {step} is saved")

        host.writer.save = save
        with pytest.raises(OutputError, match="step 1 is saved"):
            host.run()


class TestTimes:
    """With a clock of our own: a step takes half a second, and all else far longer."""

    @pytest.fixture
    def clock(self, monkeypatch):
        """clock.spend(object, method, seconds): each call of it takes so long."""

        class Clock:
            now = 0.0

            def spend(self, owner, method, seconds):
                call = getattr(owner, method)
                setattr(owner, method, lambda *rest, **named: (call(*rest, **named), self._pass(seconds))[0])

            def _pass(self, seconds):
                self.now += seconds

        clock = Clock()
        monkeypatch.setattr(time, "monotonic", lambda: clock.now)
        return clock

    @pytest.fixture
    def host(self, clock, monkeypatch):
        """A whole run, and the times of its train summaries."""
        for owner, method, seconds in (
            (Session, "run", 0.5),
            (Session, "before_save", 7.0),
            (Writer, "write", 3.0),
            (Console, "write", 2.0),
            (Evaluation, "run", 50.0),
        ):
            monkeypatch.setattr(owner, method, getattr(owner, method))  # undone afterwards
            clock.spend(owner, method, seconds)
        schedule = Schedule(6, summary_interval=1, eval_interval=3, checkpoint_interval=4)
        host = Host(
            schedule=schedule, actions=[lambda summary: host.times.append(summary), lambda _: clock._pass(30.0)]
        )
        host.times = []
        host.run()
        host.times = {each.step: each.times for each in host.times if each.split == "train"}
        return host

    def test_step_takes_as_long_as_it_takes(self, host):
        for step in range(2, 7):
            assert host.times[step]["time/step_ms"] == 500.0
            assert host.times[step]["throughput/examples_per_sec"] == 32.0
            assert host.times[step]["time/host_fraction"] == 0.0

    def test_console_speed_leaves_them_out(self):
        seen = []
        host = Host(actions=[lambda summary: seen.append(host.console.pauses)])
        host.run()
        assert seen == [1] * 5

    def test_others_have_metrics(self, host):
        """Of the summary after: 5 s to write each and 30 s of actions; of the evaluation at step 3 its own, too."""
        assert [host.times[step].get("time/actions_s") for step in range(1, 7)] == [None, 30, 30, 60, 30, 30]
        assert [host.times[step].get("time/writers_s") for step in range(1, 7)] == [None, 5, 5, 10, 5, 5]
        saved = [host.times[step].get("time/checkpoint_blocked_s") for step in range(1, 7)]
        assert saved == [None, None, None, 7, 7, None]


class TestRollback:
    def test_saves_first_and_after_going_back(self):
        """There has to be a checkpoint to go back to; the step after which it went back is saved, too."""
        host = Host(rollbacks=1, bad=[2], evaluates=False)
        host.run()
        assert host.events("run", "save", "go_back") == [
            ("save", 0),
            ("run", 0, 1),
            ("run", 1, 1),
            ("run", 2, 1),
            ("go_back",),
            ("save", 3),
            ("run", 3, 1),
            ("save", 4),
            ("run", 4, 1),
            ("save", 5),
        ]
        assert host.log[host.log.index(("go_back",)) - 1] == ("settle",)  # all checkpoints are written
        assert host.session.progress.last_due_checkpoint == 5

    def test_rerun_does_not_save_first(self):
        host = Host(step=2, rollbacks=1, evaluates=False)
        host.session.progress.last_due_checkpoint = 0
        host.run()
        assert host.log[0] == ("resume", 2, 0)
        assert host.events("save") == [("save", 4), ("save", 5)]


def lines(folder):
    """Without what tells how fast the run was."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for line in found:
        line["metrics"] = {path: value for path, value in line["metrics"].items() if path not in TIMES}
    return sorted(found, key=lambda line: (line["step"], line["split"]))


class TestAskedToStop:
    @pytest.fixture
    def asked(self, monkeypatch):
        """asked.append(True) asks."""
        asked = []
        monkeypatch.setattr(preemption, "requested", lambda: bool(asked))
        return asked

    @pytest.mark.parametrize("replicas", [1, pytest.param(2, marks=pytest.mark.slow)])
    @pytest.mark.parametrize(
        ("step", "split"),
        [(3, "train"), *[pytest.param(*at, marks=pytest.mark.slow) for at in [(4, "train"), (8, "eval")]]],
    )
    def test_rerun_ends_the_same(self, run, tmp_path, asked, replicas, step, split, assert_same_weights):
        """At step 4 the evaluation is left out, and made up for by the rerun."""
        arguments = {"replicas": replicas, "summary_interval": 1, "steps_per_loop": 1}
        control = run(tmp_path / "a", **arguments)

        def ask(trainer, summary):
            if (summary.step, summary.split) == (step, split):
                asked.append(True)

        with pytest.raises(PreemptedError, match="Stopped after step"):
            run(tmp_path / "b", actions=[ask], **arguments)
        asked.clear()
        assert_same_weights(run(tmp_path / "b", **arguments), control)
        one, other = (lines(tmp_path / name) for name in "ab")
        assert one == other

    def test_during_an_evaluation(self, run, tmp_path, asked, rows, assert_same_weights):
        """The first evaluation asks, at its first batch."""
        control = run(tmp_path / "a", steps=4)
        seen = []

        class Asking(Input):
            def open_eval(self, *place):
                feed = super().open_eval(*place)
                rewind, feed.rewind = feed.rewind, lambda: (rewind(), seen and asked.append(True), seen.append(1))
                return feed

        with pytest.raises(PreemptedError):
            run(tmp_path / "b", steps=4, eval_datasets={"test": Asking(rows(40), 16)})
        assert [line["split"] for line in lines(tmp_path / "b")] == ["train"]
        asked.clear()
        assert_same_weights(run(tmp_path / "b", steps=4), control)
        assert lines(tmp_path / "a") == lines(tmp_path / "b")


class TestFailingEvaluation:
    def test_costs_no_steps(self, regression_task, make_trainer, tmp_path):
        """The checkpoint of that step is due, and the rerun makes up for the evaluation."""

        class Strict(regression_task):
            fails = True

            def loss(self, model, batch, training):
                if not training and self.fails:
                    tf.debugging.assert_less(batch["x"], -1e9, "too large")
                return super().loss(model, batch, training)

        arguments = {"train_steps": 6, "eval_interval": 3, "checkpoint_interval": 3, "model_dir": tmp_path}
        with pytest.raises(UsageError, match="too large"):
            make_trainer(Strict(), evaluate=True, **arguments).train_and_eval()
        assert (tmp_path / "checkpoints" / "ckpt-3.index").exists()
        fixed = Strict()
        fixed.fails = False
        again = make_trainer(fixed, evaluate=True, **arguments)
        again.train_and_eval()
        lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if line["split"] == "eval"] == [3, 6]


class TestFailingAction:
    def test_costs_no_steps(self, run, tmp_path, assert_same_weights):
        """The rerun continues from step 6, where no checkpoint was due, and ends as if nothing had happened."""
        control = run(tmp_path / "a", summary_interval=3, actions=[lambda trainer, summary: None])

        def fail(trainer, summary):
            if summary.step == 6:
                raise ValueError("a bug")

        with pytest.raises(ValueError, match="a bug"):
            run(tmp_path / "b", summary_interval=3, actions=[fail])
        assert (tmp_path / "b/checkpoints/ckpt-6.index").exists()
        again = run(tmp_path / "b", summary_interval=3, actions=[lambda trainer, summary: None])
        assert_same_weights(again, control)
        assert lines(tmp_path / "a") == lines(tmp_path / "b")
