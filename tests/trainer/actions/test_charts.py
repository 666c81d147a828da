"""The user's own charts, and the graph."""

from types import SimpleNamespace

import pytest
from tallyloop.metrics import UsageError
from tallyloop.metrics.writers import Summary
from tallyloop.trainer.actions import Charts
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout


class TestCharts:
    def test_come_first_in_the_layout(self, twins, written):
        (_, folder), _ = twins
        last = [value for _, tag, value in written(folder, "") if tag == "custom_scalars__config__"][-1]
        layout = Layout.FromString(last.tensor.string_val[0])
        assert [each.title for each in layout.category][:2] == ["own", "loss"]
        assert list(layout.category[0].chart[0].multiline.tag) == ["(?:loss)$", "(?:update_ratio/.*)$"]

    @pytest.mark.parametrize(
        ("layout", "message"),
        [
            ({}, r"Charts.layout: expected a dict of groups of charts, such as .*, got \{\}"),
            ("loss", r"expected a dict of groups of charts, .* got 'loss'"),
            ({"a": ["loss"]}, r"expected a dict of charts in the group 'a', .* got \['loss'\]"),
            ({"a": {"b": "loss"}}, r"expected a list of metrics in the chart 'b', .* got 'loss'"),
            ({"a": {"b": []}}, r"expected a list of metrics in the chart 'b', .* got \[\]"),
            ({"a": {"b": ["loss("]}}, r"chart 'b': expected .*a regular expression, got 'loss\(': missing \)"),
            ({"a": {"b": [3]}}, r"chart 'b': expected the name of a metric, .* got 3"),
        ],
    )
    def test_are_checked(self, layout, message):
        with pytest.raises(UsageError, match=message):
            Charts(layout)

    def test_an_empty_one_is_reported_once_when_all_metrics_are_known(self, caplog):
        charts = Charts({"a": {"b": ["loss", "accuracy", "f1/.*"], "c": ["acuracy"]}})
        trainer = SimpleNamespace(eval_metrics={"test": []})
        for step in (1, 2):
            for split, metrics in (("train", {"loss": 1.0}), ("eval", {"accuracy": 1.0, "f1/class_0": 1.0})):
                charts(trainer, Summary(step, split, metrics, {}))
        assert [record.getMessage() for record in caplog.records] == [
            "Charts.layout: chart 'c': no metric so far is named 'acuracy': did you mean \"accuracy\"?"
        ]


class TestGraph:
    def test_is_that_of_a_step(self, twins):
        (_, folder), _ = twins
        (path,) = folder.glob("*tfevents*")
        (graph,) = [event.graph_def for event in EventFileLoader(str(path)).Load() if event.graph_def]
        nodes = {node.name for node in GraphDef.FromString(graph).node}
        assert any("MatMul" in name for name in nodes)
        assert any("gradient_tape" in name for name in nodes)
