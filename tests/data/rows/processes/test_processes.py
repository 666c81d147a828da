"""Reading in processes: the same rows, and nothing left, however a process ends."""

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import gin
import numpy as np
import pytest
from absl import logging
from tallyloop.data import Mixture, packed
from tallyloop.data.rows.processes import worker
from tallyloop.data.rows.processes.processes import Processes
from tallyloop.data.rows.rows import as_rows, of_arrays
from tallyloop.data.rows.transforms import Examples
from tallyloop.metrics.errors import DataError, UsageError

sys.path.append(str(Path(__file__).parent))  # of the processes, too
import numbered_rows
from numbered_rows import Numbers, gone, wait_until

ROWS = np.array([3, 7, 500])


def examples(transform=None, source=None):
    return Examples(as_rows(source or Numbers()), transform, 5)


def children():
    """The processes of ours that read rows."""
    found = []
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has just ended
            found += (thread / "children").read_text().split()
    # The children of a thread that ends meanwhile move to another one, which may have been read before.
    return {int(pid) for pid in found if worker.__file__ in Path(f"/proc/{pid}/cmdline").read_text().split("\0")}


@pytest.fixture
def warnings(monkeypatch):
    logged = []
    monkeypatch.setattr(logging, "warning", lambda message, *arguments: logged.append(message % arguments))
    return logged


class TestRead:
    def test_is_what_this_process_would_read(self):
        """Strings, arrays and random numbers; a second answer does not change the first."""
        given = examples(numbered_rows.noisy)
        processes = Processes(given, 1)
        found = [processes.read(epoch, ROWS) for epoch in (0, 1)]
        for epoch in (0, 1):
            expected = given.read(epoch, ROWS)
            assert found[epoch].keys() == expected.keys()
            np.testing.assert_array_equal(found[epoch]["x"], expected["x"])
            assert found[epoch]["name"].tolist() == expected["name"].tolist() == [b"row 3", b"row 7", b"row 500"]

    def test_is_done_elsewhere_without_tensorflow(self):
        processes = Processes(examples(numbered_rows.where), 2)
        found = []
        threads = [threading.Thread(target=lambda: found.append(processes.read(0, ROWS))) for _ in range(2)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        pids = {pid for each in found for pid in each["pid"].tolist()}
        assert len(pids) == 2
        assert any(pids <= children() for _ in range(100))
        assert not any(each["tensorflow"].any() for each in found)
        assert found[0]["empty"].shape == (3, 0)

    def test_of_our_sources_needs_no_tensorflow(self):
        source = Mixture([packed([[1, 2], [3]], length=2), packed([[4, 5, 6]], length=2)], [1, 1])
        assert not Processes(examples(numbered_rows.where, source), 1).read(0, np.arange(3))["tensorflow"].any()

    def test_grows_with_the_batch(self):
        arrays = {"x": np.arange(60_000).reshape(100, 600)}
        processes = Processes(Examples(of_arrays(arrays), None, 0), 1)
        for rows in (np.arange(1), np.arange(100), np.arange(3)):
            np.testing.assert_array_equal(processes.read(0, rows)["x"], arrays["x"][rows])


class TestErrors:
    def test_have_the_row_and_the_traceback(self):
        processes = Processes(examples(numbered_rows.refusing, Numbers(bad=[9])), 1)
        with pytest.raises(DataError, match=r"Input.transform, row 7: ValueError: no sevens") as raised:
            processes.read(0, ROWS)
        (note,) = raised.value.__notes__
        assert f'{numbered_rows.__file__}", line' in note
        assert note.endswith("ValueError: no sevens")
        with pytest.raises(DataError, match="source of Input, row 9: OSError: a hole in the disk"):
            processes.read(0, np.array([8, 9]))
        assert processes.read(0, np.array([8]))["name"].tolist() == [b"row 8"]

    def test_of_a_batch_name_its_rows(self):
        with pytest.raises(DataError, match=r"Input.transform, row 8, is unlike row 3: .*all input arrays"):
            Processes(examples(numbered_rows.ragged), 1).read(0, np.array([3, 8]))


class TestDeath:
    def test_of_a_process_that_reads(self, tmp_path, warnings):
        """Killed by its pid, it is replaced, and the rows are read."""
        file = tmp_path / "pid"
        processes = Processes(examples(numbered_rows.Holding(file, once=True)), 1)
        found = []
        reading = threading.Thread(target=lambda: found.append(processes.read(0, ROWS)))
        reading.start()
        pid = int(wait_until(lambda: file.exists() and file.read_text()))
        os.kill(pid, signal.SIGKILL)
        reading.join(20)
        assert found[0]["x"][:, 0].tolist() == [3, 7, 500]
        (warning,) = warnings
        assert f"the process {pid}, which read rows [3, 7, 500], was ended by SIGKILL" in warning

    def test_of_an_idle_process(self, warnings):
        processes = Processes(examples(numbered_rows.where), 1)
        before = int(processes.read(0, ROWS)["pid"][0])
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: gone(before))
        after = int(processes.read(0, ROWS)["pid"][0])
        assert before != after
        assert f"the process {before}" in warnings[0]

    def test_at_each_attempt_is_an_error(self, warnings):
        processes = Processes(examples(numbered_rows.crashing), 1)
        with pytest.raises(
            DataError, match=r"read rows \[7\], was ended by SIGSEGV, and so did the one before it: expected"
        ):
            processes.read(0, np.array([7]))
        assert len(warnings) == 1
        assert processes.read(0, np.array([8]))["x"].tolist() == [[8, 8]]


