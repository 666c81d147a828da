"""Writers that fail or hang cost the run nothing, and are reported once."""

import threading
import time
from pathlib import Path

import pytest
from tallyloop.metrics.writers import Ending, RunDescription, Summary
from tallyloop.metrics.writers.outside import isolated
from tallyloop.metrics.writers.outside.isolated import OutsideWriters

RUN = RunDescription(Path("runs/x"), 0, {})
DONE = Ending("done", "done")


def summary(step):
    return Summary(step, "train", {"loss": 1.0}, {})


class Remembering:
    def __init__(self):
        self.calls = []

    def begin(self, run):
        self.calls.append(("begin", run.step))

    def write(self, summary):
        self.calls.append(("write", summary.step))

    def end(self, ending):
        self.calls.append(("end", ending.state))

    def close(self):
        self.calls.append(("close", threading.current_thread().name))


class Failing(Remembering):
    def write(self, summary):
        super().write(summary)
        raise ConnectionError("no such server")


class FailingAtFirst(Remembering):
    def begin(self, run):
        raise ValueError("no such project")


class OnlyWrites:
    def __init__(self):
        self.steps = []

    def write(self, summary):
        self.steps.append(summary.step)


class Hanging(OnlyWrites):
    def __init__(self):
        super().__init__()
        self.release = threading.Event()

    def write(self, summary):
        self.release.wait()
        super().write(summary)


@pytest.fixture
def reported(caplog):
    return lambda: [record.getMessage() for record in caplog.records]


def run(*writers, steps=3):
    outside = OutsideWriters(writers)
    outside.begin(RUN)
    for step in range(steps):
        outside.write(summary(step))
    outside.end(DONE)


class TestAWriter:
    def test_is_called_in_order_in_a_thread_of_its_own(self, reported):
        writer = Remembering()
        run(writer)
        *calls, last = writer.calls
        assert calls == [("begin", 0), ("write", 0), ("write", 1), ("write", 2), ("end", "done")]
        assert last == ("close", "tallyloop-Remembering")
        assert reported() == []

    def test_needs_no_more_than_write(self, reported):
        writer = OnlyWrites()
        run(writer)
        assert writer.steps == [0, 1, 2]
        assert reported() == []

    def test_that_fails_is_reported_once_and_goes_on(self, reported):
        failing, other = Failing(), OnlyWrites()
        run(failing, other)
        assert [name for name, _ in failing.calls] == ["begin", "write", "write", "write", "end", "close"]
        assert other.steps == [0, 1, 2]
        assert reported() == [
            "Trainer.writers: Failing has failed: ConnectionError: no such server. The run goes on; this writer is not "
            "reported again."
        ]

    def test_that_cannot_begin_is_not_called_again(self, reported):
        writer = FailingAtFirst()
        run(writer)
        assert writer.calls == []
        assert len(reported()) == 1

    def test_that_hangs_is_left_behind(self, reported, monkeypatch):
        monkeypatch.setattr(isolated, "_PATIENCE", 0.2)
        hanging, other = Hanging(), OnlyWrites()
        started = time.monotonic()
        run(hanging, other)
        assert 0.2 <= time.monotonic() - started < 5
        assert other.steps == [0, 1, 2]
        assert [line.partition(":")[2] for line in reported()] == [
            " Hanging does not return: its last summaries may be lost, after 0.2 s of waiting for it. The run goes on; this "
            "writer is not reported again."
        ]
        hanging.release.set()

    def test_that_hangs_is_left_sooner_when_the_run_was_asked_to_stop(self, reported, monkeypatch):
        monkeypatch.setattr(isolated, "_PATIENCE_WHEN_ASKED", 0.2)
        hanging = Hanging()
        outside = OutsideWriters([hanging])
        outside.begin(RUN)
        outside.write(summary(0))
        started = time.monotonic()
        outside.end(Ending("interrupted", "asked to stop"))
        assert 0.2 <= time.monotonic() - started < 10
        assert "after 0.2 s of waiting for it" in reported()[0]
        hanging.release.set()

    def test_that_is_slow_loses_what_does_not_fit(self, reported, monkeypatch):
        monkeypatch.setattr(isolated, "_MOST_WAITING", 4)
        monkeypatch.setattr(isolated, "_PATIENCE", 0.1)
        hanging = Hanging()
        outside = OutsideWriters([hanging])
        outside.begin(RUN)
        started = time.monotonic()
        for step in range(1000):
            outside.write(summary(step))
        assert time.monotonic() - started < 5  # nothing waits for it
        outside.end(DONE)
        assert len(reported()) == 1
        assert "Hanging is behind by 4 summaries, and further ones are dropped" in reported()[0]
        hanging.release.set()

    def test_that_never_began_is_not_waited_for(self, reported):
        OutsideWriters([Hanging()]).end(DONE)
        assert reported() == []
