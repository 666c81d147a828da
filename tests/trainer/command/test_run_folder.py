import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.command import run_folder
from tallyloop.trainer.distribution import preemption
from tallyloop.trainer.errors import PreemptedError


class TestCheck:
    def test_leaves_nothing_behind(self, tmp_path):
        run_folder.check(tmp_path / "a" / "run", "train")
        assert list(tmp_path.iterdir()) == []

    def test_a_file_in_place_of_a_folder_is_refused(self, tmp_path):
        (tmp_path / "checkpoints").write_text("a file")
        with pytest.raises(UsageError, match=r"checkpoints is not a folder\. Move it away, or choose another folder"):
            run_folder.check(tmp_path, "train")
        run_folder.check(tmp_path, "predict")  # it writes no checkpoints

    def test_a_folder_in_place_of_a_file_is_refused(self, tmp_path):
        (tmp_path / "run.json").mkdir()
        with pytest.raises(UsageError, match=r"run\.json is a folder\. Move it away, or choose another folder"):
            run_folder.check(tmp_path, "train")


class TestExclusive:
    def test_does_not_create_the_folder(self, tmp_path, mirrored_on):
        with run_folder.exclusive(tmp_path / "run", mirrored_on(1)):
            assert not (tmp_path / "run").exists()

    def test_a_stop_while_starting_ends_the_run(self, tmp_path, mirrored_on, monkeypatch):
        monkeypatch.setattr(preemption, "requested", lambda: True)
        with pytest.raises(PreemptedError, match=r"^Stopped while starting\.$"):
            run_folder.exclusive(tmp_path, mirrored_on(1)).__enter__()
