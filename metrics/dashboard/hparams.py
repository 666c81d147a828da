"""A run's row in TensorBoard's HParams: its hyperparameters, and how it ended."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, Final

from tensorboard.compat.proto.summary_pb2 import Summary as SummaryProto  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

from ..writers.summary import Ending

# A run that goes on later has no status: TensorBoard keeps the first that it reads.
_STATUS: Final = {"done": "STATUS_SUCCESS", "stopped": "STATUS_SUCCESS", "failed": "STATUS_FAILURE"}
_api: Any = api_pb2  # protobuf makes its names at run time
_data: Any = plugin_data_pb2


def start_value(hparams: Mapping[str, bool | int | float | str]) -> SummaryProto.Value:
    """Return what makes a run a row of the table.

    It names no group: the row is then that of the run alone, under the name that TensorBoard gives the run, which no two have.
    """
    start = _data.SessionStartInfo(start_time_secs=time.time())
    for name, value in sorted(hparams.items()):
        if isinstance(value, bool):
            start.hparams[name].bool_value = value
        elif isinstance(value, int | float) and math.isfinite(value):
            start.hparams[name].number_value = value
        else:
            start.hparams[name].string_value = str(value)  # of infinities, too: TensorBoard drops them as numbers
    return _value(metadata.SESSION_START_INFO_TAG, _data.HParamsPluginData(session_start_info=start))


def end_value(ending: Ending) -> SummaryProto.Value | None:
    """Return the status of a run; None if it is not final."""
    if ending.state not in _STATUS:
        return None
    end = _data.SessionEndInfo(status=_api.Status.Value(_STATUS[ending.state]), end_time_secs=time.time())
    return _value(metadata.SESSION_END_INFO_TAG, _data.HParamsPluginData(session_end_info=end))


def _value(tag: str, data: Any) -> SummaryProto.Value:
    return SummaryProto.Value(tag=tag, tensor=metadata.NULL_TENSOR, metadata=metadata.create_summary_metadata(data))
