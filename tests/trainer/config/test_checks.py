import gin
import pytest
from tallyloop.trainer import config as configs
from tallyloop.trainer.config import engine

TRAINER_TAKES = "task, data, evals, train_steps, rate, model_dir, strategy, make"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "TestsTrianer.rate = 1\n",
            '1: no configurable is called "TestsTrianer": did you mean "TestsTrainer"?',
        ),
        (
            "\nTestsTrainer.data = @tests_inptu()\n",
            '2: no configurable is called "tests_inptu": did you mean "tests_input"?',
        ),
        (
            "tests_twin.x = 3\n",
            '1: "tests_twin" may mean tests_config.one.tests_twin or tests_config.two.tests_twin: '
            "write one of these in full",
        ),
        (
            "TestsTrainer.train_stps = 1\n",
            f'1: TestsTrainer has no parameter "train_stps": did you mean "train_steps"? '
            f"Its parameters: {TRAINER_TAKES}",
        ),
        (
            "TestsTrainer.secret = 1\n",
            f'1: "secret" of TestsTrainer is not for a config: code gives it. Its parameters: {TRAINER_TAKES}',
        ),
        ("TestsTrainer.train_steps = %stps\n", "1: the macro %stps is not defined: define it, stps = ..."),
        (
            "steps = 3\nTestsTrainer.train_steps = %stps\nTestsTrainer.rate = %steps\n",
            '2: the macro %stps is not defined: did you mean "steps"?',
        ),
        ("unheard_of = 3\n", '1: nothing uses the macro "unheard_of": no value is %unheard_of'),
        (
            "oddity = 3\n",
            '1: nothing uses the macro "oddity": did you mean "tests_input.oddity"?',
        ),
        (
            "TestsTrainer.data = @train/tests_input()\ntarin/tests_input.batch = 1\n",
            '2: nothing enters the scope "tarin": did you mean "train"? tarin/tests_input.batch has no '
            "effect without a reference such as @tarin/tests_input()",
        ),
        (
            "TestsTrainer.train_steps = %gin.REQUIRED\n",
            "1: TestsTrainer.train_steps is required and nothing binds it: add `TestsTrainer.train_steps = ...`",
        ),
    ],
)
def test_a_name_that_means_nothing_is_refused(refused, text, problem):
    assert refused(text) == f"a.gin:{problem}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("TestsTrainer.train_steps = 1e3", "wants int, got 1000.0 (float): write 1000"),
        ("TestsTrainer.train_steps = 0.5", "wants int, got 0.5 (float)"),
        ("TestsTrainer.train_steps = True", "wants int, got True"),
        ("TestsTrainer.train_steps = '500'", "wants int, got '500' (str): write 500"),
        ("TestsTrainer.rate = '1e-3'", "wants float, got '1e-3' (str): write 0.001"),
        ("TestsTrainer.rate = None", "wants float, got None"),
        ("tests_input.shuffle = 1", "wants bool, got 1 (int): write True"),
        ("tests_input.shuffle = 'false'", "wants bool, got 'false' (str): write False"),
        ("tests_input.path = 5", "wants str, got 5 (int): write '5'"),
        ("tests_input.names = 'a'", "wants Sequence[str], got 'a' (str): write ['a']"),
        ("tests_input.names = [1]", "wants Sequence[str], got [1]"),
        ("tests_input.shape = [1, 2]", "wants tuple[int, ...], got [1, 2]: write (1, 2)"),
        ("tests_input.mode = 'quick'", "wants one of 'fast', 'slow', got 'quick' (str)"),
        ("tests_input.options = {'a': 'b'}", "wants dict[str, float] or None, got {'a': 'b'}"),
        ("TestsTrainer.evals = {1: 2}", "wants Mapping[str, object] or None, got {1: 2}"),
        ("TestsTrainer.task = 'x'", "wants TestsTask, got 'x' (str)"),
        ("TestsTrainer.task = @TestsTask", "wants TestsTask, got @TestsTask: write @TestsTask()"),
        ("TestsTrainer.rate = @tests_open", "wants float, got @tests_open: write @tests_open()"),
        ("TestsTrainer.make = 3", "wants Callable[[int], int] or None, got 3 (int)"),
    ],
)
def test_a_value_against_its_annotation_is_refused(refused, text, problem):
    assert refused(text) == f"a.gin:1: {text.split(' =')[0]} {problem}"


@pytest.mark.parametrize(
    "text",
    [
        "TestsTrainer.rate = 1",
        "TestsTrainer.rate = 0.001",
        "TestsTrainer.rate = @tests_open()",
        "TestsTrainer.model_dir = None",
        "TestsTrainer.strategy = 5",
        "TestsTrainer.make = @tests_open",
        "TestsTrainer.make = @TestsTask",
        "TestsTrainer.evals = {'a': @tests_input()}",
        "tests_input.names = ('a', 'b')",
        "tests_input.shape = (1, 2, 3)",
        "tests_input.oddity = None",
        "tests_input.free = {'a': [1, (2,)]}",
        "tests_open.anything = 3",
    ],
)
def test_a_value_that_fits_or_cannot_be_judged_is_taken(load, text):
    assert configs.as_given(load(text)) == f"# Bindings\n{text}\n"


