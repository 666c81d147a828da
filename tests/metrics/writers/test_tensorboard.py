import errno
import subprocess
import sys
import time

import numpy as np
import pytest
from tallyloop.metrics.writers import Summary, TensorBoardWriter
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_accumulator import (
    EventAccumulator as PluginEventAccumulator,
)
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.data import server_ingester
from tensorboard.data.provider import RunTagFilter
from tensorboard.util.grpc_util import ChannelCredsType

ALL_POINTS = {"tensors": 0, "scalars": 0}


def summary(step, value=0.0, split="train", tag="loss"):
    return Summary(step, split, {tag: value}, {tag: 1.0})


def read(folder, tag="loss", reader=PluginEventAccumulator):
    """The points of a tag as TensorBoard's Python reader has them: [(step, value)]."""
    accumulator = reader(str(folder), size_guidance=ALL_POINTS)
    accumulator.Reload()
    return points(accumulator, tag)


def points(accumulator, tag="loss"):
    if tag not in accumulator.Tags()["tensors"]:
        return []
    return [(e.step, e.tensor_proto.float_val[0]) for e in accumulator.Tensors(tag)]


def read_with_data_server(model_dir, run="train", tag="loss"):
    """The points as the scalars dashboard gets them from TensorBoard's default data server."""
    try:
        binary = server_ingester.get_server_binary()
    except server_ingester.NoDataServerError as error:
        pytest.skip(f"TensorBoard has no data server for this machine, which is optional for it: {error}")
    ingester = server_ingester.SubprocessServerDataIngester(
        binary, str(model_dir), reload_interval=1, channel_creds_type=ChannelCredsType.LOCAL
    )
    ingester.start()
    provider, only = ingester.data_provider, RunTagFilter(runs=[run], tags=[tag])
    deadline = time.monotonic() + 20
    while not provider.list_runs(None, experiment_id="") and time.monotonic() < deadline:
        time.sleep(0.05)
    series = provider.read_scalars(None, experiment_id="", plugin_name="scalars", downsample=1000, run_tag_filter=only)
    return [(point.step, point.value) for point in series[run][tag]]


@pytest.fixture
def killed_run(tmp_path):
    """A run that wrote steps 10 to 50 (values 1 to 5) and evaluated at 20 and 40, and is to resume at 30."""
    writer = TensorBoardWriter(tmp_path)
    for step in (10, 20, 30, 40, 50):
        writer.write(summary(step, step / 10))
    for step in (20, 40):
        writer.write(summary(step, step / 10, split="eval/test"))
    return tmp_path


@pytest.fixture
def evaluated_run(tmp_path):
    """A finished run with an evaluation at 500, 1000, 1500 and 2000."""
    writer = TensorBoardWriter(tmp_path)
    writer.truncate_after(0)
    for step in (500, 1000, 1500, 2000):
        writer.write(summary(step, step / 100, split="eval"))
    return tmp_path


def read_multiplexed(model_dir, run):
    size = {"tensors": 0, "scalars": 0}
    multiplexer = EventMultiplexer(tensor_size_guidance=size).AddRunsFromDirectory(str(model_dir)).Reload()
    return points(multiplexer.GetAccumulator(run))


class TestWrite:
    def test_creates_nothing_before(self, tmp_path):
        TensorBoardWriter(tmp_path / "run").close()
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("reader", [EventAccumulator, PluginEventAccumulator])
    def test_a_scalar_reads_back_as_float32_under_its_path(self, tmp_path, reader):
        TensorBoardWriter(tmp_path).write(summary(7, 0.1, tag="loss/stage_1/combined"))
        assert read(tmp_path / "train", "loss/stage_1/combined", reader) == [(7, float(np.float32(0.1)))]

    def test_the_scalars_dashboard_finds_it(self, tmp_path):
        TensorBoardWriter(tmp_path).write(summary(7, 0.1))
        accumulator = PluginEventAccumulator(str(tmp_path / "train")).Reload()
        assert list(accumulator.PluginTagToContent("scalars")) == ["loss"]

    def test_each_split_is_a_run_and_shares_the_tags(self, tmp_path):
        writer = TensorBoardWriter(tmp_path)
        for value, split in enumerate(["train", "eval", "eval/test"]):
            writer.write(summary(3, float(value), split))
        assert [read(tmp_path / split) for split in ("train", "eval", "eval/test")] == [
            [(3, 0.0)],
            [(3, 1.0)],
            [(3, 2.0)],
        ]

    def test_leaves_out_vectors_but_not_numpy_scalars(self, tmp_path):
        metrics = {"vector": np.ones(3), "a": np.float32(0.5), "b": np.array(2)}
        TensorBoardWriter(tmp_path).write(Summary(1, "train", metrics, {}))
        accumulator = PluginEventAccumulator(str(tmp_path / "train")).Reload()
        assert sorted(accumulator.Tags()["tensors"]) == ["a", "b"]
        assert points(accumulator, "a") == [(1, 0.5)]

    def test_a_summary_of_vectors_only_writes_no_file(self, tmp_path):
        TensorBoardWriter(tmp_path).write(Summary(1, "train", {"vector": np.ones(3)}, {}))
        assert not list(tmp_path.iterdir())

    def test_beyond_float32_is_infinite(self, tmp_path, recwarn):
        TensorBoardWriter(tmp_path).write(summary(1, 1e300))
        assert read(tmp_path / "train") == [(1, float("inf"))]
        assert not recwarn.list

    def test_a_point_can_be_read_on_return(self, tmp_path):
        writer = TensorBoardWriter(tmp_path)
        writer.write(summary(1, 1.0))
        accumulator = PluginEventAccumulator(str(tmp_path / "train")).Reload()
        writer.write(summary(2, 2.0))
        assert points(accumulator.Reload()) == [(1, 1.0), (2, 2.0)]

    def test_needs_no_tensorflow(self):
        code = "import sys, tallyloop.metrics.writers; assert 'tensorflow' not in sys.modules"
        subprocess.run([sys.executable, "-c", code], check=True)


