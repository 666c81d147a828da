"""The learning rate that is suggested, and that looking for it leaves no trace."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from tallyloop.metrics import UsageError
from tallyloop.trainer.actions import LearningRateFinder
from tallyloop.trainer.actions.learning_rate_finder import FILE


def steepest(rows, gradient_of, rates):
    """The rates tried, the smoothed losses of gradient descent on one batch, and the rate of their steepest fall: by NumPy."""
    x = np.concatenate([rows["x"], np.ones([16, 1])], 1).astype(np.float64)
    w, losses, smoothed, average = np.zeros(4), [], [], 0.0
    for rate in rates:
        losses.append(np.mean((x @ w - rows["y"]) ** 2))
        average = 0.9 * average + 0.1 * losses[-1]
        smoothed.append(average / (1 - 0.9 ** len(losses)))
        if len(losses) > 10 and smoothed[-1] > 4 * min(smoothed):
            break
        w = w - rate * gradient_of(w, rows)
    tried = rates[: len(losses)]
    return tried, smoothed, tried[np.gradient(smoothed, np.log(tried)).argmin()]


@pytest.fixture(scope="module")
def searched(make_trainer, tmp_path_factory):
    """(the Trainer, the finder, the folder) after a search on one batch, on 2 replicas."""
    finder, folder = LearningRateFinder(1e-4, 10.0, steps=40), tmp_path_factory.mktemp("searched")
    trainer = make_trainer(data=16, replicas=2, actions=[finder], model_dir=folder)
    trainer.train()
    return trainer, finder, folder


class TestFound:
    def test_is_where_the_loss_falls_fastest(self, searched, rows, gradient_of):
        _, finder, folder = searched
        rates, losses, suggestion = steepest(rows(16), gradient_of, np.geomspace(1e-4, 10.0, 40))
        assert len(rates) < 40  # it diverges before
        np.testing.assert_allclose(finder.found.rates, rates, rtol=1e-12)
        # The last steps diverge and amplify rounding, which differs between processors.
        np.testing.assert_allclose(finder.found.losses, losses, rtol=1e-3)
        np.testing.assert_allclose(finder.found.losses[:-4], losses[:-4], rtol=1e-4)
        np.testing.assert_allclose(finder.found.suggestion, suggestion)
        written = json.loads((folder / FILE).read_text())
        assert written == finder.found._asdict()

    def test_of_small_batches(self, make_trainer):
        """Whose losses differ by more than a factor of four at one rate."""
        x = np.random.default_rng(0).normal(size=(256, 3)).astype(np.float32)
        finder = LearningRateFinder()
        trainer = make_trainer(data={"x": x, "y": x @ np.array([1, -2, 3], np.float32)}, batch=8, actions=[finder])
        trainer.train()
        assert 1e-3 < finder.found.suggestion < 1

    def test_says_what_to_bind(self, searched):
        trainer, finder, _ = searched
        rate = f"{finder.found.suggestion:.2g}"
        assert f"the loss falls fastest at {rate}. Bind keras.optimizers.SGD.learning_rate = {rate}" in trainer.stopped
        assert trainer.stopped.startswith("stopped at step 0: LearningRateFinder: among 0.0001 to ")

    def test_leaves_no_trace(self, searched, make_trainer, weights_of, assert_same_weights):
        trainer, _, folder = searched
        assert trainer.step == 0
        assert float(trainer.optimizer.learning_rate.numpy()) == np.float32(0.02)
        assert int(trainer.optimizer.iterations.numpy()) == 0
        np.testing.assert_array_equal(weights_of(trainer), np.zeros(4))
        assert not list(folder.glob("checkpoints/ckpt*"))
        without = make_trainer(data=16, replicas=2)
        without.train()
        trainer.session.loop.run(0, 6)
        assert_same_weights(trainer, without)

    def test_nothing_in_a_run_that_goes_on(self, caplog):
        finder = LearningRateFinder()
        finder.start(SimpleNamespace(step=2))
        assert finder.found is None
        assert "LearningRateFinder: expected a new run, and 2 steps are done: it does nothing" in caplog.text


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"lowest": 0}, r"LearningRateFinder.lowest = 0: expected a number of at least 1e-30"),
            (
                {"highest": 1e-8},
                r"LearningRateFinder.highest = 1e-08: expected more than LearningRateFinder.lowest = 1e-07",
            ),
            ({"highest": None}, r"LearningRateFinder.highest = None: expected a number"),
            ({"steps": 5}, r"LearningRateFinder.steps = 5: expected a whole number of at least 10"),
        ],
    )
    def test_wrong_arguments_are_refused(self, arguments, message):
        with pytest.raises(UsageError, match=message):
            LearningRateFinder(**arguments)

    def test_several_optimizers_have_no_single_rate(self):
        optimizers = {"a": keras.optimizers.SGD(0.1), "b": keras.optimizers.SGD(0.1)}
        with pytest.raises(UsageError, match=r"got a schedule or several optimizers"):
            LearningRateFinder().check(SimpleNamespace(optimizer=optimizers))

    def test_a_schedule_has_no_rate_to_vary(self, make_trainer):
        schedule = lambda: keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10))  # noqa: E731
        with pytest.raises(
            UsageError, match=r"LearningRateFinder: expected an optimizer with a constant learning rate"
        ):
            make_trainer(optimizer=schedule, actions=[LearningRateFinder()]).prepare()

    def test_rates_that_are_all_too_high(self, make_trainer):
        finder = LearningRateFinder(1e15, 1e30, steps=10)
        with pytest.raises(UsageError, match=r"the loss was no longer finite after \d rates: expected at least 10"):
            make_trainer(data=16, actions=[finder]).train()

    def test_rates_that_are_all_too_low(self, make_trainer):
        finder = LearningRateFinder(1e-30, 1e-29, steps=10)
        with pytest.raises(UsageError, match=r"the loss does not fall at any rate from 1e-30 to 1e-29"):
            make_trainer(data=16, actions=[finder]).train()
