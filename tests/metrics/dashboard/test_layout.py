import re

from tallyloop.metrics.dashboard.layout import charts_of, layout_value
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout


class TestCharts:
    def test_follow_the_tree_of_the_metrics(self):
        paths = ["accuracy", "loss", "loss/a", "loss/b", "stage/on", "stage/off", "f1/class_0", "f1/class_1", "time/x"]
        assert charts_of(paths) == {
            "loss": {
                "loss and its parts": ["loss(/.+)?"],
                "loss": ["loss"],
                "loss/a": ["loss/a"],
                "loss/b": ["loss/b"],
            },
            "metrics": {"accuracy": ["accuracy"]},
            "stage": {"stage/*": ["stage/.+"], "stage/off": ["stage/off"], "stage/on": ["stage/on"]},
            "per class": {"f1": [r"f1/class_\d+"]},
            "time": {"time/x": ["time/x"]},
        }

    def test_a_total_that_is_the_loss_is_no_second_chart(self):
        assert charts_of(["loss", "loss/a", "loss/total"]) == charts_of(["loss", "loss/a"])
        assert "loss/total" in charts_of(["loss/a", "loss/total"])["loss"]

    def test_of_one_metric_are_the_same_whatever_the_others(self):
        """TensorBoard merges the layouts of all runs, and shows equal charts once."""
        few, many = charts_of(["loss", "accuracy"]), charts_of(["loss", "accuracy", "loss/a", "a/b/class_0", "z"])
        for title, charts in few.items():
            assert charts.items() <= many[title].items()

    def test_the_dot_in_a_name_is_a_dot(self):
        assert charts_of(["recall_at_0.5"])["metrics"] == {"recall_at_0.5": [r"recall_at_0\.5"]}


class TestLayout:
    def test_takes_whole_names_only(self):
        value = layout_value({"g": {"c": ["loss", "f1/.*"]}})
        (chart,) = Layout.FromString(value.tensor.string_val[0]).category[0].chart
        found = {tag for tag in ("loss", "loss/a", "f1/x") if any(re.match(p, tag) for p in chart.multiline.tag)}
        assert found == {"loss", "f1/x"}

    def test_only_the_time_is_folded(self):
        layout = Layout.FromString(layout_value(charts_of(["loss", "time/x"])).tensor.string_val[0])
        assert {each.title: each.closed for each in layout.category} == {"loss": False, "time": True}
