import contextlib
import json

import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer import config as configs
from tallyloop.trainer.command.run_folder import ConfigFiles
from tallyloop.trainer.errors import CheckpointError, PreemptedError
from tallyloop.trainer.loop.run_record import recorded as record


@pytest.fixture
def recorded(tmp_path):
    """recorded() -> the context in which a run is recorded in `tmp_path`."""
    return lambda outcome=None: record(tmp_path, ConfigFiles(configs.load()), lambda: outcome)


def spoil(folder, name):
    """Make it impossible to write a file of this name, even for root, whom permissions do not stop."""
    (folder / f".{name}.tmp").mkdir()


class TestRecord:
    def test_has_the_configs_and_how_the_run_ended(self, recorded, tmp_path):
        with recorded():
            assert json.loads((tmp_path / "run.json").read_text())["exit_reason"] is None
        assert json.loads((tmp_path / "run.json").read_text())["exit_reason"] == "done"
        assert (tmp_path / "config.gin").exists()
        assert (tmp_path / "operative_config.gin").exists()

    def test_has_the_error_that_ended_the_run(self, recorded, tmp_path):
        with pytest.raises(PreemptedError), recorded():
            raise PreemptedError("Stopped after step 7.")
        record = json.loads((tmp_path / "run.json").read_text())
        assert record["exit_reason"] == "PreemptedError: Stopped after step 7."

    @pytest.mark.parametrize("error", [PreemptedError("at 7"), CheckpointError("at 7"), KeyboardInterrupt(), None])
    def test_a_failed_write_at_the_end_is_logged_and_hides_no_error(self, recorded, tmp_path, caplog, error):
        caught = None
        try:
            with recorded():
                spoil(tmp_path, "run.json")
                if error is not None:
                    raise error
        except BaseException as its:
            caught = its
        assert caught is error
        assert f"{tmp_path / 'run.json'} cannot be written (Is a directory)" in caplog.text
        assert json.loads((tmp_path / "run.json").read_text())["exit_reason"] is None

    @pytest.mark.parametrize("name", ["config.gin", "operative_config.gin", "run.json"])
    def test_a_failed_write_at_the_start_is_wrong_usage(self, recorded, tmp_path, name):
        spoil(tmp_path, name)
        with pytest.raises(
            UsageError, match=r"--model_dir=.* cannot be written \(Is a directory\): choose another folder"
        ):
            recorded().__enter__()


class TestAttempts:
    def test_rerun_adds_one(self, recorded, tmp_path):
        """The start and the end of the run that did the work stay, also after a rerun that has nothing to do."""
        records = []
        for error in (PreemptedError("Stopped after step 7."), None, None):
            with contextlib.suppress(PreemptedError), recorded():
                if error is not None:
                    raise error
            records.append(json.loads((tmp_path / "run.json").read_text()))
        attempts = records[-1].pop("attempts")
        assert [each["exit_reason"] for each in attempts] == ["PreemptedError: Stopped after step 7.", "done", "done"]
        assert attempts[-1] == records[-1]
        assert attempts[:2] == records[1]["attempts"]
        assert None not in [each["end"] for each in attempts]

    def test_killed_one_has_no_end(self, recorded, tmp_path):
        killed_run = recorded()
        killed_run.__enter__()
        killed = json.loads((tmp_path / "run.json").read_text())
        with recorded():
            pass
        attempts = json.loads((tmp_path / "run.json").read_text())["attempts"]
        assert [each["exit_reason"] for each in attempts] == [None, "done"]
        assert attempts[0]["start"] == killed["start"]

    def test_file_of_an_earlier_version(self, recorded, tmp_path):
        (tmp_path / "run.json").write_text('{"start": "before", "exit_reason": "done"}')
        with recorded():
            pass
        attempts = json.loads((tmp_path / "run.json").read_text())["attempts"]
        assert (len(attempts), attempts[0]) == (2, {"start": "before", "exit_reason": "done"})

    @pytest.mark.parametrize("text", ["{", "[]", "3"])
    def test_damaged_file(self, recorded, tmp_path, caplog, text):
        (tmp_path / "run.json").write_text(text)
        with recorded():
            pass
        assert len(json.loads((tmp_path / "run.json").read_text())["attempts"]) == 1
        assert "run.json is damaged" in caplog.text


class TestTrainer:
    """Made in Python, it leaves the record of the command."""

    def test_writes_how_it_ended(self, make_trainer, tmp_path):
        def fail_at_4(trainer, summary):
            if summary.step == 4:
                raise ValueError("in an action")

        trainer = make_trainer(model_dir=tmp_path, summary_interval=2, actions=[fail_at_4])
        with pytest.raises(ValueError, match="in an action"):
            trainer.train()
        make_trainer(model_dir=tmp_path).train()
        record = json.loads((tmp_path / "run.json").read_text())
        assert [each["exit_reason"] for each in record["attempts"]] == ["ValueError: in an action", "done"]
        assert record.keys() >= {"argv", "versions", "git_revision", "devices", "start", "end"}
        assert not (tmp_path / "config.gin").exists()
