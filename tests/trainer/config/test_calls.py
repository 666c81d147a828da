import gin
import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.config import check_required, explain_call_error, names, without_gin_notes


def required(loaded, name: str = "TestsTrainer") -> list[str]:
    """The lines of the error that `check_required` raises."""
    with pytest.raises(UsageError) as caught:
        check_required(loaded, name)
    return str(caught.value).split("\n")


def failure(selector: str, **given) -> BaseException:
    try:
        gin.get_configurable(selector)(**given)
    except Exception as error:
        return error
    raise AssertionError("it did not fail")


MISSING_TASK = (
    "TestsTrainer.task is required but not bound: add `TestsTrainer.task = @...` (TestsTask) "
    "to a --gin_file, or --gin_param='TestsTrainer.task=@...'"
)


class TestCheckRequired:
    def test_a_parameter_of_the_call_itself(self, load):
        assert required(load("TestsTrainer.rate = 1\n")) == [MISSING_TASK]

    def test_a_parameter_of_what_a_binding_calls(self, load):
        text = "one = @s/TestsTask()\nTestsTrainer.task = %one\nTestsTrainer.data = @tests_required()\n"
        assert required(load(text)) == [
            "tests_required.x is required but not bound where `TestsTrainer.data = @tests_required()` (a.gin:3) calls "
            "tests_required: add `tests_required.x = ...` to a --gin_file, or --gin_param='tests_required.x=...'",
            "TestsTask.width is required but not bound where `one = @s/TestsTask()` (a.gin:1) calls s/TestsTask: add "
            "`TestsTask.width = ...` (int) to a --gin_file, or --gin_param='TestsTask.width=...'",
        ]

    def test_a_binding_for_the_scope_of_the_call_counts(self, load):
        text = "TestsTrainer.task = @s/t/TestsTask()\n"
        check_required(load(text + "s/TestsTask.width = 1\n"), "TestsTrainer")

    def test_a_binding_for_another_scope_does_not_count(self, load):
        text = "TestsTrainer.task = @s/t/TestsTask()\nTestsTrainer.data = @u/TestsTask()\nu/TestsTask.width = 1\n"
        (message,) = required(load(text))
        assert message.startswith(
            "TestsTask.width is required but not bound where `TestsTrainer.task = @s/t/TestsTask()` (a.gin:1) calls "
            "s/t/TestsTask: add"
        )

    def test_what_is_overridden_or_not_called_needs_nothing(self, load):
        text = "TestsTrainer.task = @TestsTask()\nTestsTrainer.make = @tests_required\n"
        check_required(load(text, params=["TestsTrainer.task=@tests_open()"]), "TestsTrainer")


class TestMissingArgument:
    def test_of_the_call_itself(self, load):
        loaded = load("TestsTrainer.rate = 1\n")
        explained = explain_call_error(failure("TestsTrainer"), loaded)
        assert isinstance(explained, UsageError)
        assert str(explained) == MISSING_TASK

    def test_of_a_call_inside(self, load):
        loaded = load("TestsTrainer.task = @TestsTask()\n")
        assert str(explain_call_error(failure("TestsTrainer"), loaded)).startswith(
            "TestsTask.width is required but not bound: add `TestsTask.width = ...` (int)"
        )

    def test_that_is_gin_required(self, load):
        loaded = load("TestsTrainer.data = @tests_required()\n")
        assert str(explain_call_error(failure("TestsTrainer", task=None), loaded)).startswith(
            "tests_required.x is required but not bound: add `tests_required.x = ...`"
        )


class TestRefusedArgument:
    def test_by_a_function_behind_kwargs(self, load):
        def inner(b):
            return b

        @gin.register("tests_behind", module="tests_config")
        def behind(a, **kwargs):
            return inner(**kwargs)

        loaded = load("tests_behind.a = 1\ntests_behind.c = 1\n")
        assert str(explain_call_error(failure("tests_behind"), loaded)) == (
            f"a.gin:2: tests_behind does not take `c` ({inner.__qualname__}() got an unexpected keyword argument 'c'). "
            "It takes: a"
        )


class TestRefusedValues:
    def test_of_keras_are_listed_with_their_places(self, load):
        names.register_keras()
        loaded = load('keras.optimizers.SGD.learning_rate = "0.1"\nkeras.optimizers.SGD.momentum = 0.5\n')
        told = str(explain_call_error(failure("keras.optimizers.SGD"), loaded))
        assert told.startswith(
            "a.gin:1: SGD.learning_rate = '0.1'\n"
            "a.gin:2: SGD.momentum = 0.5\n"
            "SGD does not take one of these: Argument `learning_rate` should be float"
        )


class TestOtherErrors:
    def test_a_mistake_in_code_is_not_explained(self, load):
        loaded = load("tests_broken.x = 2\n")
        assert explain_call_error(failure("tests_broken"), loaded) is None
        assert explain_call_error(ValueError("something else"), loaded) is None

    def test_a_usage_error_loses_what_gin_appended(self, load):
        @gin.register("tests_usage", module="tests_config")
        def usage():
            raise UsageError("train_steps must be positive, got -1")

        loaded = load("TestsTrainer.data = @s/tests_usage()\n")
        error = failure("TestsTrainer", task=None)
        assert "In call to configurable" in str(error)
        assert str(explain_call_error(error, loaded)) == "train_steps must be positive, got -1"
        assert without_gin_notes(str(error)) == "train_steps must be positive, got -1"
