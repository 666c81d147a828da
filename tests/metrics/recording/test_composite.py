import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.metrics import MetricRegistry, UsageError

PARTS = {"content": tf.constant([1.0, 2.0, 6.0]), "style": tf.constant([10.0, 20.0, 30.0])}


class TestCompositeLoss:
    def test_returns_the_weighted_sum_and_shows_each_part(self):
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

    def test_on_two_replicas(self, evaluate):
        def step(p):
            metrics.composite_loss({"content": p, "style": p * 10}, {"style": 0.5})

        found = evaluate(step, [tf.constant([1.0, 2.0, 3.0]), tf.constant([6.0])])
        assert found == {"loss/content": 3, "loss/style": 30, "loss/total": 3 + 15}

    def test_without_weights_all_parts_count_one(self, record_eagerly):
        totals = []

        def step():
            with metrics.scope("outer"):
                totals.append(metrics.composite_loss(PARTS, name="mix"))

        assert set(record_eagerly(step)) == {"outer/mix/content", "outer/mix/style", "outer/mix/total"}
        assert totals[0].numpy().tolist() == [11.0, 22.0, 36.0]

    def test_outside_a_step_it_only_sums(self):
        assert metrics.composite_loss(PARTS, weights={"content": 0.0}).numpy().tolist() == [10.0, 20.0, 30.0]

    @pytest.mark.parametrize(
        ("other", "dtype"), [(tf.bfloat16, tf.float32), (tf.float32, tf.float32), (tf.float64, tf.float64)]
    )
    def test_the_sum_has_the_highest_precision_of_the_parts(self, other, dtype):
        parts = {"a": tf.ones([2], tf.bfloat16), "b": tf.ones([2], other)}
        assert metrics.composite_loss(parts).dtype == dtype

    def test_refuses_a_weight_that_names_no_part(self):
        with pytest.raises(
            UsageError, match=r"weights of the parts \['content', 'style'\], got weights of \['styel'\]"
        ):
            metrics.composite_loss(PARTS, weights={"styel": 0.1})

    def test_refuses_no_parts(self):
        with pytest.raises(UsageError, match="composite_loss: expected at least one part"):
            metrics.composite_loss({})
