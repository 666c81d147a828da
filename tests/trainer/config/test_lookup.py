import gin
import pytest
from tallyloop.trainer import config as configs

IF_YOURS = "If it is yours, decorate it with @gin.register, and name its module with --import_module"
TRAINER_TAKES = "task, data, evals, train_steps, rate, model_dir, strategy, make"


def bound(load, param: str) -> object:
    (binding,) = load(params=[param]).effective.values()
    return binding.value


class TestUnknownNames:
    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            (
                "TestsTrianer.rate = 1\n",
                '1: unknown configurable "TestsTrianer": did you mean "TestsTrainer"? ' + IF_YOURS,
            ),
            (
                "\nTestsTrainer.data = @tests_inptu()\n",
                '2: unknown configurable "tests_inptu": did you mean "tests_input"? ' + IF_YOURS,
            ),
            (
                "tests_twin.x = 3\n",
                '1: "tests_twin" is ambiguous: write tests_config.one.tests_twin or tests_config.two.tests_twin',
            ),
            (
                "TestsTrainer.train_stps = 1\n",
                f'1: TestsTrainer has no parameter "train_stps": did you mean "train_steps"? '
                f"Its parameters: {TRAINER_TAKES}",
            ),
            (
                "TestsTrainer.secret = 1\n",
                "1: TestsTrainer.secret cannot be bound in a config: it is passed in code. "
                f"Its parameters: {TRAINER_TAKES}",
            ),
        ],
    )
    def test_are_refused_with_a_suggestion(self, refused, text, problem):
        assert refused(text) == f"a.gin:{problem}"

    def test_of_a_block_are_reported_once(self, refused):
        assert refused("Xylophone:\n  a = 1\n  b = 2\n") == 'a.gin:2: unknown configurable "Xylophone". ' + IF_YOURS


class TestOpenKeywords:
    def test_take_any_name(self, load):
        text = "# Bindings\ntests_open.anything = 3\n"
        loaded = load(text)
        assert configs.as_given(loaded) == text
        assert loaded.warnings == ()

    def test_a_name_like_a_parameter_is_a_warning(self, load):
        assert load("tests_open.known_nam = 1\n").warnings == (
            'a.gin:1: tests_open has no parameter "known_nam" and takes it in **kwargs: did you mean "known_name"?',
        )


class TestBareWords:
    @pytest.mark.parametrize(
        ("param", "value"),
        [
            ("tests_input.path=/data/x.npz", "/data/x.npz"),
            ("tests_input.path=runs/a b.npz", "runs/a b.npz"),
            ("tests_input.path=hello", "hello"),
            ("tests_input.path=a=b", "a=b"),
            ("tests_input.path=x#1", "x#1"),
            ("tests_input.path='quoted'", "quoted"),
            ("tests_input.path=7", "7"),
            ("tests_input.path=1e-3", "1e-3"),
            ("tests_input.path=true", "true"),
            ("tests_input.path=", ""),
            ("tests_input.path = spaced ", "spaced"),
            ("tests_choices.on_error=skip", "skip"),
            ("tests_choices.best=max", "max"),
            ("tests_choices.best=None", None),
            ("tests_choices.loop=auto", "auto"),
            ("tests_choices.loop=3", 3),
            ("TestsTrainer.model_dir=/tmp/run", "/tmp/run"),
            ("TestsTrainer.model_dir=None", None),
            ("tests_input.free=hello", "hello"),
            ("tests_input.free=False_", "False_"),
            ("tests_input.free=7", 7),
            ("tests_input.batch=-3", -3),
            ("tests_input.decay=1e-3", 0.001),
            ("tests_input.names=['a', 'b']", ["a", "b"]),
        ],
    )
    def test_are_strings_where_only_a_string_is_possible(self, load, param, value):
        assert bound(load, param) == value
        assert type(bound(load, param)) is type(value)

    @pytest.mark.parametrize(
        ("param", "problem"),
        [
            ("TestsTrainer.train_steps=abc", "TestsTrainer.train_steps = abc: expected int"),
            ("TestsTrainer.train_steps=", "TestsTrainer.train_steps = : expected int"),
            ("tests_input.names=a", "tests_input.names = a: expected Sequence[str]; write ['a']"),
            (
                "tests_input.names=[a,b]",
                "tests_input.names = [a,b]: expected Sequence[str]. The shell removes quotes: put the value in single "
                "quotes, as in --gin_param=Name.x='[\"a\", 1]'",
            ),
            (
                "tests_input.shuffle=true",
                "`true` is not a value: did you mean True? For the string write '\"true\"'",
            ),
            (
                "TestsTrainer.model_dir=none",
                "`none` is not a value: did you mean None? For the string write '\"none\"'",
            ),
            (
                "tests_input.free=false",
                "`false` is not a value: did you mean False? For the string write '\"false\"'",
            ),
            ("tests_input.free=", "tests_input.free: expected a value; write tests_input.free=VALUE"),
            (
                "tests_input.decay=1e-3x",
                "tests_input.decay = 1e-3x: expected float, as the default is 0.1. For the string write '\"1e-3x\"'",
            ),
            ("tests_input.path=@", "cannot read `@`: Unexpected token. For the string write '\"@\"'"),
            (
                "TestsTrainer.strategy=tests_open",
                "TestsTrainer.strategy = tests_open: expected OnlyForCheckers | None: did you mean @tests_open?",
            ),
        ],
    )
    def test_are_refused_elsewhere_with_what_to_write(self, refused, param, problem):
        assert refused(params=[param]) == f'--gin_param "{param}": {problem}'

    def test_reach_gin(self, load):
        load(params=["tests_input.path=/data/x y.npz"])
        assert gin.get_configurable("tests_input")()["path"] == "/data/x y.npz"

    def test_can_define_a_macro(self, load):
        load(params=["where=/data/x", "tests_input.path=%where"])
        assert gin.get_configurable("tests_input")()["path"] == "/data/x"

    def test_references_need_no_quotes(self, load):
        load(params=["TestsTrainer.make=@tests_open", "TestsTrainer.task=@TestsTask()", "TestsTask.width=3"])
        assert gin.get_configurable("TestsTrainer")().task.width == 3
