"""The compiled prediction steps."""

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.metrics.errors import DataError
from tallyloop.trainer.prediction.loop import PredictLoop


@pytest.fixture(scope="module")
def make_loop(regression_task, mirrored_on):
    """make_loop(input, replicas) -> a loop whose predictions are the number of the example."""

    class Numbers(regression_task):
        def predict_step(self, model, batch):
            return {"number": batch["n"]}

    def make(data, replicas=1):
        strategy = mirrored_on(replicas)
        return PredictLoop(
            task=Numbers(), model=regression_task().build_model(), strategy=strategy, feed=data.open_eval()
        )

    return make


def fails_on_5(example):
    return {"n": tf.debugging.check_numerics(1 / tf.cast(example["n"] - 5, tf.float32), "")}


def stream(count, **options):
    return Input(lambda: tf.data.Dataset.range(count).map(lambda n: {"n": n}), 4, **options)


class TestBatches:
    @pytest.mark.parametrize(
        "data",
        [Input({"n": np.arange(10)}, 4), Input([{"n": n} for n in range(10)], 4), stream(10)],
        ids=["arrays", "rows", "stream"],
    )
    @pytest.mark.parametrize("replicas", [1, 3])
    def test_from_any_batch_on(self, make_loop, data, replicas):
        loop = make_loop(data, replicas)
        for first, expected in (
            (0, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]),
            (2, [[8, 9]]),
            (3, []),
            (1, [[4, 5, 6, 7], [8, 9]]),
        ):
            assert [batch[0].tolist() for batch in loop.batches(first)] == expected

    def test_specs_of_the_outputs(self, make_loop):
        assert make_loop(stream(3)).outputs == {"number": tf.TensorSpec([None], tf.int64)}

    def test_a_bad_example_is_named(self, make_loop):
        with pytest.raises(DataError, match="example 5"):
            list(make_loop(stream(10, map_fn=fails_on_5)).batches())

    def test_bad_examples_that_are_skipped_are_counted(self, make_loop, caplog):
        data = stream(10, map_fn=fails_on_5, on_error="skip")
        assert sum(len(batch[0]) for batch in make_loop(data).batches()) == 9
        assert '1 bad examples have no predictions, as Input.on_error = "skip".' in caplog.text

    def test_outputs_that_are_no_predictions(self, regression_task, mirrored_on):
        class Wrong(regression_task):
            def predict_step(self, model, batch):
                return [tf.zeros([2])]

        arguments = {"task": Wrong(), "model": Wrong().build_model(), "strategy": mirrored_on(1)}
        with pytest.raises(UsageError, match=r"an output of shape \(2,\) for a batch of 3"):
            list(PredictLoop(**arguments, feed=stream(3).open_eval()).batches())
