"""A start that does not end."""

import subprocess
import sys

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
