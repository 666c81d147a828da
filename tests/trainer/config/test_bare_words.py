import gin
import pytest


def bound(load, param: str) -> object:
    (binding,) = load(params=[param]).effective.values()
    return binding.value


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
        ("tests_input.mode=slow", "slow"),
        ("TestsTrainer.model_dir=/tmp/run", "/tmp/run"),
        ("TestsTrainer.model_dir=None", None),
        ("tests_input.free=hello", "hello"),
        ("tests_input.free=7", 7),
        ("tests_input.batch=-3", -3),
        ("tests_input.decay=1e-3", 0.001),
        ("tests_input.names=['a', 'b']", ["a", "b"]),
    ],
)
def test_a_word_is_a_string_where_only_a_string_can_stand(load, param, value):
    assert bound(load, param) == value
    assert type(bound(load, param)) is type(value)


def test_gin_gets_the_string(load):
    load(params=["tests_input.path=/data/x y.npz"])
    assert gin.get_configurable("tests_input")()["path"] == "/data/x y.npz"


@pytest.mark.parametrize(
    ("param", "problem"),
    [
        ("TestsTrainer.train_steps=abc", "TestsTrainer.train_steps wants int, got `abc`"),
        ("TestsTrainer.train_steps=", "TestsTrainer.train_steps wants int, got ``"),
        (
            "tests_input.mode=fats",
            "tests_input.mode wants one of 'fast', 'slow', got `fats`: did you mean \"fast\"?",
        ),
        ("tests_input.names=a", "tests_input.names wants Sequence[str], got `a`: write ['a']"),
        (
            "tests_input.names=[a,b]",
            "tests_input.names wants Sequence[str], got `[a,b]`. A shell takes quotes off: put single quotes "
            "around the value, as in --gin_param=Name.x='[\"a\", 1]'",
        ),
        (
            "tests_input.shuffle=true",
            "`true` is not a value: did you mean True? For the string write '\"true\"'",
        ),
        (
            "TestsTrainer.model_dir=none",
            "`none` is not a value: did you mean None? For the string write '\"none\"'",
        ),
        ("tests_input.free=False_", None),
        (
            "tests_input.free=false",
            "`false` is not a value: did you mean False? For the string write '\"false\"'",
        ),
        (
            "tests_input.decay=1e-3x",
            "cannot read `1e-3x`; by default tests_input.decay is 0.1 (float). For the string write '\"1e-3x\"'",
        ),
        ("tests_input.path=@", "cannot read `@`: Unexpected token. For the string write '\"@\"'"),
        (
            "TestsTrainer.strategy=tests_open",
            "TestsTrainer.strategy wants OnlyForCheckers | None, got `tests_open`: did you mean @tests_open?",
        ),
        ("tests_input.batch", "no value; write --gin_param=tests_input.batch=VALUE"),
        ("=3", "no value; write --gin_param=Trainer.train_steps=VALUE"),
        ("a b.c=3", '"a b.c" is not a name; write --gin_param=scope/Name.parameter=VALUE'),
    ],
)
def test_a_word_elsewhere_is_refused_with_what_to_write(load, refused, param, problem):
    if problem is None:
        assert bound(load, param) == "False_"
    else:
        assert refused(params=[param]) == f'--gin_param "{param}": {problem}'


def test_references_need_no_quotes(load):
    load(params=["TestsTrainer.make=@tests_open", "TestsTrainer.task=@TestsTask()", "TestsTask.width=3"])
    assert gin.get_configurable("TestsTrainer")().task.width == 3


def test_a_macro_takes_a_word(load):
    load(params=["where=/data/x", "tests_input.path=%where"])
    assert gin.get_configurable("tests_input")()["path"] == "/data/x"