class TestTruncateAfter:
    @pytest.mark.parametrize("reader", [EventAccumulator, PluginEventAccumulator])
    def test_new_points_replace_the_old(self, killed_run, reader):
        writer = TensorBoardWriter(killed_run)
        assert writer.truncate_after(30) == 3  # train 40 and 50, eval 40
        writer.write(summary(40, 40.0))
        writer.write(summary(50, 50.0))
        assert read(killed_run / "train", reader=reader) == [(10, 1), (20, 2), (30, 3), (40, 40), (50, 50)]

    @pytest.mark.parametrize("reader", [EventAccumulator, PluginEventAccumulator])
    def test_old_points_are_gone_before_new_ones_are_written(self, killed_run, reader):
        TensorBoardWriter(killed_run).truncate_after(30)
        assert read(killed_run / "train", reader=reader) == [(10, 1), (20, 2), (30, 3)]
        assert read(killed_run / "eval/test", reader=reader) == [(20, 2)]

    def test_the_data_server_agrees(self, killed_run):
        writer = TensorBoardWriter(killed_run)
        writer.truncate_after(30)
        writer.write(summary(35, 35.0, tag="other"))  # no new loss yet
        assert read_with_data_server(killed_run) == [(10, 1), (20, 2), (30, 3)]

    def test_a_running_tensorboard_forgets_at_the_first_new_point(self, killed_run):
        live = PluginEventAccumulator(str(killed_run / "train"), size_guidance=ALL_POINTS).Reload()
        writer = TensorBoardWriter(killed_run)
        writer.truncate_after(30)
        writer.write(summary(45, 45.0, tag="other"))
        assert points(live.Reload()) == [(10, 1), (20, 2), (30, 3)]

    def test_a_rollback_truncates_the_points_of_its_own_session(self, killed_run):
        writer = TensorBoardWriter(killed_run)
        writer.truncate_after(50)
        writer.write(summary(60, 6.0))
        live = PluginEventAccumulator(str(killed_run / "train"), size_guidance=ALL_POINTS).Reload()
        assert writer.truncate_after(20) == 5  # train 30 to 60, eval 40
        writer.write(summary(30, 30.0))
        assert read(killed_run / "train") == points(live.Reload()) == [(10, 1), (20, 2), (30, 30)]

    def test_leaves_other_files_alone(self, killed_run):
        stranger = killed_run / "events.out.tfevents.1.stranger"
        stranger.write_bytes(b"not ours")
        assert TensorBoardWriter(killed_run).truncate_after(50) == 0
        assert stranger.read_bytes() == b"not ours"


class TestUpsert:
    @pytest.mark.parametrize(
        ("step", "value", "expected"),
        [
            (1000, 10.0, [(500, 5), (1000, 10), (1500, 15), (2000, 20)]),  # as it was
            (1000, 11.0, [(500, 5), (1000, 11), (1500, 15), (2000, 20)]),
            (2000, 21.0, [(500, 5), (1000, 10), (1500, 15), (2000, 21)]),
            (700, 7.0, [(500, 5), (700, 7), (1000, 10), (1500, 15), (2000, 20)]),
            (2500, 25.0, [(500, 5), (1000, 10), (1500, 15), (2000, 20), (2500, 25)]),
        ],
    )
    def test_a_later_evaluation_of_any_step_makes_one_point(self, evaluated_run, step, value, expected):
        for _ in range(2):
            TensorBoardWriter(evaluated_run).upsert(summary(step, value, split="eval"))
        assert read_multiplexed(evaluated_run, "eval") == expected
        assert read_with_data_server(evaluated_run, "eval") == expected

    def test_a_new_file_of_a_run_that_was_not_cut_back_keeps_the_points(self, evaluated_run):
        TensorBoardWriter(evaluated_run).write(summary(1000, 10.0, split="eval"))
        assert [step for step, _ in read_multiplexed(evaluated_run, "eval")] == [500, 1000, 1500, 2000, 1000]

    def test_a_point_between_goes_into_the_file_of_the_next(self, killed_run):
        writer = TensorBoardWriter(killed_run)
        writer.truncate_after(30)
        writer.write(summary(40, 40.0, split="eval/test"))
        TensorBoardWriter(killed_run).upsert(summary(30, 30.0, split="eval/test"))
        TensorBoardWriter(killed_run).upsert(summary(10, 10.0, split="eval/test"))
        assert read_multiplexed(killed_run, "eval/test") == [(10, 10), (20, 2), (30, 30), (40, 40)]


class TestFullDisk:
    def test_later_points_are_readable(self, tmp_path, monkeypatch):
        writer = TensorBoardWriter(tmp_path)
        writer.write(summary(10, 1.0))

        def half_a_record(self, data):
            self._writer.write(b"\x10\0\0\0")
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", half_a_record)
            with pytest.raises(OSError, match="No space left"):
                writer.write(summary(20, 2.0))
        writer.write(summary(30, 3.0))
        assert read(tmp_path / "train") == [(10, 1), (30, 3)]
