import gin
from tallyloop.trainer import config

TRAINER_TAKES = "task, data, evals, train_steps, rate, model_dir, strategy, make"


def value(loaded: config.Config, name: str = "tests_input.batch") -> object:
    return {binding.name: binding.value for binding in loaded.effective.values()}[name]


class TestOrder:
    FIRST, SECOND = "tests_input.batch = 1\n", "tests_input.batch = 2\n"

    def test_later_files_override_earlier_ones(self, load):
        assert value(load(self.FIRST, self.SECOND)) == 2
        assert value(load(self.SECOND, self.FIRST)) == 1

    def test_parameters_override_all_files(self, load):
        assert value(load(self.FIRST, self.SECOND, params=["tests_input.batch=3"])) == 3


class TestMistakes:
    def test_are_listed_together_and_leave_gin_as_it_was(self, load, refused):
        load("tests_input.batch = 7\n")
        assert refused("TestsTrainer.rate = 'x'\nTestsTrainer.train_stps = 1\n", params=["lost=1"]) == (
            "3 mistakes in the config:\n"
            f'  a.gin:2: TestsTrainer has no parameter "train_stps": did you mean "train_steps"? '
            f"Its parameters: {TRAINER_TAKES}\n"
            '  --gin_param "lost=1": the macro "lost" is never used: no value is %lost\n'
            "  a.gin:1: TestsTrainer.rate = 'x': expected float, got str"
        )
        assert gin.get_configurable("tests_input")()["batch"] == 7


class TestPackage:
    def test_exports_what_it_lists(self):
        assert dir(config) == sorted(config.__all__)
        assert all(getattr(config, name).__name__ == name for name in config.__all__)
