"""A start that does not end, what one costs, and the memory of the process."""

import gc
import os
import platform
import subprocess
import sys

import pytest
from tallyloop.trainer.distribution.startup import available_cores, no_garbage_collections

# One power that takes longer than the test, and holds Python's lock throughout.
STUCK = """
import sys
from tallyloop.trainer.distribution.startup import ends_process_after
with ends_process_after(60): pass
print("the end", flush=True)
with ends_process_after(0.2):
    10 ** (10 ** 9)
"""

# Counts the page faults of making and freeing the same 96 MB, on a thread as TensorFlow does, and on the main one.
FREED = """
import ctypes, resource, threading
from tallyloop.trainer.distribution.startup import keep_freed_memory

libc, faults = ctypes.CDLL(None), []
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def rounds():
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        made = [libc.malloc(8 << 20) for _ in range(12)]
        for each in made:
            ctypes.memset(each, 1, 8 << 20)
        for each in made:
            libc.free(each)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

keep_freed_memory()
rounds()
thread = threading.Thread(target=rounds)
thread.start()
thread.join()
print(*faults)
"""

# Counts the arenas of malloc after 40 threads have each taken memory while all the others had some.
ARENAS = """
import ctypes, sys, threading
from tallyloop.trainer.distribution.startup import keep_freed_memory

libc = ctypes.CDLL(None)
libc.fopen.restype, libc.fclose.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
everyone = threading.Barrier(40)

def take():
    libc.malloc(5000)
    everyone.wait()

keep_freed_memory()
threads = [threading.Thread(target=take) for _ in range(40)]
for each in threads: each.start()
for each in threads: each.join()
file = libc.fopen(sys.argv[1].encode(), b"w")
libc.malloc_info(0, file)
libc.fclose(file)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are those of glibc's malloc")
class TestKeepFreedMemory:
    @staticmethod
    def run(code, *arguments, **environment):
        line = [sys.executable, "-c", code, *arguments]
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
        return subprocess.run(
            line, capture_output=True, text=True, timeout=60, env=clean | environment, check=True
        ).stdout

    def faults(self, **environment):
        return [int(each) for each in self.run(FREED, **environment).split()]

    def test_pages_are_cleared_once(self):
        first, second, third, *on_thread = self.faults()
        assert first > 1000  # 24,000 pages of 4 KiB, or fewer and larger ones
        assert max(second, third, *on_thread[1:]) < 100

    @pytest.mark.parametrize(
        ("given", "most"),
        [
            ({}, min(available_cores(), 41)),
            ({"MALLOC_ARENA_MAX": "5"}, 5),
            ({"GLIBC_TUNABLES": "glibc.malloc.arena_max=5"}, 5),
        ],
    )
    def test_in_an_arena_for_each_core(self, tmp_path, given, most):
        self.run(ARENAS, str(tmp_path / "told"), **given)
        assert (tmp_path / "told").read_text().count("<heap nr=") == most

    @pytest.mark.slow
    def test_from_the_import_of_the_trainer_on(self, tmp_path):
        code = ARENAS.replace("keep_freed_memory()\n", "from tallyloop.trainer import Trainer\n")
        self.run(code, str(tmp_path / "told"))
        assert (tmp_path / "told").read_text().count("<heap nr=") <= min(available_cores(), 41)

    @pytest.mark.parametrize(
        "setting", [("MALLOC_MMAP_THRESHOLD_", "131072"), ("GLIBC_TUNABLES", "glibc.malloc.mmap_threshold=131072")]
    )
    def test_settings_of_the_user_stay(self, setting):
        assert min(self.faults(**dict([setting]))) > 1000

    @pytest.mark.parametrize("tunable", ["glibc.malloc.hugetlb=1", "glibc.malloc.arena_max=8"])
    def test_other_settings_of_the_user_do_not_matter(self, tunable):
        _, second, third, *on_thread = self.faults(GLIBC_TUNABLES=tunable)
        assert max(second, third, *on_thread[1:]) < 100


class TestEndsProcess:
    def test_stuck_start(self):
        done = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert done.stdout == "the end\n"
        assert done.stderr.startswith("Timeout (0:00:00.200000)!")


class TestGarbageCollections:
    @pytest.fixture
    def collections(self):
        """The collections since the fixture was made."""
        found = []
        gc.callbacks.append(lambda phase, info: found.append(phase))
        yield found
        gc.callbacks.pop()

    def test_none_while_importing(self, collections):
        with no_garbage_collections():
            made = [[] for _ in range(200_000)]
            assert collections == []
            frozen = gc.get_freeze_count()
        assert gc.get_freeze_count() >= frozen + len(made)  # what was made is not looked at again
        assert gc.isenabled()

    def test_stays_off_if_it_was(self):
        gc.disable()
        try:
            with no_garbage_collections():
                pass
            assert not gc.isenabled()
        finally:
            gc.enable()
