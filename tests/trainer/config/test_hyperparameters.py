import gin
from tallyloop.trainer.config import hparams


def of(loaded, **given):
    gin.get_configurable("TestsTrainer")(task=None, **given)
    return hparams(loaded)


class TestHparams:
    def test_are_what_differs_from_the_defaults_and_numbers(self, load):
        loaded = load(
            "size = 8\nTestsTrainer.train_steps = 10\nTestsTrainer.rate = 0.25\nTestsTrainer.model_dir = None\n"
            "TestsTrainer.data = @train/tests_input()\ntrain/tests_input.batch = %size\ntests_input.path = 'x'\n"
            "TestsTrainer.evals = {'a': 1}\n"
        )
        found = of(loaded)
        assert found == {
            "TestsTrainer.train_steps": 10,  # the default, and a number
            "TestsTrainer.rate": 0.25,
            "TestsTrainer.data": "train/tests_input",
            "train/tests_input.batch": 8,
            "tests_input.path": "x",
            "TestsTrainer.evals": "{'a': 1}",
        }
        assert type(found["train/tests_input.batch"]) is int

    def test_of_the_command_line_are_all_there(self, load):
        assert of(load("", params=["TestsTrainer.model_dir=None"])) == {"TestsTrainer.model_dir": "None"}

    def test_are_those_that_win_and_are_used(self, load):
        loaded = load(
            "TestsTrainer.data = @a/tests_input()\na/tests_input.batch = 2\ntests_input.path = 'x'\n",
            params=["TestsTrainer.data=@b/tests_input()", "b/tests_input.batch=3", "b/tests_input.batch=4"],
        )
        found = of(loaded)
        assert found["TestsTrainer.data"] == "b/tests_input"
        assert found["b/tests_input.batch"] == 4
        assert "a/tests_input.batch" not in found
