"""What a run shows on a real terminal of 80 columns and 24 rows, with 60 metrics."""

import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import termios
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "metrics" / "terminal"))
from screen import Screen, read

pytestmark = pytest.mark.slow

MANY = """
import gin
import tensorflow as tf
from tallyloop import metrics
from tallyloop.models import ClassifierTask

@gin.register
class Many(ClassifierTask):
    def build_model(self):
        print("the user's own line")
        return super().build_model()

    def loss(self, model, batch, training):
        for i in range(60):
            metrics.add(f"stage_{i % 7}/layer_{i}/activation_error", tf.cast(batch["y"], tf.float32) * i)
        return super().loss(model, batch, training)
"""


@pytest.fixture
def shown(command):
    """shown(*bindings, until=None, **environment) -> (exit code, text); with `until`, Ctrl-C is pressed once that is shown."""
    (command.folder / "many.py").write_text(MANY)

    def run(*bindings, until=None, **environment):
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        flags = ["--gin_file=digits.gin", f"--model_dir={command.model_dir}", "--import_module=many"]
        task = ("Trainer.task=@Many()", "Many.model=@mlp", "Trainer.summary_interval=20", *bindings)
        process = command.background(
            *flags,
            *(f"--gin_param={each}" for each in task),
            **dict.fromkeys(("stdin", "stdout", "stderr"), its),
            env={**os.environ, "TERM": "xterm-256color", **environment},
        )
        os.close(its)
        text = ""
        if until is not None:
            text = read(ours, lambda found: until in found)
            process.send_signal(signal.SIGINT)
        text += read(ours, lambda found: False)
        with contextlib.suppress(OSError):
            os.close(ours)
        return process.wait(60), text

    return run


def test_a_run_and_its_rerun(shown, command):
    code, text = shown("Trainer.train_steps=100")
    assert code == 0, text
    screen = Screen().feed(text)
    lines = [line for line in screen.text if line]
    assert screen.cursor_is_shown
    assert "loading TensorFlow ..." in text
    assert "tracing the train step ..." in text
    assert re.search(r"compiling [^\r\n]*\.\.\.", text)
    assert lines[0] == "the user's own line"
    assert re.match(r"eval  100 \| loss [\d.]+ \| accuracy [\d.]+ \| .*\.\.\.$", lines[1])
    assert re.match(r"step 100/100  ━+  ETA 0:00:00  [\d.,]+ steps/s  [\d.,]+ ex/s  wait \d+%$", lines[2])
    assert re.match(r"metric +train +best +eval +best$", lines[3])
    assert re.match(r"loss +[\d.]+ [▲▼] [\d.]+ +[\d.]+ +[\d.]+$", lines[4])
    assert lines[13] == "(+54 more metrics in TensorBoard)"
    assert lines[14].startswith("Time: 0:00:")
    assert f"Look: tensorboard --logdir={command.model_dir.parent}" in "".join(lines)
    assert len(lines) < 30  # nothing was left behind by frames that had scrolled

    code, text = shown("Trainer.train_steps=120", NO_COLOR="1")
    assert code == 0, text
    assert "Continues from step 100 of 120." in Screen().feed(text).text
    assert not re.search(r"\x1b\[[0-9;]*m", text)


def test_ctrl_c_leaves_a_clean_terminal(shown):
    code, text = shown("Trainer.train_steps=100000", until="step 40")
    screen = Screen().feed(text)
    assert code == 42, text
    assert screen.cursor_is_shown
    assert re.match(
        r"Stopped after step \d+\. The same command continues\.$", [line for line in screen.text if line][-1]
    )
    assert sum("step" in line and "ETA" in line for line in screen.text) == 1
