"""Which lines of a traceback are the user's."""

import inspect
import json
from pathlib import Path
from traceback import FrameSummary

import pytest
from tallyloop.data.messages.user_frames import at_line, at_line_of, of_user, user_frames

PACKAGE = Path(inspect.getfile(of_user)).parents[2]
SCRIPT, TASK, LAYER = ("/home/me/train.py", "/home/me/task.py", "/home/me/layers.py")
OURS = str(PACKAGE / "trainer" / "trainer.py")
KERAS = inspect.getfile(json)  # of the standard library, which counts like it
BUNDLED = str(PACKAGE / "models" / "classifier.py")


def files(*names):
    return [frame.filename for frame in of_user(FrameSummary(name, 1, "f") for name in names)]


class TestOfUser:
    def test_are_what_the_package_called_innermost_first(self):
        assert files(SCRIPT, OURS, TASK, KERAS, LAYER, KERAS) == [LAYER, TASK]

    def test_are_the_script_if_the_package_called_nothing(self):
        assert files(SCRIPT, OURS) == [SCRIPT]

    def test_are_a_bundled_task_if_there_is_nothing_else(self):
        assert files(OURS, BUNDLED, KERAS) == [BUNDLED]
        assert files(SCRIPT, OURS, BUNDLED) == [SCRIPT]

    def test_are_none(self):
        assert files(KERAS, OURS) == []


def broken(value):
    return 1 / value  # breaks


class TestAtLine:
    def test_names_it(self):
        line = inspect.getsourcelines(broken)[1] + 1
        with pytest.raises(ZeroDivisionError) as caught:
            broken(0)
        assert at_line(caught.value) == f" (at {__file__}:{line}, in broken)"
        assert user_frames(caught.value)[0].name == "broken"

    def test_of_a_second_call_that_raises_the_same(self):
        assert at_line_of(lambda: broken(0), ZeroDivisionError()).endswith(", in broken)")
        assert at_line_of(lambda: broken(1), ZeroDivisionError()) == ""
        assert at_line_of(lambda: broken("x"), ZeroDivisionError()) == ""

    def test_is_nothing_without_a_traceback(self):
        assert at_line(ValueError("never raised")) == ""
