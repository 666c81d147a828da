import pytest
from tallyloop.trainer import config as configs


class TestTypes:
    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("TestsTrainer.train_steps = 1000.0", "expected int, got float; write 1000"),
            ("TestsTrainer.train_steps = 0.5", "expected int, got float"),
            ("TestsTrainer.train_steps = True", "expected int, got bool"),
            ("TestsTrainer.train_steps = '500'", "expected int, got str; write 500"),
            ("TestsTrainer.rate = '1e-3'", "expected float, got str; write 0.001"),
            ("TestsTrainer.rate = None", "expected float, got None"),
            ("tests_input.shuffle = 1", "expected bool, got int; write True"),
            ("tests_input.shuffle = 'false'", "expected bool, got str; write False"),
            ("tests_input.path = 5", "expected str, got int; write '5'"),
            ("tests_input.names = 'a'", "expected Sequence[str], got str; write ['a']"),
            ("tests_input.names = [1]", "expected Sequence[str], got list[int]"),
            ("tests_input.names = ['a', 1, 2]", "expected Sequence[str], got list[str | int]"),
            ("tests_input.shape = [1, 2]", "expected tuple[int, ...], got list[int]; write (1, 2)"),
            ("tests_input.options = {'a': 'b'}", "expected dict[str, float] or None, got dict[str, str]"),
            ("tests_input.options = {'a': @tests_open}", "expected dict[str, float] or None, got dict[str, object]"),
            ("TestsTrainer.evals = {1: 2}", "expected Mapping[str, object] or None, got dict[int, int]"),
            ("TestsTrainer.evals = ()", "expected Mapping[str, object] or None, got tuple"),
            ("TestsTrainer.task = 'x'", "expected TestsTask, got str"),
            ("TestsTrainer.task = @TestsTask", "expected TestsTask, got the class itself; write @TestsTask()"),
            ("TestsTrainer.rate = @tests_open", "expected float, got the function itself; write @tests_open()"),
            ("TestsTrainer.make = 3", "expected Callable[[int], int] or None, got int"),
        ],
    )
    def test_a_contradicting_value_is_refused(self, refused, text, problem):
        assert refused(text) == f"a.gin:1: {text}: {problem}"

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
        ],
    )
    def test_a_fitting_or_undecidable_value_is_taken(self, load, text):
        assert configs.as_given(load(text)) == f"# Bindings\n{text}\n"

    def test_a_macro_is_judged_where_it_is_used(self, refused):
        assert refused("steps = 'ten'\nTestsTrainer.train_steps = %steps\n") == (
            "a.gin:2: TestsTrainer.train_steps = %steps: expected int, got str, from `steps = 'ten'` (a.gin:1)"
        )


class TestChoices:
    """Parameters annotated `Literal[...]`."""

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            (
                "tests_choices.on_error = 'skipp'",
                "expected one of 'halt', 'skip', 'rollback': did you mean \"skip\"?",
            ),
            (
                "tests_choices.on_error = 'Rollback'",
                "expected one of 'halt', 'skip', 'rollback': did you mean \"rollback\"?",
            ),
            ("tests_choices.on_error = 'stop'", "expected one of 'halt', 'skip', 'rollback'"),
            ("tests_choices.on_error = 3", "expected one of 'halt', 'skip', 'rollback', got int"),
            ("tests_choices.on_error = None", "expected one of 'halt', 'skip', 'rollback', got None"),
            ("tests_choices.best = 'maxx'", "expected one of 'max', 'min' or None: did you mean \"max\"?"),
            ("tests_choices.best = True", "expected one of 'max', 'min' or None, got bool"),
            ("tests_choices.loop = 'atuo'", "expected int or 'auto': did you mean \"auto\"?"),
            ("tests_choices.loop = 2.5", "expected int or 'auto', got float"),
            ("tests_choices.loop = '20'", "expected int or 'auto'; write 20"),
            (
                "tests_choices.parts = ['encodr']",
                "expected Sequence[one of 'encoder', 'decoder'], got list[str]: did you mean \"encoder\"?",
            ),
            ("tests_choices.parts = 'encoder'", "expected Sequence[one of 'encoder', 'decoder']; write ['encoder']"),
            ("tests_choices.level = 2", "expected one of 0, 1, got int"),
            ("tests_choices.level = True", "expected one of 0, 1, got bool"),
        ],
    )
    def test_another_word_is_refused_with_the_choices(self, refused, text, problem):
        assert refused(text) == f"a.gin:1: {text}: {problem}"

    @pytest.mark.parametrize(
        ("param", "problem"),
        [
            ("on_error=skipp", "expected one of 'halt', 'skip', 'rollback': did you mean \"skip\"?"),
            ("on_error='skipp'", "expected one of 'halt', 'skip', 'rollback': did you mean \"skip\"?"),
            ("best=maxi", "expected one of 'max', 'min' or None: did you mean \"max\"?"),
            ("loop=atuo", "expected int or 'auto': did you mean \"auto\"?"),
            ("loop=fast", "expected int or 'auto'"),
        ],
    )
    def test_another_word_on_the_command_line_is_refused(self, refused, param, problem):
        name, _, word = param.partition("=")
        message = refused(params=[f"tests_choices.{param}"])
        assert message == f'--gin_param "tests_choices.{param}": tests_choices.{name} = {word}: {problem}'

    def test_another_word_in_a_macro_names_the_macro(self, refused):
        assert refused("what = 'skipp'\ntests_choices.on_error = %what\n") == (
            "a.gin:2: tests_choices.on_error = %what: expected one of 'halt', 'skip', 'rollback', got str, from "
            "`what = 'skipp'` (a.gin:1): did you mean \"skip\"?"
        )

    @pytest.mark.parametrize(
        "text",
        [
            "tests_choices.on_error = 'rollback'",
            "tests_choices.best = None",
            "tests_choices.best = 'min'",
            "tests_choices.loop = 'auto'",
            "tests_choices.loop = 20",
            "tests_choices.parts = ['encoder', 'decoder']",
            "tests_choices.level = 1",
        ],
    )
    def test_a_choice_is_taken(self, load, text):
        assert configs.as_given(load(text)) == f"# Bindings\n{text}\n"
