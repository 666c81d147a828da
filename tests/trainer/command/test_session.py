import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer import config as configs
from tallyloop.trainer.command import session


class TestExplained:
    def test_another_error_stays_what_it_is(self):
        error = RuntimeError("something else")
        with pytest.raises(RuntimeError, match="something else") as caught, session.explained(configs.load()):
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
