import gin
import pytest


class TestMacros:
    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("TestsTrainer.train_steps = %stps\n", "1: the macro %stps is not defined: add `stps = ...`"),
            (
                "steps = 3\nTestsTrainer.train_steps = %stps\nTestsTrainer.rate = %steps\n",
                '2: the macro %stps is not defined: did you mean "steps"?',
            ),
            ("unheard_of = 3\n", '1: the macro "unheard_of" is never used: no value is %unheard_of'),
            ("oddity = 3\n", '1: the macro "oddity" is never used: did you mean "tests_input.oddity"?'),
            (
                "size = 3\nsixe = 4\ntests_input.batch = %size\n",
                '2: the macro "sixe" is never used: did you mean "size"?',
            ),
        ],
    )
    def test_undefined_and_unused_ones_are_refused(self, refused, text, problem):
        assert refused(text) == f"a.gin:{problem}"

    def test_a_use_in_an_overridden_binding_counts(self, load):
        load("size = 3\ntests_input.batch = %size\n", params=["tests_input.batch=4"])

    def test_a_constant_is_defined(self, load, refused):
        gin.constant("tests_config.TESTS_ANSWER", 42)
        load("TestsTrainer.train_steps = %TESTS_ANSWER\n")
        assert gin.get_configurable("TestsTrainer")(task=None).train_steps == 42
        gin.constant("tests_config.other.TESTS_ANSWER", 43)
        assert refused("TestsTrainer.rate = %TESTS_ANSWER\n") == (
            "a.gin:1: %TESTS_ANSWER is ambiguous: write %tests_config.TESTS_ANSWER or %tests_config.other.TESTS_ANSWER"
        )
        gin.clear_config(clear_constants=True)

    def test_a_left_gin_required_is_refused(self, refused):
        assert refused("TestsTrainer.train_steps = %gin.REQUIRED\n") == (
            "a.gin:1: TestsTrainer.train_steps is required but not bound: add `TestsTrainer.train_steps = ...`"
        )


class TestScopes:
    def test_one_that_is_never_entered_is_refused(self, refused):
        assert refused("TestsTrainer.data = @train/tests_input()\ntarin/tests_input.batch = 1\n") == (
            'a.gin:2: the scope "tarin" is never entered: did you mean "train"? tarin/tests_input.batch has no '
            "effect without a reference such as @tarin/tests_input()"
        )

    def test_the_outer_scope_of_a_reference_is_entered(self, load):
        load("TestsTrainer.data = @a/b/tests_input()\na/tests_input.batch = 1\n")

    def test_the_inner_scope_of_a_reference_is_not_entered(self, refused):
        message = refused("TestsTrainer.data = @a/b/tests_input()\nb/tests_input.batch = 1\n")
        assert message.startswith('a.gin:2: the scope "b" is never entered: b/tests_input.batch has no effect')

    def test_a_macro_enters_the_scope_of_its_name(self, load):
        load("data = @tests_input()\nTestsTrainer.data = %data\ndata/tests_input.batch = 6\n")
        assert gin.get_configurable("TestsTrainer")(task=None).data["batch"] == 6


class TestMistakesInOtherBindings:
    def test_do_not_hide_that_a_macro_and_a_scope_are_used(self, refused):
        message = refused(
            "lr = 0.1\nTestsTrainer.rat = %lr\nTestsTrainer.datum = @train/tests_input()\ntrain/tests_input.batch = 1\n"
        )
        assert message.startswith("2 mistakes in the config:\n  a.gin:2: TestsTrainer has no")
        assert "a.gin:3: TestsTrainer has no" in message


TWICE = "tests_input.batch = 1\ntests_input.path = 'x'\ntests_input:\n  batch = 2\n"


class TestDuplicates:
    def test_in_one_file_are_a_warning(self, load):
        loaded = load(TWICE, "tests_input.path = 'y'\n")
        assert loaded.warnings == (
            "a.gin:4: tests_input.batch is bound twice in this file: line 1 (1) has no effect, line 4 (2) wins",
        )

    def test_three_in_one_file_are_one_warning(self, load):
        assert load(TWICE + "tests_input.batch = 3\n").warnings == (
            "a.gin:5: tests_input.batch is bound 3 times in this file: line 1 (1) and line 4 (2) have no effect, line 5 (3) wins",
        )

    def test_name_the_file_that_wins(self, load, tmp_path):
        """A file that is included further down, a later file, or the command line."""
        (tmp_path / "inner.gin").write_text("tests_input.batch = 3\n")
        lost = "a.gin:4: tests_input.batch is bound twice in this file: line 1 (1) and line 4 (2) have no effect, "
        assert load(TWICE + "include 'inner.gin'\n").warnings == (lost + "inner.gin:1 (3) wins",)
        assert load(TWICE, "tests_input.batch = 3\n").warnings == (lost + "b.gin:1 (3) wins",)
        assert load(TWICE, params=["tests_input.batch=3"]).warnings == (
            lost + '--gin_param "tests_input.batch=3" (3) wins',
        )

    def test_with_an_included_file_between_them(self, load, tmp_path):
        (tmp_path / "inner.gin").write_text("tests_input.batch = 3\n")
        text = "tests_input.batch = 1\ninclude 'inner.gin'\ntests_input.batch = 2\n"
        assert load(text).warnings == (
            "a.gin:3: tests_input.batch is bound twice in this file: line 1 (1) has no effect, line 3 (2) wins",
        )

    def test_of_a_file_that_is_read_three_times_are_one_warning(self, load, tmp_path):
        (tmp_path / "inner.gin").write_text(TWICE)
        assert len(load("include 'inner.gin'\n" * 3).warnings) == 1
