import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer import config as configs
from tallyloop.trainer.launch import session

SHAPES = (
    'Input 0 of layer "dense" is incompatible with the layer: expected axis -1 of input shape to have value 64, but '
    "received input with shape (None, 32)"
)


class TestExplained:
    def test_data_of_a_wrong_shape_is_a_usage_error_in_one_sentence(self):
        error = ValueError(
            f"Exception encountered when calling Sequential.call().\n\n\x1b[1m{SHAPES}\x1b[0m\n\nArguments ..."
        )
        error.add_note("in eval_datasets['test']")
        with pytest.raises(UsageError) as caught, session._explained(configs.load()):
            raise error
        assert str(caught.value) == (
            f"The data does not fit the model: {SHAPES}. Change the model, or the dataset's Input.source or Input.map_fn."
        )
        assert caught.value.__notes__ == ["in eval_datasets['test']"]

    def test_another_error_stays_what_it_is(self):
        error = ValueError("something else")
        with pytest.raises(ValueError, match="something else") as caught, session._explained(configs.load()):
            raise error
        assert caught.value is error


class TestImport:
    def test_a_missing_module_is_a_usage_error(self):
        with pytest.raises(UsageError, match=r"^--import_module=no_such.module: no such module"):
            session._import("no_such.module")

    def test_a_module_that_fails_keeps_its_error(self, tmp_path, monkeypatch):
        (tmp_path / "tests_fails_inside.py").write_text("import no_such_dependency\n")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
            session._import("tests_fails_inside")
