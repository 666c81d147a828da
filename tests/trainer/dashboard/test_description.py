"""What a run tells about itself, as its writers get it and as it stands in the folder."""

import json
from types import SimpleNamespace

import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer.dashboard.description import describe_run
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams import api_pb2, metadata

FACTS = {
    "argv": ["train.py", "--rate=a b"],
    "versions": {"python": "3.11"},
    "git_revision": None,
    "devices": ["CPU:0", "CPU:1"],
    "start": "2026-01-01",
    "host": "here",
}


@pytest.fixture
def describe(make_trainer, tmp_path):
    """describe(changes, **attributes of the Trainer) -> the description"""

    def make(changes=(), **attributes):
        trainer = make_trainer(model_dir=tmp_path)
        for name, value in attributes.items():
            setattr(trainer, name, value)
        return describe_run(trainer, SimpleNamespace(facts=FACTS, changes=changes))

    return make


class TestTexts:
    def test_of_a_run_made_in_python(self, describe):
        texts = describe().texts
        assert texts.keys() == {"config/as given", "run/command", "model/summary"}
        assert "Trainer.train_steps = 6\n" in texts["config/as given"]
        assert texts["run/command"].startswith("```\ntrain.py '--rate=a b'\n```\n")
        assert "| devices | CPU:0, CPU:1 |\n" in texts["run/command"]
        assert "git" not in texts["run/command"]
        assert "dense (Dense)" in texts["model/summary"]
        assert "Total params: 4 " in texts["model/summary"]

    def test_of_a_config(self, describe):
        files = SimpleNamespace(
            texts=lambda: {"config.gin": "a.b = 1\n", "operative_config.gin": "a.b = 1\na.c = 2\n"},
            hparams=lambda: {"a.b": 1},
        )
        run = describe(["a.b: 0 -> 1"], run_files=files)
        assert run.hparams == {"a.b": 1}
        assert run.texts["config/as given"] == "```\na.b = 1\n```"
        assert run.texts["config/as used"] == "```\na.b = 1\na.c = 2\n```"
        assert run.texts["config/changed since the last run"] == "- `a.b: 0 -> 1`"

    def test_a_model_without_a_summary_costs_the_text_only(self, describe, caplog):
        def fail(**arguments):
            raise ValueError("not built")

        files = SimpleNamespace(texts=dict, hparams=dict)
        texts = describe(run_files=files, model=SimpleNamespace(summary=fail)).texts
        assert "model/summary" not in texts
        assert "TensorBoard lacks the text 'model/summary': ValueError: not built" in caplog.text


class TestStatus:
    """How a run ends is the status of its row in HParams; a rerun begins the row anew."""

    def statuses(self, folder):
        found = []
        for path in folder.glob("*tfevents*"):
            for event in EventFileLoader(str(path)).Load():
                for value in event.summary.value:
                    if value.tag == metadata.SESSION_END_INFO_TAG:
                        content = value.metadata.plugin_data.content
                        found.append(metadata.parse_session_end_info_plugin_data(content).status)
        return found

    def test_of_an_error_of_a_stop_and_of_the_end(self, run, tmp_path):
        def fail(trainer, summary):
            raise ValueError("no")

        def stop(trainer, summary):
            trainer.stop("enough")

        with pytest.raises(ValueError, match="no"):
            run(tmp_path, steps=4, actions=[fail])
        assert self.statuses(tmp_path) == [api_pb2.STATUS_FAILURE]
        run(tmp_path, steps=8, actions=[stop])
        assert self.statuses(tmp_path) == [api_pb2.STATUS_SUCCESS]
        assert json.loads((tmp_path / "run.json").read_text())["exit_reason"].startswith("stopped at step")

    def test_of_an_interrupt_is_open(self, run, tmp_path):
        def interrupt(trainer, summary):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, steps=4, actions=[interrupt])
        assert self.statuses(tmp_path) == []

    def test_a_refused_run_leaves_that_of_the_one_before(self, run, make_trainer, tmp_path):
        run(tmp_path, steps=4)
        with pytest.raises(UsageError):
            make_trainer(model_dir=tmp_path, evaluate=True, best_metric="nothing", best_mode="max").train_and_eval()
        assert self.statuses(tmp_path) == [api_pb2.STATUS_SUCCESS]
