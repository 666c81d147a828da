import gin
import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.config import check_consumed, explain
from tallyloop.trainer.config.usage import unused

IF_YOURS = "If it is yours, decorate it with @gin.register, and name its module with --import_module"


def reasons(loaded) -> list[str]:
    return [str(item) for item in unused(loaded)]


def train(**given) -> None:
    gin.get_configurable("TestsTrainer")(task=None, **given)


class TestUnused:
    def test_what_was_called_is_used(self, load):
        loaded = load(
            "TestsTrainer.data = @train/tests_input()\ntrain/tests_input.batch = %size\n"
            "tests_input.path = 'x'\nsize = 8\n"
        )
        assert len(unused(loaded)) == 3  # the user of the macro is among them
        train()
        assert unused(loaded) == []
        check_consumed(loaded)

    def test_a_call_in_another_scope_does_not_count(self, load):
        loaded = load(
            "TestsTrainer.data = @a/tests_input()\nTestsTrainer.evals = {'b': @b/tests_open()}\n"
            "b/tests_input.batch = 1\na/tests_input.batch = 2\n"
        )
        train()
        assert reasons(loaded) == [
            'a.gin:3: b/tests_input.batch = 1: tests_input was never called in scope "b"',
        ]

    def test_an_inner_scope_that_always_wins_makes_the_outer_one_unused(self, load):
        text = "TestsTrainer.data = @a/tests_input()\ntests_input.batch = 1\na/tests_input.batch = 2\n"
        loaded = load(text)
        train()
        assert reasons(loaded) == [
            "a.gin:2: tests_input.batch = 1: every call takes a/tests_input.batch (a.gin:3), which is for an inner scope",
        ]
        gin.get_configurable("tests_input")()
        assert unused(loaded) == []

    def test_what_the_caller_passes_is_not_taken_from_the_config(self, load):
        loaded = load("TestsTrainer.rate = 1\n")
        train(rate=2)
        assert reasons(loaded) == [
            "a.gin:1: TestsTrainer.rate = 1: the code that calls TestsTrainer passes `rate` itself",
        ]
        train()
        assert unused(loaded) == []

    def test_a_function_that_was_passed_on_may_be_called_later(self, load):
        """And whatever it is bound to."""
        loaded = load(
            "TestsTrainer.data = @a/tests_input\na/tests_input.path = @tests_open()\ntests_open.known_name = 2\n"
            "TestsTask.depth = 1\n"
        )
        train()
        assert reasons(loaded) == ["a.gin:4: TestsTask.depth = 1: TestsTask was never called"]


BUNDLED = (
    "TestsTrainer.data = @train/tests_input()\n"
    "train/tests_input.batch = %size\n"
    "size = 8\n"
    "tests_input.path = 'bundled'\n"
)


class TestOverrides:
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
    def test_excuse_what_they_make_useless_in_a_file(self, load, override):
        loaded = load(BUNDLED, params=[override])
        train()
        assert unused(loaded) == []

    def test_do_not_excuse_what_the_overriding_file_leaves_useless(self, load):
        mine = "TestsTrainer.data = @tests_open()\ntests_input.path = 'mine'\n"
        loaded = load(BUNDLED, mine)
        train()
        assert reasons(loaded) == ["b.gin:2: tests_input.path = 'mine': tests_input was never called"]

    def test_excuse_only_what_the_overridden_reference_led_to(self, load):
        loaded = load(BUNDLED + "TestsTask.depth = 3\n", params=["TestsTrainer.data=@tests_open()"])
        train()
        assert reasons(loaded) == ["a.gin:5: TestsTask.depth = 3: TestsTask was never called"]


