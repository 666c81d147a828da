import gin
import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.config import explain, list_configurables

TEXT = """\
TestsTrainer.data = @train/tests_input()
tests_input.batch = 1
tests_input.batch = %size
train/tests_input.batch = 3
size = 2
"""
UNKNOWN = "used or not: not known yet"


def test_a_parameter_with_its_overrides(load):
    loaded = load("TestsTrainer.train_steps = 5\n", params=["TestsTrainer.train_steps=7"])
    assert explain(loaded, "TestsTrainer.train_steps") == (
        "TestsTrainer.train_steps (int, default 10)\n"
        "  a.gin:1: TestsTrainer.train_steps = 5  (overridden)\n"
        f'  --gin_param "TestsTrainer.train_steps=7": TestsTrainer.train_steps = 7  (wins, {UNKNOWN})'
    )


def test_scopes(load):
    loaded = load(TEXT)
    first = "  a.gin:2: tests_input.batch = 1  (overridden)\n"
    assert explain(loaded, "tests_input.batch") == (
        f"tests_input.batch (int, default 4)\n{first}"
        f"  a.gin:3: tests_input.batch = %size  (wins, {UNKNOWN})\n"
        f"  a.gin:4: train/tests_input.batch = 3  (wins in scope train, {UNKNOWN})"
    )
    assert explain(loaded, "train/tests_input.batch") == (
        f"train/tests_input.batch (int, default 4)\n{first}"
        "  a.gin:3: tests_input.batch = %size  (overridden in scope train)\n"
        f"  a.gin:4: train/tests_input.batch = 3  (wins, {UNKNOWN})"
    )


def test_use_is_known_once_something_ran(load):
    loaded = load(TEXT)
    gin.get_configurable("TestsTrainer")(task=None)
    text = explain(loaded, "tests_input.batch")
    assert "tests_input.batch = %size  (wins, not used so far)" in text
    assert "train/tests_input.batch = 3  (wins in scope train, used)" in text


def test_a_macro(load):
    expected = f"%size (a macro)\n  a.gin:5: size = 2  (wins, {UNKNOWN})\n  taken by a.gin:3: tests_input.batch = %size"
    loaded = load(TEXT)
    assert explain(loaded, "size") == explain(loaded, "%size") == expected


def test_a_configurable_with_nothing_bound(load):
    assert explain(load(""), "TestsTask") == (
        "TestsTask.width (int, required)\n"
        "  nothing binds it: it is required\n"
        "TestsTask.depth (int, default 2)\n"
        "  nothing binds it: the default holds"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "TestsTask.widht",
            'TestsTask has no parameter "widht": did you mean "width"? Its parameters: width, depth',
        ),
        ("TestsTsak.width", 'no configurable is called "TestsTsak": did you mean "TestsTask"?'),
        ("sizee", '"sizee" is no configurable, parameter or macro: did you mean "size"?'),
        ("%sizee", 'no macro is called %sizee: did you mean "size"?'),
    ],
)
def test_an_unknown_name_is_refused(load, name, message):
    loaded = load(TEXT)
    with pytest.raises(UsageError) as caught:
        explain(loaded, name)
    assert str(caught.value) == message


def test_the_list_has_parameters_defaults_and_first_lines():
    text = list_configurables()
    yours = text[text.index("Yours\n") :]
    assert "\n  TestsTask(width, depth=2)\n    A task for tests.\n" in yours
    assert "\n  tests_open(known_name=1, **kwargs)\n" in yours
    assert "It says more here" not in text
    assert "secret" not in text
    assert "macro" not in text
