import gin
import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.config import check_required, explain_call_error, missing_required, without_gin_notes


def failure(selector: str, **given) -> BaseException:
    try:
        gin.get_configurable(selector)(**given)
    except Exception as error:
        return error
    raise AssertionError("it did not fail")


MISSING_TASK = (
    "TestsTrainer.task is required and nothing binds it: add `TestsTrainer.task = @...` (TestsTask) "
    "to a --gin_file, or --gin_param='TestsTrainer.task=@...'"
)


def test_a_required_parameter_that_nothing_binds(load):
    loaded = load("TestsTrainer.rate = 1\n")
    assert missing_required(loaded, "TestsTrainer") == [MISSING_TASK]
    with pytest.raises(UsageError) as caught:
        check_required(loaded, "TestsTrainer")
    assert str(caught.value) == MISSING_TASK
    check_required(loaded, "TestsTrainer", supplied=["task"])


def test_a_required_parameter_of_what_a_binding_calls(load):
    loaded = load("one = @s/TestsTask()\nTestsTrainer.task = %one\nTestsTrainer.data = @tests_required()\n")
    assert missing_required(loaded, "TestsTrainer") == [
        "tests_required.x is required and nothing binds it; tests_required is called for "
        "`TestsTrainer.data = @tests_required()`, a.gin:3: add `tests_required.x = ...` to a --gin_file, "
        "or --gin_param='tests_required.x=...'",
        "TestsTask.width is required and nothing binds it; s/TestsTask is called for `one = @s/TestsTask()`, "
        "a.gin:1: add `TestsTask.width = ...` (int) to a --gin_file, or --gin_param='TestsTask.width=...'",
    ]


def test_what_is_bound_in_the_scope_of_the_call_is_not_missing(load):
    text = "TestsTrainer.task = @s/t/TestsTask()\n"
    check_required(load(text + "s/TestsTask.width = 1\n"), "TestsTrainer")
    other = "TestsTrainer.data = @u/TestsTask()\nu/TestsTask.width = 1\n"
    (message,) = missing_required(load(text + other), "TestsTrainer")
    assert message.startswith("TestsTask.width is required and nothing binds it; s/t/TestsTask is called for")


def test_what_is_overridden_or_not_called_is_not_missing(load):
    text = "TestsTrainer.task = @TestsTask()\nTestsTrainer.make = @tests_required\n"
    check_required(load(text, params=["TestsTrainer.task=@tests_open()"]), "TestsTrainer")


def test_a_call_that_lacks_an_argument(load):
    load("TestsTrainer.rate = 1\n")
    explained = explain_call_error(failure("TestsTrainer"))
    assert isinstance(explained, UsageError)
    assert str(explained) == MISSING_TASK


def test_a_call_inside_a_call_that_lacks_an_argument(load):
    load("TestsTrainer.task = @TestsTask()\n")
    assert str(explain_call_error(failure("TestsTrainer"))).startswith(
        "TestsTask.width is required and nothing binds it: add `TestsTask.width = ...` (int)"
    )


def test_a_gin_required_argument(load):
    load("TestsTrainer.data = @tests_required()\n")
    assert str(explain_call_error(failure("TestsTrainer", task=None))).startswith(
        "tests_required.x is required and nothing binds it: add `tests_required.x = ...`"
    )


def test_a_keyword_that_the_function_behind_refuses(load):
    @gin.register("tests_behind", module="tests_config")
    def behind(a, **kwargs):
        return (lambda b: b)(**kwargs)

    load("tests_behind.a = 1\ntests_behind.c = 1\n")
    (lambda_name,) = {"test_a_keyword_that_the_function_behind_refuses.<locals>.behind.<locals>.<lambda>()"}
    assert str(explain_call_error(failure("tests_behind"))) == (
        f"a.gin:2: tests_behind does not take `c` ({lambda_name} got an unexpected keyword argument 'c'). It takes: a"
    )


def test_a_mistake_in_code_is_not_the_configs(load):
    load("tests_broken.x = 2\n")
    assert explain_call_error(failure("tests_broken")) is None
    assert explain_call_error(ValueError("something else")) is None


def test_a_usage_error_loses_what_gin_appended(load):
    @gin.register("tests_usage", module="tests_config")
    def usage():
        raise UsageError("train_steps must be positive, got -1")

    load("TestsTrainer.data = @s/tests_usage()\n")
    error = failure("TestsTrainer", task=None)
    assert "In call to configurable" in str(error)
    assert str(explain_call_error(error)) == "train_steps must be positive, got -1"
    assert without_gin_notes(str(error)) == "train_steps must be positive, got -1"
