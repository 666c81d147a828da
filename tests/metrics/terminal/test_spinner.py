"""The spinner on a real pseudo-terminal."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from screen import Screen, read

WORK = """
import sys, time
from tallyloop.metrics.terminal.spinner import doing
print("before")
try:
    with doing("loading"):
        time.sleep(0.35)
        print("printed")
        print("an error", file=sys.stderr)
        print("unfinished", end="", flush=True)
        time.sleep(0.25)
        print(" line")
        with doing("tracing"):
            time.sleep(0.35)
        if len(sys.argv) > 1:
            raise KeyboardInterrupt
except KeyboardInterrupt:
    print("interrupted")
print("after")
assert not {"rich", "tensorflow"} & set(sys.modules)
"""


DEBUGGED = """
import sys, time
from tallyloop.metrics.terminal.spinner import doing
sys.breakpointhook = lambda: time.sleep(0.5)
with doing("loading"):
    time.sleep(0.25)
    print("debugger")
    breakpoint()
breakpoint()
"""


def run(*arguments, code=WORK, **environment):
    """What is written to the terminal."""
    ours, its = pty.openpty()
    variables = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8", **environment}
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=its, stderr=its, env=variables)
    os.close(its)
    text = read(ours, lambda text: False, 60)
    os.close(ours)
    assert process.wait(30) == 0, text
    return text


def test_says_what_is_done_and_leaves_only_what_was_printed():
    text = run()
    assert "⠋ loading ..." in text
    assert "tracing ..." in text
    assert Screen().feed(text).text == ["before", "printed", "an error", "unfinished line", "after", ""]


def test_a_breakpoint_stops_it():
    """After the debugger's line, at most one more frame is drawn, where its half second has room for five."""
    assert run(code=DEBUGGED).partition("debugger")[2].count("loading ...") <= 1


def test_an_error_leaves_a_clean_line():
    assert Screen().feed(run("interrupt")).text[-3:] == ["interrupted", "after", ""]


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii"}])
def test_of_a_simple_terminal(environment):
    text = run(**environment)
    assert ("\x1b" in text) == ("TERM" not in environment)
    assert "⠋" not in text


def test_without_a_terminal(capsys):
    from tallyloop.metrics.terminal.spinner import doing

    with doing("loading"):
        print("printed")
    assert capsys.readouterr() == ("printed\n", "")
