import gin
import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer import config as configs
from tallyloop.trainer.config import check_consumed


def unused(loaded) -> list[str]:
    return [str(item) for item in configs.unused(loaded)]


def train(**given) -> None:
    gin.get_configurable("TestsTrainer")(task=None, **given)


def test_what_was_called_is_used(load):
    loaded = load(
        "TestsTrainer.data = @train/tests_input()\ntrain/tests_input.batch = %size\ntests_input.path = 'x'\nsize = 8\n"
    )
    assert len(configs.unused(loaded)) == 3  # the macro's user is among them
    train()
    assert configs.unused(loaded) == []
    check_consumed(loaded)


def test_what_was_not_called_is_listed_with_place_and_reason(load):
    loaded = load("TestsTrainer.rate = 1\ntests_open.known_name = 2\n", params=["TestsTask.width=3"])
    train()
    with pytest.raises(UsageError) as caught:
        check_consumed(loaded)
    assert str(caught.value) == (
        "2 bindings have no effect:\n"
        "  a.gin:2: tests_open.known_name = 2: tests_open was never called\n"
        '  --gin_param "TestsTask.width=3": TestsTask.width = 3: TestsTask was never called'
    )


def test_a_call_in_another_scope_does_not_count(load):
    loaded = load(
        "TestsTrainer.data = @a/tests_input()\nTestsTrainer.evals = {'b': @b/tests_open()}\n"
        "b/tests_input.batch = 1\na/tests_input.batch = 2\n"
    )
    train()
    reason = 'tests_input was never called in scope "b"'
    assert unused(loaded) == [f"a.gin:3: b/tests_input.batch = 1: {reason}"]


def test_an_outer_binding_that_an_inner_one_always_beats_is_unused(load):
    text = "TestsTrainer.data = @a/tests_input()\ntests_input.batch = 1\na/tests_input.batch = 2\n"
    loaded = load(text)
    train()
    reason = "a/tests_input.batch (a.gin:3) is for an inner scope and wins in every call"
    assert unused(loaded) == [f"a.gin:2: tests_input.batch = 1: {reason}"]
    gin.get_configurable("tests_input")()
    assert configs.unused(loaded) == []


def test_what_the_caller_gives_is_not_taken_from_the_config(load):
    loaded = load("TestsTrainer.rate = 1\n")
    train(rate=2)
    assert unused(loaded) == ["a.gin:1: TestsTrainer.rate = 1: the code that calls TestsTrainer gives `rate` itself"]
    train()
    assert configs.unused(loaded) == []


BUNDLED = (
    "TestsTrainer.data = @train/tests_input()\n"
    "train/tests_input.batch = %size\n"
    "size = 8\n"
    "tests_input.path = 'bundled'\n"
)


@pytest.mark.parametrize(
    "override",
    [
        "TestsTrainer.data=@tests_open()",
        "train/tests_input.batch=4",
        "train/tests_input.path=mine",
        "tests_input.path=mine",
        "size=4",
    ],
)
def test_what_an_override_makes_useless_in_a_file_is_not_held_against_the_file(load, override):
    loaded = load(BUNDLED, params=[override])
    train()
    assert configs.unused(loaded) == []


def test_what_the_overriding_file_itself_leaves_useless_is(load):
    mine = "TestsTrainer.data = @tests_open()\ntests_input.path = 'mine'\n"
    loaded = load(BUNDLED, mine)
    train()
    assert unused(loaded) == ["b.gin:2: tests_input.path = 'mine': tests_input was never called"]


def test_an_override_excuses_only_what_the_overridden_reference_led_to(load):
    loaded = load(BUNDLED + "TestsTask.depth = 3\n", params=["TestsTrainer.data=@tests_open()"])
    train()
    assert unused(loaded) == ["a.gin:5: TestsTask.depth = 3: TestsTask was never called"]


@pytest.mark.parametrize(
    "ignore",
    ["tests_input", "tests_input.batch", "b/tests_input", "b/tests_input.batch", "tests_config.tests_input"],
)
def test_names_can_be_ignored(load, ignore):
    loaded = load("TestsTrainer.data = @b/tests_open()\nb/tests_input.batch = 1\n")
    train()
    configs.check_consumed(loaded, ignore=[ignore])
    with pytest.raises(UsageError, match=r"^a binding has no effect: a.gin:2: b/tests_input.batch = 1"):
        configs.check_consumed(loaded, ignore=["a/tests_input", "tests_input.path", "input"])
