"""Whether a task's numbers depend on how its data is cut."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.trainer.loop import invariance
from tallyloop.trainer.loop.invariance import RaggedFeed, compare


class TestRaggedFeed:
    @pytest.mark.parametrize(
        ("examples", "rows"),
        [
            (9, [[0, 1, 2, 3, 4, 5], [], [6, 7, 8]]),
            (7, [[0, 1, 2, 3, 4], [], [5, 6]]),
            (1, [[0], [], []]),
        ],
    )
    def test_two_thirds_nothing_and_the_rest(self, examples, rows):
        feed = RaggedFeed(Input({"x": np.arange(examples)}, examples).open_eval())
        part, n = feed.fetch(feed.plan(tf.constant(0, tf.int64), 1), tf.constant(0, tf.int64))
        found = [feed.shard(part, n, tf.constant(i, tf.int64), 3) for i in range(3)]
        assert [int(count) for _, count in found] == [len(each) for each in rows]
        firsts = [int(feed.first(n, tf.constant(i, tf.int64), 3)) for i in range(3)]
        assert firsts == [0, len(rows[0]), len(rows[0])]
        for (batch, _), expected in zip(found, rows, strict=True):
            if expected:
                np.testing.assert_array_equal(batch["x"], expected)
            else:  # a borrowed example, which counts for nothing
                assert batch["x"].shape == (1,)

    def test_is_the_feed_otherwise(self):
        feed = RaggedFeed(Input({"x": np.arange(9)}, 4).open_eval())
        assert (feed.num_examples, feed.batches_per_epoch) == (9, 3)


class TestCompare:
    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, regression_task):
        """Its weights are 1, 2, 3 and 4."""
        model = regression_task().build_model()
        model.set_weights([np.array([[1.0], [2.0], [3.0]]), np.array([4.0])])
        return model

    @pytest.fixture(scope="class")
    @classmethod
    def right(cls, regression_task, model, rows):
        """Name -> comparison, of a task that does not depend on the cut."""
        found = compare(regression_task(), model, Input(rows(16), 16, shuffle=False), {"test": Input(rows(20), 8)})
        return {comparison.name: comparison for comparison in found}

    def test_right_task(self, right):
        assert all(comparison.same for comparison in right.values())
        assert {comparison.hint for comparison in right.values()} == {""}

    def test_numbers(self, right, model, rows, gradient_of):
        """By NumPy: the loss of 20 rows, and the gradient of the first 16."""
        w = np.array([1.0, 2.0, 3.0, 4.0])
        data = rows(20)
        gradient = gradient_of(w, rows(16))
        expected = {
            "eval/test/loss": np.mean((data["x"] @ w[:3] + w[3] - data["y"]) ** 2),
            f"gradient/{model.name}/dense/kernel": np.linalg.norm(gradient[:3]),
            f"gradient/{model.name}/dense/bias": abs(gradient[3]),
        }
        for side in ("one", "cut"):
            found = {name: getattr(comparison, side) for name, comparison in right.items()}
            assert found == pytest.approx(expected, rel=1e-5)

    def test_means_of_batches(self, regression_task, model, rows):
        """A metric that is a batch's mean, an array of a batch's first loss, and a loss that depends on the batch."""

        class Careless(regression_task):
            def loss(self, model, batch, training):
                losses = super().loss(model, batch, training)
                metrics.add("careless", tf.reduce_mean(losses))
                metrics.add("matrix", tf.linalg.diag(losses)[:1, :1], finish="sum")
                metrics.add("sound", losses)
                return losses**2 / tf.reduce_mean(losses)

        found = {
            each.name: each
            for each in compare(Careless(), model, Input(rows(16), 16, shuffle=False), {"test": Input(rows(20), 8)})
        }
        same = {name: comparison.same for name, comparison in found.items() if name.startswith("eval/")}
        assert same == {
            "eval/test/careless": False,
            "eval/test/loss": False,
            "eval/test/matrix": False,
            "eval/test/sound": True,
        }
        assert not any(comparison.same for name, comparison in found.items() if name.startswith("gradient/"))
        assert found["eval/test/careless"].hint.startswith("eval/test/careless: it depends on how the batch is cut")

    def test_rows_by_number(self, regression_task, model, rows, right):
        """Which a `map_fn` makes of arrays: the replicas' shares are cut otherwise, the numbers are the same."""
        read = Input(rows(20), 16, shuffle=False, map_fn=lambda example: example)
        found = {each.name: each for each in compare(regression_task(), model, read, {"test": read})}
        assert all(each.same for each in found.values())
        assert {name: each.cut for name, each in found.items()} == pytest.approx(
            {name: each.one for name, each in right.items()}, rel=1e-5
        )

    def test_missing_on_one_side(self):
        (found,) = invariance._pair({"m": 1.0}, {}, 1e-5)
        assert (found.one, found.same) == (1.0, False)
        assert np.isnan(found.cut)

    def test_nan_on_both_sides(self):
        (found,) = invariance._pair({"m": float("nan")}, {"m": float("nan")}, 1e-5)
        assert found.same

    def test_without_data(self, regression_task, model):
        with pytest.raises(UsageError, match=r"bind Trainer.eval_datasets or Trainer.train_dataset"):
            compare(regression_task(), model, None, {})

    def test_too_few_devices(self, regression_task, model, rows, monkeypatch):
        cpus = tf.config.list_logical_devices("CPU")
        monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: cpus[:2])
        with pytest.raises(UsageError, match="needs 3 CPU devices, and there are 2: --virtual_cpus=3"):
            compare(regression_task(), model, Input(rows(16), 16, shuffle=False), {})


class TestCheck:
    def test_in_eval_mode(self, layered, make_trainer):
        """Dropout and BatchNormalization would see only a replica's rows."""
        layers = [lambda: keras.layers.Dropout(0.5), keras.layers.BatchNormalization]
        found = make_trainer(layered(*layers), data=20, evaluate=True).check()
        assert all(comparison.same for comparison in found), found
