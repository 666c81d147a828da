"""The folder that a task exports to."""

import pytest
from tallyloop.metrics import UsageError
from tallyloop.trainer.errors import OutputError
from tallyloop.trainer.model.exporting import replacing_folder


class TestExport:
    def test_an_export_of_the_tasks_own(self, make_trainer, regression_task, tmp_path):
        class Own(regression_task):
            def export(self, model, folder):
                (folder / "mine").write_text("a")

        assert [each.name for each in make_trainer(Own()).export(tmp_path / "e").iterdir()] == ["mine"]

    def test_an_export_of_other_parameters(self, make_trainer, regression_task, tmp_path):
        class Own(regression_task):
            def export(self, model):
                pass

        with pytest.raises(UsageError, match=r"in export: .*expected the parameters \(model, folder\)"):
            make_trainer(Own()).export(tmp_path / "e")

    def test_needs_a_folder(self, make_trainer):
        with pytest.raises(UsageError, match=r"Trainer.export: expected a folder"):
            make_trainer().export()

    def test_a_file_in_place_of_a_folder(self, make_trainer, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(UsageError, match=r"^Trainer.export: folder = '.*/file': expected a folder, got a file\.$"):
            make_trainer().export(tmp_path / "file")
        with pytest.raises(
            UsageError, match=r"folder = '.*/file/a/b': expected a path in a folder, and '.*/file' is none"
        ):
            make_trainer().export(tmp_path / "file" / "a" / "b")

    def test_a_folder_that_cannot_be_made(self, make_trainer):
        with pytest.raises(OutputError, match=r"^/proc/none cannot be written \(.*\)\. Choose another folder\.$"):
            make_trainer().export("/proc/none")


class TestReplacing:
    def test_replaces_what_has_the_same_name(self, tmp_path):
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "old").touch()
        (tmp_path / "mine").touch()
        with replacing_folder(tmp_path) as new:
            (new / "folder").mkdir()
            (new / "folder" / "new").touch()
            (new / "file").touch()
        assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")) == [
            "file",
            "folder",
            "folder/new",
            "mine",
        ]

    def test_an_error_leaves_all_as_it_was(self, tmp_path):
        (tmp_path / "file").write_text("old")

        def fail():
            with replacing_folder(tmp_path) as new:
                (new / "file").write_text("new")
                raise ValueError("bad")

        with pytest.raises(ValueError, match="bad"):
            fail()
        assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("file", "old")]

    def test_what_a_kill_left_is_gone(self, tmp_path):
        (tmp_path / ".unfinished" / "new").mkdir(parents=True)
        (tmp_path / ".unfinished" / "new" / "half").touch()
        with replacing_folder(tmp_path) as new:
            (new / "file").touch()
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
