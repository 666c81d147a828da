"""The host's loop: what it calls and in which order, what it does on errors, and when it is asked to stop."""

import contextlib
import json

import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics.writers import Summary
from tallyloop.trainer.checkpointing.retention import Best
from tallyloop.trainer.distribution import preemption
from tallyloop.trainer.errors import OutputError, PreemptedError
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
    """Stands in for the run's writer; `failing` may be set by a test."""

    def __init__(self, log, saves):
        self.saves = saves
        self.fails = False
        self._log = log

    def resume(self, step, needed):
        self._log.append(("resume", step, needed))

    def write(self, summary):
        self._log.append(("write", summary.step, summary.split))

    def failing(self):
        return self.fails

    def save(self, step, needed):
        self._log.append(("save", step))

    def settle(self):
        self._log.append(("settle",))


class Console:
    def __init__(self):
        self.notes = []

    def paused(self):
        return contextlib.nullcontext()

    def note(self, text):
        self.notes.append(text)

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
        self.writer = Writer(self.log, saves)
        self.console = Console()
        self.loop = HostLoop(
            session=self.session,
            evaluation=Evaluation(self.log, losses or {}) if evaluates else None,
            schedule=schedule,
            loop_length=LoopLength(most, most),
            rollbacks=Rollbacks(self.log, rollbacks),
            writer=self.writer,
            console=self.console,
            actions=actions,
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


class TestErrors:
    def test_failing_evaluation_saves_what_is_due(self):
        """Step 5 is the last: a checkpoint is due; at step 3 none is."""
        for step, saved in ((3, []), (5, [("save", 3), ("save", 4), ("save", 5)])):
            host = Host(losses={step: ValueError("bad eval data")})
            with pytest.raises(ValueError, match="bad eval data"):
                host.run()
            assert host.events("save") == saved

    def test_failing_metrics_save_at_once(self):
        """The writer raises the error then."""
        host = Host(evaluates=False)
        host.writer.fails = True

        def save(step, needed):
            raise OutputError(f"step {step} is saved")

        host.writer.save = save
        with pytest.raises(OutputError, match="step 1 is saved"):
            host.run()


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
            def open_eval(self):
                feed = super().open_eval()
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
        with pytest.raises(tf.errors.InvalidArgumentError, match="too large"):
            make_trainer(Strict(), evaluate=True, **arguments).train_and_eval()
        assert (tmp_path / "checkpoints" / "ckpt-3.index").exists()
        fixed = Strict()
        fixed.fails = False
        again = make_trainer(fixed, evaluate=True, **arguments)
        again.train_and_eval()
        lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        assert [line["step"] for line in lines if line["split"] == "eval"] == [3, 6]
