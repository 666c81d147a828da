import gin
import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer import config as configs
from tallyloop.trainer.config import diff

FULL = """\
import textwrap
from json import decoder as d
size = 8
sizes = [%size, 16]
TestsTrainer:
  data = @train/tests_input()
  task = @TestsTask()
  evals = {'zebra': @test/tests_input(), 'ant': 1}
  rate = 1e999
train/tests_input.batch = %size
tests_input.free = (1,)
tests_input.path = "it's\\n"
test/tests_input.free = [%sizes, -2.5, None, {'a': ()}, @tests_open]
TestsTask.width = 1
"""

AS_GIVEN = """\
# Imports
import textwrap
from json import decoder as d

# Macros
size = 8
sizes = [%size, 16]

# Bindings
tests_input.free = (1,)
tests_input.path = "it's\\n"
test/tests_input.free = [%sizes, -2.5, None, {'a': ()}, @tests_open]
train/tests_input.batch = %size
TestsTask.width = 2
TestsTrainer.data = @train/tests_input()
TestsTrainer.evals = {'zebra': @test/tests_input(), 'ant': 1}
TestsTrainer.rate = 1e999
TestsTrainer.task = @TestsTask()
"""


class TestAsGiven:
    def test_is_sorted_and_normalised(self, load):
        assert configs.as_given(load(FULL, params=["TestsTask.width=2"])) == AS_GIVEN

    def test_loads_to_the_same_bindings(self, load):
        first = load(FULL, params=["TestsTask.width=2"])
        again = load(configs.as_given(first))
        values = {key: binding.value for key, binding in first.effective.items()}
        assert {key: binding.value for key, binding in again.effective.items()} == values
        assert configs.as_given(again) == AS_GIVEN
        trainer = gin.get_configurable("TestsTrainer")()
        assert (trainer.task.width, trainer.rate, trainer.data["batch"]) == (2, float("inf"), 8)
        assert trainer.data["path"] == "it's\n"

    def test_breaks_a_long_value_into_lines_that_load(self, load):
        long = load("tests_input.names = [" + ", ".join(f"'{'x' * 30}{i}'" for i in range(4)) + "]\n")
        text = configs.as_given(long)
        x = "x" * 30
        assert text == f"# Bindings\ntests_input.names = [\n    '{x}0',\n    '{x}1',\n    '{x}2',\n    '{x}3',\n]\n"
        assert configs.as_given(load(text)) == text


class TestOperative:
    def test_has_what_was_used_with_defaults_and_loads(self, load):
        loaded = load("n = 3\nTestsTask.width = %n\nTestsTrainer.data = 1\nlost = 1\ntests_open.known_name = %lost\n")
        gin.get_configurable("TestsTask")()
        text = "# Macros\nn = 3\n\n# Bindings\nTestsTask.depth = 2\nTestsTask.width = %n\n"
        assert configs.operative(loaded) == text
        assert configs.as_given(load(text)) == text

    def test_keeps_the_order_of_a_dict(self, load):
        loaded = load("tests_open.x = {'b': 1, 'a': @a/tests_input()}\n")
        gin.get_configurable("tests_open")()
        text = configs.operative(loaded)
        assert "\ntests_open.x = {'b': 1, 'a': @a/tests_input()}\n" in text
        assert configs.as_given(load(text)) == text

    def test_comments_out_a_scope_that_only_code_enters(self, load):
        loaded = load("tests_open.known_name = 5\n")
        with gin.config_scope("by_code"):
            gin.get_configurable("tests_open")()
        assert configs.operative(loaded) == "# Bindings\n# by_code/tests_open.known_name = 5\n"
        load(configs.operative(loaded))


class TestDiff:
    def test_tells_what_changed(self):
        old = "import a\nlr = 0.1\nA.x = 500\ntrain/B.y = 'a'\nC.z = %lr\n"
        new = "# the same\nlr = 0.1\nA.x = 1000\nC.z = 0.5\nD.w = [1]\n"
        assert diff(old, new) == [
            "A.x: 500 -> 1000",
            "C.z: %lr -> 0.5",
            "D.w: added, [1]",
            "import a: removed",
            "train/B.y: removed, was 'a'",
        ]
        assert diff(old, old) == []

    def test_ignores_how_names_are_written(self):
        assert diff("tests_config.TestsTask.width = 1\n", "TestsTask.width = 1\n") == []

    def test_refuses_a_torn_text_by_name(self):
        with pytest.raises(UsageError, match=r"^the previous config:1: unclosed bracket or quote"):
            diff("A.x = [", "")
