import math

import pytest
from tallyloop.metrics.dashboard.hparams import end_value, start_value
from tallyloop.metrics.writers.summary import Ending
from tensorboard.plugins.hparams import api_pb2, metadata


def parsed(value):
    return metadata.parse_session_start_info_plugin_data(value.metadata.plugin_data.content)


class TestStart:
    def test_values_are_typed(self):
        given = {"a": True, "b": 3, "c": 0.5, "d": "text", "e": math.inf, "f": math.nan}
        found = parsed(start_value(given)).hparams
        kinds = [found[name].WhichOneof("kind") for name in "abcdef"]
        assert kinds == ["bool_value", *["number_value"] * 2, *["string_value"] * 3]
        assert [found[name].number_value for name in "bc"] == [3.0, 0.5]
        assert [found[name].string_value for name in "def"] == ["text", "inf", "nan"]

    def test_is_in_no_group_so_that_no_two_runs_are_averaged(self):
        assert parsed(start_value({})).group_name == ""


class TestEnd:
    @pytest.mark.parametrize(
        ("state", "status"),
        [("done", api_pb2.STATUS_SUCCESS), ("stopped", api_pb2.STATUS_SUCCESS), ("failed", api_pb2.STATUS_FAILURE)],
    )
    def test_has_a_status(self, state, status):
        content = end_value(Ending(state, "why")).metadata.plugin_data.content
        assert metadata.parse_session_end_info_plugin_data(content).status == status

    def test_a_run_that_goes_on_later_has_none(self):
        assert end_value(Ending("interrupted", "Stopped.")) is None
