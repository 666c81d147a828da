import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.study.space import check_ranges, read

JUDGE = ["Trainer.best_metric=accuracy", "Trainer.best_mode=max"]


@pytest.fixture
def space(tmp_path):
    def make(text="", *params, judge=JUDGE):
        (tmp_path / "a.gin").write_text(text)
        return read([str(tmp_path / "a.gin")], [*judge, *params], [])

    return make


class TestParameters:
    def test_become_bindings(self, space):
        found = space(
            "import no_such_module\na/b.C.d = %search.uniform(0, 1)\nsize = %search.choice(16, 32)\ne.f = %size\n"
        )
        assert [parameter.name for parameter in found.parameters] == ["a/b.C.d", "size"]
        assert found.bindings({"a/b.C.d": "0.5", "size": "32"}) == ["a/b.C.d=0.5", "size=32"]

    def test_inside_of_a_value(self, space):
        found = space("a.b = {'x': (%search.int(1, 9), [%search.int(1, 9), 'y'])}\n")
        assert [parameter.name for parameter in found.parameters] == ["a.b[0]", "a.b[1]"]
        assert found.bindings({"a.b[0]": "3", "a.b[1]": "4"}) == ["a.b={'x': (3, [4, 'y'])}"]

    @pytest.mark.parametrize("name", ["a.B.c", "B.c"])
    def test_that_are_overridden_are_none(self, space, name):
        assert space("a.B.c = %search.uniform(0, 1)\n", f"{name}=0.5").parameters == ()

    @pytest.mark.parametrize("name", ["x/B.c", "bB.c", "B.d"])
    def test_of_another_name_are_not_overridden(self, space, name):
        assert len(space("a.B.c = %search.uniform(0, 1)\n", f"{name}=0.5").parameters) == 1

    def test_of_the_command_line(self, space):
        assert space("", "a.b=%search.choice('x', 'y')").bindings({"a.b": "'x'"}) == ["a.b='x'"]


class TestJudge:
    def test_is_that_of_the_trainer(self, space):
        found = space("m = 'test/loss'\nTrainer.best_metric = %m\ntallyloop.Trainer.best_mode = 'min'\n", judge=[])
        assert (found.metric, found.mode) == ("test/loss", "min")

    def test_is_required(self, space):
        with pytest.raises(UsageError, match=r"expected Trainer.best_metric and Trainer.best_mode .* got 'a' and None"):
            space("Trainer.best_metric = 'a'\n", judge=[])


class TestRanges:
    def test_are_required_without_a_grid(self, space):
        with pytest.raises(UsageError, match="--study: expected a range in the config, such as keras"):
            check_ranges(space("a.b = 1\n"), is_grid=False)

    def test_are_refused_with_one(self, space):
        with pytest.raises(
            UsageError, match=r"--grid: expected a config without ranges, got a.b = %search.int\(1, 2\) \(.*:1\)"
        ):
            check_ranges(space("a.b = %search.int(1, 2)\n"), is_grid=True)
