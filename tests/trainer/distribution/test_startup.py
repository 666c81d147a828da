"""A start that does not end, and what one costs."""

import gc
import subprocess
import sys

import pytest
from tallyloop.trainer.distribution.startup import no_garbage_collections

# One power that takes longer than the test, and holds Python's lock throughout.
STUCK = """
import sys
from tallyloop.trainer.distribution.startup import ends_process_after
with ends_process_after(60): pass
print("the end", flush=True)
with ends_process_after(0.2):
    10 ** (10 ** 9)
"""


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
