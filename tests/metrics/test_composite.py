import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import MetricRegistry, UsageError

PARTS = {"content": tf.constant([1.0, 2.0, 6.0]), "style": tf.constant([10.0, 20.0, 30.0])}


def test_the_weighted_sum_is_returned_and_each_part_is_shown():
    registry = MetricRegistry()
    with registry.recording():
        total = metrics.composite_loss(PARTS, weights={"style": 0.1})
        found = registry.result(registry.compute(None, None))
    assert total.numpy().tolist() == pytest.approx([2.0, 4.0, 9.0])
    assert found == {
        "loss/content": pytest.approx(3.0),
        "loss/style": pytest.approx(20.0),
        "loss/total": pytest.approx(5.0),
    }


def test_without_weights_all_parts_count_one_and_the_name_can_be_chosen():
    registry = MetricRegistry()
    with registry.recording(), metrics.scope("outer"):
        total = metrics.composite_loss(PARTS, name="mix")
        paths = set(registry.compute(None, None))
    assert total.numpy().tolist() == [11.0, 22.0, 36.0]
    assert paths == {"outer/mix/content", "outer/mix/style", "outer/mix/total"}


def test_outside_a_step_it_only_sums():
    assert metrics.composite_loss(PARTS, weights={"content": 0.0}).numpy().tolist() == [10.0, 20.0, 30.0]


def test_a_weight_that_names_no_part_is_refused():
    with pytest.raises(UsageError, match=r"\['styel'\] name no part; the parts are \['content', 'style'\]"):
        metrics.composite_loss(PARTS, weights={"styel": 0.1})


def test_no_parts_are_refused():
    with pytest.raises(UsageError, match="composite_loss"):
        metrics.composite_loss({})