class TestEnd:
    def test_with_what_reads(self):
        """And all descriptors with them."""
        gc.collect()
        before = len(os.listdir("/proc/self/fd"))
        processes = Processes(examples(numbered_rows.where), 2)
        pids = {int(processes.read(0, ROWS)["pid"][0]) for _ in range(2)}
        assert len(pids) == 2
        del processes
        gc.collect()
        assert all(map(gone, pids))
        assert len(os.listdir("/proc/self/fd")) == before

    @pytest.mark.parametrize("seconds", [0.0, 0.05, 5.0])
    def test_while_a_thread_reads(self, warnings, seconds):
        """None is started in place of those that are ended, as it would outlive the program for a while."""
        gc.collect()
        others = children()
        processes = Processes(examples(numbered_rows.Sleeping(seconds)), 2)
        errors = []

        def read():
            try:
                while True:
                    processes.read(0, ROWS)
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=read, daemon=True) for _ in range(3)]
        for each in threads:
            each.start()
        before = wait_until(lambda: new if len(new := children() - others) == 2 else None)
        processes.end()
        assert all(map(gone, before))
        for each in threads:
            each.join(20)
        assert [type(each) for each in errors] == [DataError] * 3, errors
        assert not children() - others
        assert not warnings


# Imports nothing of TensorFlow, to be quick.
SCRIPT = f"""
import importlib.util, os, signal, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}]
spec = importlib.util.spec_from_file_location("worker", {worker.__file__!r})
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
worker._load_late("tallyloop.data")
import numpy as np
import numbered_rows
from tallyloop.data.rows.processes.processes import Processes
from tallyloop.data.rows.rows import as_rows
from tallyloop.data.rows.transforms import Examples
"""


def start(code, *arguments, **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, **options}
    return subprocess.Popen([sys.executable, "-c", SCRIPT + code, *map(str, arguments)], **options)


def readers_of(pid):
    found = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(each) for text in found for each in text.split()]


class TestTheParent:
    def test_killed_leaves_nothing(self, tmp_path):
        """While a process holds its GIL in one endless call, which no thread of its own could end."""
        before = set(os.listdir("/dev/shm"))
        file = tmp_path / "pid"
        code = """
transform = numbered_rows.Holding(sys.argv[1])
Processes(Examples(as_rows(numbered_rows.Numbers()), transform, 0), 2).read(0, np.arange(3))
"""
        parent = start(code, file)
        child = int(wait_until(lambda: file.exists() and file.read_text()))
        assert set(readers_of(parent.pid)) == {child}
        parent.kill()
        parent.wait()
        wait_until(lambda: gone(child), 5)
        assert set(os.listdir("/dev/shm")) == before
        assert parent.stdout.read() == ""

    def test_decides_what_a_signal_does(self):
        """Signals to the whole group, at the start and later, don't disturb the others."""
        code = """
for number in worker.STOPS:
    signal.signal(number, lambda *_: None)
processes = Processes(Examples(as_rows(numbered_rows.Numbers()), numbered_rows.where, 0), 1)
print("started", flush=True)
pids = {int(processes.read(0, np.arange(3))["pid"][0]) for _ in range(200)}
print("read", len(pids), flush=True)
sys.stdin.readline()
pids |= {int(processes.read(0, np.arange(3))["pid"][0])}
print("read", len(pids), flush=True)
"""
        parent = start(code, start_new_session=True, stdin=subprocess.PIPE)
        lines = [parent.stdout.readline()]
        for _ in range(40):
            for number in worker.STOPS:
                os.killpg(parent.pid, number)
            if parent.poll() is not None:
                break
            threading.Event().wait(0.01)
        parent.stdin.write("\n")
        parent.stdin.flush()
        lines += parent.communicate(timeout=60)[0].splitlines(keepends=True)
        assert lines == ["started\n", "read 1\n", "read 1\n"]


