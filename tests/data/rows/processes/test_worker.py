"""The parts of a process that reads rows: its memory, and its late packages. What it does as a whole: test_processes.py."""

import multiprocessing
import os
import pickle
import subprocess
import sys
import types

import pytest
from tallyloop.data.rows.processes import worker
from tallyloop.data.rows.processes.worker import Memory


def put(memory, *texts):
    return memory.put([pickle.PickleBuffer(text) for text in texts])


class TestMemory:
    def test_is_shared_by_its_descriptor(self):
        mine = Memory()
        its = Memory(os.dup(mine.descriptor))
        spans = put(its, b"abc", b"", b"x" * 100_000)
        assert [bytes(each) for each in mine.views(spans)] == [b"abc", b"", b"x" * 100_000]
        assert [start for start, _ in spans] == [0, 64, 64]
        spans = put(its, b"y" * 200_000)
        assert bytes(mine.views(spans)[0]) == b"y" * 200_000

    def test_of_nothing(self):
        memory = Memory()
        assert [bytes(each) for each in memory.views(put(memory, b""))] == [b""]

    def test_has_no_name_anywhere(self, monkeypatch, tmp_path):
        """Also where the system has no such memory, and a deleted file has to do."""
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.setattr("tempfile.tempdir", None)
        monkeypatch.delattr(os, "memfd_create")
        before = os.listdir("/dev/shm")
        memory = Memory()
        assert bytes(memory.views(put(memory, b"abc"))[0]) == b"abc"
        assert (os.listdir(tmp_path), os.listdir("/dev/shm")) == ([], before)


class TestLoadLate:
    @pytest.fixture(autouse=True)
    def package(self, tmp_path, monkeypatch):
        (tmp_path / "heavy").mkdir()
        (tmp_path / "heavy" / "__init__.py").write_text("from .part import VALUE\nloaded = True\n")
        (tmp_path / "heavy" / "part.py").write_text("VALUE = 3\n")
        monkeypatch.syspath_prepend(tmp_path)
        yield worker._load_late("heavy")
        for name in ("heavy", "heavy.part"):
            sys.modules.pop(name, None)

    def test_a_module_of_it_alone(self):
        from heavy.part import VALUE

        assert VALUE == 3
        assert "loaded" not in vars(sys.modules["heavy"])

    def test_a_name_of_it(self):
        from heavy import VALUE, loaded

        assert (VALUE, loaded) == (3, True)
        with pytest.raises(ImportError, match="cannot import name 'absent'"):
            from heavy import absent  # noqa: F401


def test_ends_quietly_when_the_run_leaves_an_answer():
    """A traceback would be the last thing on the console."""
    given, taken = Memory(), Memory()
    spans = put(given, pickle.dumps(types.SimpleNamespace(read=max)))
    mine, its = multiprocessing.Pipe()
    life, held = os.pipe()
    passed = [its.fileno(), life, given.descriptor, taken.descriptor]
    command = [sys.executable, "-P", worker.__file__, *map(str, passed)]
    with subprocess.Popen(command, pass_fds=passed, stderr=subprocess.PIPE, text=True) as process:
        its.close()
        mine.send((sys.path, "", spans))
        assert mine.recv() == ("loaded",)
        mine.send((0, 1))
        assert mine.poll(20)
        mine.close()
        assert process.communicate(timeout=20)[1] == ""
    assert process.returncode == 0
    os.close(life)
    os.close(held)
