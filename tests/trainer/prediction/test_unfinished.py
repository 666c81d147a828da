"""The folder of unfinished predictions."""

import subprocess
import sys

import numpy as np
import pytest
from tallyloop.metrics import UsageError
from tallyloop.trainer.prediction.shard import MadeShard
from tallyloop.trainer.prediction.unfinished import Unfinished

NOTE = {"the weights": "1", "the data": "2"}


def shard(*values):
    return MadeShard([1] * len(values), [np.array(values)])


@pytest.fixture
def unfinished(tmp_path):
    found = Unfinished(tmp_path / "p.npz")
    with found.locked():
        found.begin(NOTE)
        yield found


class TestUnfinished:
    def test_shards_of_each_worker_in_order(self, unfinished):
        for worker, first, values in ((0, 2, [3]), (0, 0, [1, 2]), (11, 0, [7, 8, 9, 10]), (1, 0, [5])):
            unfinished.add(worker, first, shard(*values))
        assert [each.column(0).tolist() for each in unfinished.shards(0)] == [[1, 2], [3]]
        assert [unfinished.done(worker) for worker in (0, 1, 2, 11)] == [3, 1, 0, 4]

    def test_shards_made_of_the_same_are_kept(self, unfinished, caplog):
        unfinished.add(0, 0, shard(1))
        unfinished.begin(NOTE)
        assert unfinished.done(0) == 1
        assert caplog.text == ""

    def test_others_are_deleted(self, unfinished, caplog):
        unfinished.add(0, 0, shard(1))
        unfinished.begin(NOTE | {"the data": "3"})
        assert unfinished.done(0) == 0
        assert "p.npz was left unfinished and starts over, as these have changed: the data." in caplog.text

    def test_what_a_kill_left_of_a_shard_does_not_count(self, unfinished, tmp_path):
        (tmp_path / ".p.npz.shards" / ".worker-0-batches-00000000-00000001.shard.tmp").write_text("half")
        assert unfinished.done(0) == 0

    def test_seen_by_who_shares_the_folder(self, unfinished, tmp_path):
        assert unfinished.is_seen(NOTE)
        assert not unfinished.is_seen(NOTE | {"the data": "3"})
        assert not Unfinished(tmp_path / "other" / "p.npz").is_seen(NOTE)

    def test_nothing_is_left(self, unfinished, tmp_path):
        unfinished.add(0, 0, shard(1))
        unfinished.remove()
        assert list(tmp_path.iterdir()) == []

    def test_one_process_at_a_time(self, tmp_path):
        code = (
            "import fcntl, sys\n"
            f"file = open({str(tmp_path / '.p.npz.shards' / 'run.lock')!r}, 'a+')\n"
            "fcntl.flock(file, fcntl.LOCK_EX)\nprint('locked', flush=True)\nsys.stdin.read()"
        )
        (tmp_path / ".p.npz.shards").mkdir()
        with subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout.readline() == "locked\n"
            with (
                pytest.raises(UsageError, match=r"p.npz is being written by another process: wait for it"),
                Unfinished(tmp_path / "p.npz").locked(),
            ):
                pass
            other.stdin.close()