def test_a_macro_is_judged_where_it_is_used(refused):
    assert refused("steps = 'ten'\nTestsTrainer.train_steps = %steps\n") == (
        "a.gin:2: TestsTrainer.train_steps wants int, got 'ten' (str) (from %steps, a.gin:1)"
    )


def test_all_mistakes_are_told_at_once_and_gin_keeps_its_config(load, refused):
    load("tests_input.batch = 7\n")
    assert refused("TestsTrainer.rate = 'x'\nTestsTrainer.train_stps = 1\n", params=["lost=1"]) == (
        "3 mistakes in the config:\n"
        f'  a.gin:2: TestsTrainer has no parameter "train_stps": did you mean "train_steps"? '
        f"Its parameters: {TRAINER_TAKES}\n"
        '  --gin_param "lost=1": nothing uses the macro "lost": no value is %lost\n'
        "  a.gin:1: TestsTrainer.rate wants float, got 'x' (str)"
    )
    assert gin.get_configurable("tests_input")()["batch"] == 7


def test_an_unknown_block_is_told_once(refused):
    message = refused("Xylophone:\n  a = 1\n  b = 2\n")
    assert message == 'a.gin:2: no configurable is called "Xylophone"'


def test_a_mistake_in_a_value_does_not_hide_that_its_macro_and_scope_are_used(refused):
    message = refused(
        "lr = 0.1\nTestsTrainer.rat = %lr\nTestsTrainer.datum = @train/tests_input()\ntrain/tests_input.batch = 1\n"
    )
    assert message.startswith("2 mistakes in the config:\n  a.gin:2: TestsTrainer has no")
    assert "a.gin:3: TestsTrainer has no" in message


def test_scopes_that_code_enters_are_known(load, refused):
    text = "eval/tests_input.batch = 1\nTestsTrainer.data = @test/tests_input()\n"
    text += "test/eval/tests_input.batch = 2\n"
    load(text, scopes=["eval"])
    assert refused("TestsTrainer.data = @test/tests_input()\neval/test/tests_input.batch = 2\n", scopes=["eval"])
    assert 'nothing enters the scope "eval"' in refused(text)


def test_the_outer_scope_of_a_reference_is_entered_and_an_inner_one_is_not(load, refused):
    load("TestsTrainer.data = @a/b/tests_input()\na/tests_input.batch = 1\n")
    assert 'nothing enters the scope "b"' in refused(
        "TestsTrainer.data = @a/b/tests_input()\nb/tests_input.batch = 1\n"
    )


def test_a_macro_enters_the_scope_of_its_name(load):
    load("data = @tests_input()\nTestsTrainer.data = %data\ndata/tests_input.batch = 6\n")
    assert gin.get_configurable("TestsTrainer")(task=None).data["batch"] == 6


def test_a_constant_is_no_macro(load, refused):
    gin.constant("tests_config.TESTS_ANSWER", 42)
    load("TestsTrainer.train_steps = %TESTS_ANSWER\n")
    assert gin.get_configurable("TestsTrainer")(task=None).train_steps == 42
    gin.constant("tests_config.other.TESTS_ANSWER", 43)
    assert "%TESTS_ANSWER may mean tests_config.TESTS_ANSWER or" in refused("TestsTrainer.rate = %TESTS_ANSWER\n")
    gin.clear_config(clear_constants=True)


def test_a_parameter_bound_twice_in_one_file_is_a_warning(load):
    loaded = load(
        "tests_input.batch = 1\ntests_input.path = 'x'\ntests_input:\n  batch = 2\n",
        "tests_input.batch = 3\n",
    )
    assert loaded.warnings == (
        "a.gin:4: tests_input.batch is bound twice in this file: line 1 (1) has no effect, line 4 (2) wins",
    )


def test_a_near_miss_among_open_keywords_is_a_warning(load):
    assert load("tests_open.known_nam = 1\n").warnings == (
        'a.gin:1: tests_open names no parameter "known_nam" and takes it in **kwargs: did you mean "known_name"?',
    )


def test_the_config_is_locked_after_loading_and_after_a_failure_in_unlocked(load):
    load("tests_input.batch = 1\n")
    assert gin.config_is_locked()
    with pytest.raises(ValueError, match="nothing"), engine.unlocked():
        gin.bind_parameter("nothing.batch", 2)
    assert gin.config_is_locked()
    with engine.unlocked():
        gin.bind_parameter("tests_input.batch", 2)
    assert gin.config_is_locked()
    assert gin.get_configurable("tests_input")()["batch"] == 2


def test_a_configurable_that_needs_itself_is_refused(refused):
    assert refused("TestsTrainer.data = @s/tests_open()\ntests_open.x = @tests_open()\n") == (
        "a.gin:2: tests_open.x needs itself: `tests_open.x = @tests_open()` (a.gin:2)"
    )
    assert refused("a = %b\nb = [%a]\n") == "a.gin:1: a needs itself: `a = %b` (a.gin:1), `b = [%a]` (a.gin:2)"


def test_a_reference_to_itself_in_another_scope_is_no_circle(load):
    load("tests_open.x = @s/tests_open()\ns/tests_open.x = [@tests_open, 1]\n")
    assert gin.get_configurable("tests_open")()["x"]["x"][1] == 1