class TestScripts:
    """What a script defines is pickled with its code; no process runs the script."""

    CODE = """
class Source:
    def __len__(self):
        return 9
    def __getitem__(self, row):
        return {"x": FACTOR * row}

def transform(example, rng):
    return {"x": example["x"] + 1}

FACTOR = 10
print("runs")
print(Processes(Examples(as_rows(Source()), transform, 0), 1).read(0, np.arange(3))["x"].tolist())
"""

    def test_without_a_guard(self, tmp_path):
        (tmp_path / "script.py").write_text(SCRIPT + self.CODE)
        found = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=False)
        assert (found.stdout, found.stderr) == ("runs\n[1, 11, 21]\n", "")

    def test_without_a_file_as_a_notebook(self):
        assert start(self.CODE).communicate(timeout=60)[0] == "runs\n[1, 11, 21]\n"

    def test_whose_module_trains_when_it_is_imported(self, tmp_path):
        (tmp_path / "unguarded.py").write_text(
            f"{SCRIPT}\ndef same(example, rng):\n    return example\n"
            "processes = Processes(Examples(as_rows(numbered_rows.Numbers()), same, 0), 1)\n"
            "if __name__ == 'unguarded':\n    processes.read(0, np.arange(3))\n"
        )
        found = subprocess.run(
            [sys.executable, "-c", "import unguarded"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert "UsageError: Input.read_processes = 1: expected a source and a transform that another" in found.stderr
        assert "expected a module whose import trains nothing" in found.stderr


class TestRefusals:
    def test_of_what_cannot_be_pickled(self):
        source = Numbers()
        source.index = Numbers()
        source.index.lock = threading.Lock()
        with pytest.raises(
            UsageError,
            match=r"Input.read_processes = 2: expected .* got Input.source.index.lock of type lock \(cannot pickle '_thread.lock'"
            r".*function of a module, or use Input.read_threads",
        ):
            Processes(examples(source=source), 2)

    def test_of_a_transform(self):
        tokens = (i for i in range(3))
        with pytest.raises(
            UsageError, match=r"got Input.transform of type function \(cannot pickle 'generator' object"
        ):
            Processes(examples(lambda example, rng: next(tokens)), 1)

    def test_of_what_cannot_be_loaded(self, tmp_path, monkeypatch):
        """A module that is there only now."""
        (tmp_path / "fleeting.py").write_text("def same(example, rng):\n    return example\n")
        monkeypatch.syspath_prepend(tmp_path)
        import fleeting

        processes = Processes(examples(fleeting.same), 1)
        (tmp_path / "fleeting.py").unlink()
        with pytest.raises(UsageError, match="can load, got ModuleNotFoundError there: No module named 'fleeting'"):
            processes.read(0, ROWS)


class TestGin:
    @pytest.fixture(autouse=True)
    def clean_gin(self):
        gin.clear_config()  # a config that another test has loaded, and locked
        yield
        gin.clear_config()

    def test_binds_the_same_there(self):
        """In a scope, in a function that the transform calls, and what is ours and unknown there left out."""
        gin.parse_config("""
            BY = 3.0
            numbered_rows.scaled.by = 2.0
            train/numbered_rows.scaled.by = %BY
            numbered_rows.offset.value = 0.5
            Input.transform = @train/numbered_rows.scaled
            Input.map_fn = @numbered_rows.scaled
        """)
        for name, by in (("transform", 3), ("map_fn", 2)):
            transform = gin.query_parameter(f"Input.{name}").scoped_configurable_fn
            given = examples(transform)
            found = Processes(given, 1).read(0, ROWS)
            assert found["x"][:, 0].tolist() == given.read(0, ROWS)["x"][:, 0].tolist() == [3 * by, 7 * by, 500 * by]
            assert found["offset"].tolist() == given.read(0, ROWS)["offset"].tolist() == [0.5] * 3

    def test_of_what_is_unknown_there_is_needed_only_if_called(self):
        @gin.register(module="test_processes")
        def loss():
            return 0

        gin.parse_config("""
            LOSS = @test_processes.loss
            numbered_rows.offset_of_a_task.task = %LOSS
            numbered_rows.scaled.by = 4.0
        """)
        assert Processes(examples(numbered_rows.noisy), 1).read(0, ROWS)["x"].shape == (3, 2)
        processes = Processes(examples(numbered_rows.calls_offset_of_a_task), 1)
        with pytest.raises(DataError, match="No configurable matching reference"):
            processes.read(0, ROWS)
