import gin


class TestCycles:
    def test_of_a_configurable_is_refused(self, refused):
        assert refused("TestsTrainer.data = @s/tests_open()\ntests_open.x = @tests_open()\n") == (
            "a.gin:2: tests_open.x depends on itself: `tests_open.x = @tests_open()` (a.gin:2)"
        )

    def test_of_macros_is_refused(self, refused):
        assert refused("a = %b\nb = [%a]\n") == (
            "a.gin:1: a depends on itself: `a = %b` (a.gin:1), `b = [%a]` (a.gin:2)"
        )

    def test_a_reference_to_itself_in_another_scope_is_none(self, load):
        load("tests_open.x = @s/tests_open()\ns/tests_open.x = [@tests_open, 1]\n")
        assert gin.get_configurable("tests_open")()["x"]["x"][1] == 1
