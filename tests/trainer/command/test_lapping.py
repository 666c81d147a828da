"""The process of a setting; a real one is in tests/e2e/test_tuning.py."""

import sys
import threading
import types

import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer import config as configs
from tallyloop.trainer.command import lapping
from tallyloop.trainer.command.backend import load


@pytest.fixture(scope="module", autouse=True)
def registered():
    load(None)


def config(*params):
    return configs.load([], params)


class TestInstead:
    def test_trains_on_without_writing(self):
        laps = lapping._Laps()
        found = lapping._instead(config("Trainer.seed=1"), laps)
        assert found["actions"] == [laps]
        assert {name: found[name] for name in ("train_epochs", "eval_datasets", "best_metric", "writers")} == {
            "train_epochs": None,
            "eval_datasets": None,
            "best_metric": None,
            "writers": [],
        }
        assert "on_nonfinite" not in found

    def test_cannot_go_back_to_a_checkpoint(self):
        found = lapping._instead(config("Trainer.on_nonfinite='rollback'"), lapping._Laps())
        assert found["on_nonfinite"] == "halt"

    @pytest.mark.parametrize(
        ("given", "most"), [(["2"], 2), (["1000"], 1000), (["%n", "n=300"], 300)], ids=["short", "long", "macro"]
    )
    def test_loops_are_no_longer_than_needed(self, given, most):
        value, *macro = given
        params = [
            f"Trainer.steps_per_loop={value}",
            "Trainer.keep_every=500",
            "Trainer.checkpoint_interval=100",
            *macro,
        ]
        found = lapping._instead(config(*params), lapping._Laps())
        assert [found[name] for name in ("steps_per_loop", "checkpoint_interval", "keep_every")] == ["auto", most, None]

    @pytest.mark.parametrize("given", ["'auto'", "1", "0"])
    def test_short_loops_stay_and_mistakes_are_reported(self, given):
        found = lapping._instead(config(f"Trainer.steps_per_loop={given}"), lapping._Laps())
        assert not found.keys() & {"steps_per_loop", "checkpoint_interval"}


class TestLaps:
    def test_end_after_the_first_step_and_then_after_some_time(self, monkeypatch):
        monkeypatch.setattr(lapping, "_SECONDS", 0.02)
        laps, stopped = lapping._Laps(), threading.Event()
        trainer = types.SimpleNamespace(step=0, stop=lambda reason: stopped.set())
        laps.start(trainer)
        trainer.step = 1
        laps.reached(trainer)
        laps.end(trainer)
        assert stopped.is_set()
        assert (laps.steps_done, 0 < laps.to_first_step < laps.first_step) == (1, True)

        stopped.clear()
        laps.start(trainer)
        assert stopped.wait(5)
        trainer.step = 8
        laps.end(trainer)
        assert laps.steps_done == 7
        assert laps.seconds >= 0.02


class TestLap:
    @pytest.mark.parametrize(("waits", "steps"), [(True, 5), (False, 5 + 8)], ids=["read ahead", "memory"])
    def test_counts_no_steps_that_were_read_before_it(self, waits, steps):
        """8 batches are ready at first; then, one call trains 5 steps."""
        laps = lapping._Laps()
        feed = types.SimpleNamespace(waits=waits, ready=8)
        session = types.SimpleNamespace(feed=feed, loop=types.SimpleNamespace(kinds=1))
        trainer = types.SimpleNamespace(step=1, stop=lambda reason: None, session=session)

        def train():
            laps.start(trainer)
            trainer.step += 5 + feed.ready
            feed.ready = 0
            laps.end(trainer)

        trainer.train = train
        found = lapping._lap(trainer, laps)
        assert (found["steps"], found["compiled"]) == (steps, False)

    def test_tells_that_another_kind_of_step_was_compiled(self):
        session = types.SimpleNamespace(feed=types.SimpleNamespace(waits=False), loop=types.SimpleNamespace(kinds=1))
        laps = types.SimpleNamespace(seconds=1.0, steps_done=3)

        def run(trainer, seconds):
            session.loop.kinds += 1

        laps.run = run
        assert lapping._lap(types.SimpleNamespace(session=session), laps)["compiled"]


class TestAsText:
    def test_is_one_line(self):
        assert lapping._as_text(ValueError("a\n  b")) == "ValueError: a b"

    def test_is_short(self):
        assert len(lapping._as_text(ValueError("x" * 9999))) <= lapping._LONGEST_ERROR

    def test_a_mistake_of_the_users_is_reported_in_full(self):
        error = UsageError("a = 1: expected\n" + "x" * 999)
        error.add_note("Remove it.")
        assert lapping._as_text(error) == str(error) + "\nRemove it."


def test_prints_of_others_go_to_stderr(capfd):
    with lapping._answering() as answer:
        print("of the user's", file=sys.__stdout__, flush=True)
        answer({"a": 1})
    found = capfd.readouterr()
    assert (found.out, "of the user's" in found.err) == ('{"a": 1}\n', True)
