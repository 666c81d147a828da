"""The lock of a run's folder: whose it is, and on which file systems."""

import errno
import fcntl
import os
import subprocess
import sys

import pytest
from tallyloop.metrics import UsageError
from tallyloop.trainer.errors import OutputError
from tallyloop.trainer.loop import folder_lock as lock

FORKS = """
import os, sys, time
from pathlib import Path
from tallyloop.trainer.loop import folder_lock as lock
with lock.locked(Path(sys.argv[1])):
    assert lock.is_held(Path(sys.argv[1]))
    if os.fork():
        time.sleep(60)
    else:
        assert not lock.is_held(Path(sys.argv[1]))
        try:
            lock.locked(Path(sys.argv[1])).__enter__()
        except Exception as error:
            print(os.getpid(), type(error).__name__, flush=True)
        time.sleep(30)
        os._exit(0)
"""


class TestFolderLock:
    def test_names_its_holder(self, tmp_path):
        code = f"""
import time
from pathlib import Path
from tallyloop.trainer.loop import folder_lock as lock
with lock.locked(Path({str(tmp_path)!r})):
    print("held", flush=True)
    time.sleep(60)
"""
        other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=rf"in use by another run \(pid {other.pid} on {os.uname().nodename}\)"):
            lock.locked(tmp_path).__enter__()
        other.kill()
        other.communicate()
        with lock.locked(tmp_path), lock.locked(tmp_path):
            pass

    def test_orphan_does_not_hold_it(self, tmp_path):
        parent = subprocess.Popen([sys.executable, "-c", FORKS, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        child, refused = parent.stdout.readline().split()
        try:
            assert refused == "UsageError"  # while the run lives, its child is refused like any other
            with pytest.raises(UsageError, match=f"in use by another run .pid {parent.pid} "):
                lock.locked(tmp_path).__enter__()
            parent.kill()
            parent.wait()
            os.kill(int(child), 0)  # it is still there
            with lock.locked(tmp_path):
                pass
        finally:
            parent.kill()
            os.kill(int(child), 9)
            parent.communicate()

    @pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
    def test_file_system_without_locks(self, tmp_path, monkeypatch, caplog, number):
        def refuse(file, how):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", refuse)
        with lock.locked(tmp_path):
            assert lock.is_held(tmp_path)
        assert not lock.is_held(tmp_path)
        assert f"{tmp_path / 'run.lock'} cannot be locked ({os.strerror(number)})" in caplog.text
        assert "two runs in this folder would go unnoticed" in caplog.text


class TestFirstWrite:
    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
    def test_a_full_disk_is_no_reason_for_another_folder(self, tmp_path, number):
        with (
            pytest.raises(OutputError, match=r"cannot be written \(.+\)\. Free some space, and run the same command"),
            lock.first_write(tmp_path),
        ):
            raise OSError(number, os.strerror(number))
