"""The layout of TensorBoard's Custom Scalars: which metrics share a chart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary as SummaryProto  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.tensor_pb2 import TensorProto  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.types_pb2 import DT_STRING  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.plugins.custom_scalar import layout_pb2, metadata

Charts = Mapping[str, Mapping[str, Sequence[str]]]
"""Title of a group -> title of a chart -> regular expressions; the chart shows the metrics whose whole path one matches."""

_proto: Any = layout_pb2  # protobuf makes its names at run time
_TOP, _LOSS, _CLASSES, _TIME = "metrics", "loss", "per class", "time"
_OF_A_CLASS = re.compile(r"(.+)/class_\d+")
_TIMES = ("time", "throughput")


def charts_of(paths: Iterable[str]) -> Charts:
    """Return the charts of some metrics, by their tree. A chart has a metric's curves of training and of every evaluation.

    The loss and its parts share a chart, and so do the classes of a metric, and the metrics of a layer or of another group,
    besides a chart for each; what a run tells about its time stands last. Each chart depends on its metrics' names alone:
    TensorBoard merges the layouts of all runs, and shows what is equal in them once.
    """
    groups: dict[str, dict[str, list[str]]] = {_LOSS: {}, _TOP: {}}
    classes: dict[str, list[str]] = {}
    times: dict[str, list[str]] = {}
    found = sorted(paths)
    for path in found:
        top, _, below = path.partition("/")
        if of_class := _OF_A_CLASS.fullmatch(path):
            classes[of_class[1]] = [re.escape(of_class[1]) + r"/class_\d+"]
        elif top in _TIMES:
            times[path] = [re.escape(path)]
        elif top == _LOSS:
            if below:
                groups[_LOSS] = {"loss and its parts": ["loss(/.+)?"], **groups[_LOSS]}
            if path != "loss/total" or "loss" not in found:  # the same, or seen among the parts
                groups[_LOSS][path] = [re.escape(path)]
        else:
            groups.setdefault(top if below else _TOP, {})[path] = [re.escape(path)]
    for title, charts in groups.items():
        if title not in (_LOSS, _TOP) and len(charts) > 1:
            groups[title] = {f"{title}/*": [re.escape(title) + "/.+"], **charts}
    return {title: charts for title, charts in {**groups, _CLASSES: classes, _TIME: times}.items() if charts}


def layout_value(charts: Charts) -> SummaryProto.Value:
    """Return a layout; of the layouts of a run, the last one counts."""
    categories = [
        _proto.Category(title=title, closed=title == _TIME, chart=[_chart(name, tags) for name, tags in inside.items()])
        for title, inside in charts.items()
    ]
    layout = _proto.Layout(category=categories).SerializeToString()
    return SummaryProto.Value(
        tag=metadata.CONFIG_SUMMARY_TAG,
        tensor=TensorProto(dtype=DT_STRING, tensor_shape=TensorShapeProto(), string_val=[layout]),
        metadata=metadata.create_summary_metadata(),
    )


def _chart(title: str, patterns: Sequence[str]) -> Any:
    # TensorBoard takes a tag whose beginning matches.
    return _proto.Chart(
        title=title, multiline=_proto.MultilineChartContent(tag=[f"(?:{pattern})$" for pattern in patterns])
    )