class TestCheckConsumed:
    def test_names_the_only_unused_binding(self, load):
        loaded = load("TestsTrainer.data = @b/tests_open()\nb/tests_input.batch = 1\n")
        train()
        with pytest.raises(
            UsageError, match=r"^a binding has no effect: a.gin:2: b/tests_input.batch = 1: tests_input"
        ):
            check_consumed(loaded)

    def test_lists_all_with_location_and_reason(self, load):
        loaded = load("TestsTrainer.rate = 1\ntests_open.known_name = 2\n", params=["TestsTask.width=3"])
        train()
        with pytest.raises(UsageError) as caught:
            check_consumed(loaded)
        assert str(caught.value) == (
            "2 bindings have no effect:\n"
            "  a.gin:2: tests_open.known_name = 2: tests_open was never called\n"
            '  --gin_param "TestsTask.width=3": TestsTask.width = 3: TestsTask was never called'
        )


TEXT = """\
TestsTrainer.data = @train/tests_input()
tests_input.batch = 1
tests_input.batch = %size
train/tests_input.batch = 3
size = 2
"""
UNKNOWN = "not known yet whether used"


class TestExplain:
    def test_a_parameter_with_its_overrides(self, load):
        loaded = load("TestsTrainer.train_steps = 5\n", params=["TestsTrainer.train_steps=7"])
        assert explain(loaded, "TestsTrainer.train_steps") == (
            "TestsTrainer.train_steps (int, default 10)\n"
            "  a.gin:1: TestsTrainer.train_steps = 5  (overridden)\n"
            f'  --gin_param "TestsTrainer.train_steps=7": TestsTrainer.train_steps = 7  (wins, {UNKNOWN})'
        )

    def test_a_parameter_in_several_scopes(self, load):
        assert explain(load(TEXT), "tests_input.batch") == (
            "tests_input.batch (int, default 4)\n"
            "  a.gin:2: tests_input.batch = 1  (overridden)\n"
            f"  a.gin:3: tests_input.batch = %size  (wins, {UNKNOWN})\n"
            f"  a.gin:4: train/tests_input.batch = 3  (wins in scope train, {UNKNOWN})"
        )

    def test_a_parameter_in_one_scope(self, load):
        assert explain(load(TEXT), "train/tests_input.batch") == (
            "train/tests_input.batch (int, default 4)\n"
            "  a.gin:2: tests_input.batch = 1  (overridden)\n"
            "  a.gin:3: tests_input.batch = %size  (overridden in scope train)\n"
            f"  a.gin:4: train/tests_input.batch = 3  (wins, {UNKNOWN})"
        )

    def test_use_is_known_after_a_run(self, load):
        loaded = load(TEXT)
        train()
        text = explain(loaded, "tests_input.batch")
        assert "tests_input.batch = %size  (wins, not used so far)" in text
        assert "train/tests_input.batch = 3  (wins in scope train, used)" in text

    @pytest.mark.parametrize("name", ["size", "%size"])
    def test_a_macro(self, load, name):
        assert explain(load(TEXT), name) == (
            f"%size (macro)\n  a.gin:5: size = 2  (wins, {UNKNOWN})\n  used by a.gin:3: tests_input.batch = %size"
        )

    def test_a_configurable_without_bindings(self, load):
        assert explain(load(""), "TestsTask") == (
            "TestsTask.width (int, required)\n"
            "  not bound: it is required\n"
            "TestsTask.depth (int, default 2)\n"
            "  not bound: the default applies"
        )

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            (
                "TestsTask.widht",
                'TestsTask has no parameter "widht": did you mean "width"? Its parameters: width, depth',
            ),
            ("TestsTsak.width", 'unknown configurable "TestsTsak": did you mean "TestsTask"? ' + IF_YOURS),
            ("sizee", '"sizee" is not a configurable, parameter or macro: did you mean "size"?'),
            ("%sizee", 'unknown macro %sizee: did you mean "size"?'),
        ],
    )
    def test_an_unknown_name_is_refused(self, load, name, message):
        loaded = load(TEXT)
        with pytest.raises(UsageError) as caught:
            explain(loaded, name)
        assert str(caught.value) == message
