"""What a run writes below its folder."""

import contextlib
import errno
import json
import re
import threading

import pytest
from tallyloop.metrics.writers import JsonlWriter, TensorBoardWriter
from tallyloop.trainer.checkpointing.folder import CheckpointFolder
from tallyloop.trainer.errors import OutputError
from tallyloop.trainer.loop.timing import TIMES
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


class TestFullDisk:
    """From the summary of step 4 on, nothing but checkpoints can be written, until the rerun."""

    @pytest.fixture
    def full(self, monkeypatch):
        """full(True) or full(False)"""
        state = [False]
        for writer in (JsonlWriter, TensorBoardWriter):
            for name in ("write", "upsert"):
                monkeypatch.setattr(writer, name, self._failing(getattr(writer, name), state))
        return lambda yes: state.__setitem__(0, yes)

    def _failing(self, call, state):
        def write(writer, summary):
            if state[0]:
                raise OSError(errno.ENOSPC, "No space left on device")
            return call(writer, summary)

        return write

    def test_loses_no_metric(self, run, whole, tmp_path, full, assert_same_weights):
        def fill(trainer, summary):
            full(summary.step >= 3)

        arguments = {"summary_interval": 1, "steps_per_loop": 1}
        control = run(tmp_path / "a", actions=[lambda trainer, summary: None], **arguments)
        with pytest.raises(OutputError, match=r"cannot be written .*No space left.* holds them") as raised:
            run(tmp_path / "b", actions=[fill], **arguments)
        saved = int(re.search(r"The checkpoint of step (\d+) is saved", str(raised.value))[1])
        assert {line[0] for line in lines(tmp_path / "b")} <= {1, 2, 3}  # the third may wait for the thread that writes
        assert saved > 3
        with pytest.raises(
            OutputError, match=rf"still cannot be written .* The checkpoint of step {saved} holds those"
        ):
            run(tmp_path / "b", **arguments)
        full(False)
        assert_same_weights(run(tmp_path / "b", actions=[lambda trainer, summary: None], **arguments), control)
        assert lines(tmp_path / "b") == lines(tmp_path / "a")
        assert points(tmp_path / "b") == points(tmp_path / "a")


def lines(folder):
    """(step, split, metrics without times) of each line, in order."""
    found = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return sorted(
        (line["step"], line["split"], {path: value for path, value in line["metrics"].items() if path not in TIMES})
        for line in found
    )


def points(folder):
    """Split -> the steps of the points of its loss in TensorBoard."""
    found = {}
    for split in ("train", "eval"):
        events = EventAccumulator(str(folder / split), {"tensors": 0}).Reload()
        found[split] = [event.step for event in events.Tensors("loss")]
    return found


class TestRunWriter:
    def test_unwritable_metrics_cost_no_checkpoint(self, run, whole, tmp_path, monkeypatch, assert_same_weights):
        """metrics.jsonl turns into a folder: the run ends, and the checkpoint of its last step is there."""

        def spoil(trainer, summary):
            if (summary.step, summary.split) == (4, "eval"):
                while not (tmp_path / "metrics.jsonl").is_dir():  # the thread that writes may make the file again
                    (tmp_path / "metrics.jsonl").unlink(missing_ok=True)
                    with contextlib.suppress(FileExistsError):
                        (tmp_path / "metrics.jsonl").mkdir()

        with pytest.raises(OutputError, match="metrics cannot be written") as raised:
            run(tmp_path, actions=[spoil], summary_interval=2, steps_per_loop=1)
        saved = int(re.search(r"The checkpoint of step (\d+) is saved", str(raised.value))[1])
        assert CheckpointFolder(tmp_path / "checkpoints").steps()[-1] == saved >= 4
        (tmp_path / "metrics.jsonl").rmdir()
        assert_same_weights(run(tmp_path), whole[0])


class Hanging:
    """A user's writer whose first `write` returns once the run has done its last step, or after ten seconds."""

    def __init__(self):
        self.last_step = threading.Event()
        self.waited_for = []

    def write(self, summary):
        self.waited_for.append(self.last_step.wait(10))


def test_nothing_waits_for_a_writer_that_hangs(run, whole, tmp_path, assert_same_weights):
    """Steps, evaluations, summaries and checkpoints are all done while the writer is still at its first summary."""
    writer = Hanging()
    seen = []

    def at_the_end(trainer, summary):
        seen.append((summary.step, summary.split))
        if seen[-1] == (12, "eval"):
            assert writer.waited_for == []
            assert CheckpointFolder(tmp_path / "checkpoints").steps()  # not all of them: saving goes on meanwhile
            writer.last_step.set()

    trainer = run(tmp_path, writers=[writer], actions=[at_the_end], summary_interval=1)
    assert len(seen) == 12 + 3
    assert writer.waited_for == [True] * 15
    assert_same_weights(trainer, whole[0])
