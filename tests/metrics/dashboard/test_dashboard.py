"""The event file in the run's folder itself."""

import json

import pytest
from tallyloop.metrics.dashboard.dashboard import Dashboard
from tallyloop.metrics.writers import Summary
from tallyloop.metrics.writers.summary import Ending, RunDescription
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams import metadata

START, END, LAYOUT = metadata.SESSION_START_INFO_TAG, metadata.SESSION_END_INFO_TAG, "custom_scalars__config__"


@pytest.fixture
def begun(tmp_path):
    """begun(step, **hparams) -> a Dashboard that has begun in `tmp_path`."""

    def begin(step=0, **hparams):
        dashboard = Dashboard(tmp_path)
        dashboard.begin(RunDescription(tmp_path, step, hparams, {"config/as given": f"step {step}"}))
        return dashboard

    return begin


def events(folder):
    """(step, tag, value) of all that is in the folder itself, in order."""
    found = [e for path in sorted(folder.glob("*tfevents*")) for e in EventFileLoader(str(path)).Load()]
    return [(event.step, value.tag, value) for event in found for value in event.summary.value]


def texts(folder, tag):
    return [(step, value.tensor.string_val[0].decode()) for step, name, value in events(folder) if name == tag]


def charts(folder):
    """The charts of the last layout."""
    last = [value for _, tag, value in events(folder) if tag == LAYOUT][-1]
    return [chart.title for group in Layout.FromString(last.tensor.string_val[0]).category for chart in group.chart]


class TestRow:
    def test_of_a_new_start_replaces_that_of_the_one_before(self, begun, tmp_path):
        """TensorBoard would keep the first row, and the first end."""
        begun(0, rate=0.1).end(Ending("failed", "ValueError: no"))
        begun(7, rate=0.2)
        (start,) = [value for _, tag, value in events(tmp_path) if tag == START]
        found = metadata.parse_session_start_info_plugin_data(start.metadata.plugin_data.content)
        assert found.hparams["rate"].number_value == 0.2
        assert [tag for _, tag, _ in events(tmp_path) if tag == END] == []
        assert texts(tmp_path, "config/as given") == [(7, "step 7")]

    def test_leaves_the_files_of_others_alone(self, begun, tmp_path):
        (tmp_path / "events.out.tfevents.1.other").write_bytes(b"")
        begun()
        begun()
        assert len(list(tmp_path.glob("*tfevents*"))) == 2

    def test_a_run_that_is_interrupted_has_a_reason_and_no_status(self, begun, tmp_path):
        begun().end(Ending("interrupted", "PreemptedError: Stopped after step 7."))
        assert [tag for _, tag, _ in events(tmp_path) if tag == END] == []
        assert texts(tmp_path, "run/end") == [(0, "    PreemptedError: Stopped after step 7.\n")]


class TestReadme:
    def test_is_that_of_the_start_and_of_the_end(self, begun, tmp_path):
        (tmp_path / "README.md").write_text("# First")
        dashboard = begun()
        (tmp_path / "README.md").write_text("# Second")
        dashboard.write(Summary(9, "train", {"loss": 1.0}, {}))
        dashboard.end(Ending("done", "done"))
        assert texts(tmp_path, "run/readme") == [(0, "# First"), (9, "# Second")]

    def test_may_be_missing_or_a_folder(self, begun, tmp_path):
        (tmp_path / "README.md").mkdir()
        begun()
        assert texts(tmp_path, "run/readme") == []


class TestLayout:
    def test_is_written_again_when_metrics_appear(self, begun, tmp_path):
        dashboard = begun()
        for step, metric in ((1, "loss"), (2, "loss"), (3, "accuracy"), (4, "loss")):
            dashboard.write(Summary(step, "train", {metric: 1.0}, {}))
        assert [step for step, tag, _ in events(tmp_path) if tag == LAYOUT] == [1, 3]
        assert charts(tmp_path) == ["loss", "accuracy"]

    def test_of_a_rerun_without_new_metrics_is_whole(self, begun, tmp_path):
        line = {"step": 1, "split": "train", "metrics": {"loss": 1.0, "matrix": [[1.0]]}, "counts": {}}
        (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + '\n{"step": 2, "spl')
        begun(1)
        assert charts(tmp_path) == ["loss"]

    @pytest.mark.parametrize(("automatic", "found"), [(True, ["mine", "loss", "accuracy"]), (False, ["mine"])])
    def test_a_users_charts_come_first(self, begun, tmp_path, automatic, found):
        dashboard = begun()
        dashboard.arrange({"own": {"mine": ["loss"]}}, automatic)
        dashboard.write(Summary(1, "train", {"loss": 1.0, "accuracy": 1.0}, {}))
        assert charts(tmp_path) == found
