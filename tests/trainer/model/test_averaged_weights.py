"""`use_ema=True`: the averages evaluate, predict and are exported."""

import keras
import numpy as np
import pytest


class TestAveragedWeights:
    """`use_ema=True`: the averages evaluate, predict and are exported; training goes on with the weights."""

    def optimizer(self):
        return keras.optimizers.SGD(0.02, use_ema=True, ema_momentum=0.8)

    @pytest.fixture
    def by_numpy(self, rows, gradient_of):
        """by_numpy(steps) -> (weights, averages) after `steps` of batches of 16 of 40 rows."""

        def train(steps):
            w, average = np.zeros(4), None
            for step in range(steps):
                start = 16 * (step % 3)
                w = w - 0.02 * gradient_of(w, {k: v[start : start + 16] for k, v in rows(40).items()})
                average = w if average is None else 0.8 * average + 0.2 * w
            return w, average

        return train

    @pytest.fixture
    def loss(self, rows):
        """loss(w) over all rows, within 1e-5."""
        data = rows(40)
        return lambda w: pytest.approx(np.mean((data["x"] @ w[:3] + w[3] - data["y"]) ** 2), rel=1e-5)

    @pytest.mark.parametrize("replicas", [1, 4])
    def test_evaluated_and_exported(self, make_trainer, weights_of, by_numpy, loss, tmp_path, replicas):
        seen = []
        arguments = {"optimizer": self.optimizer, "replicas": replicas, "evaluate": True, "model_dir": tmp_path}
        trainer = make_trainer(eval_interval=4, actions=[lambda _, summary: seen.append(summary)], **arguments)
        trainer.train_and_eval()
        weights, averages = by_numpy(6)
        assert [s.metrics["loss"] for s in seen if s.split == "eval"] == [loss(by_numpy(4)[1]), loss(averages)]
        assert trainer.evaluate() == {"test": {"loss": loss(averages)}}
        np.testing.assert_allclose(weights_of(trainer), weights, atol=1e-5)
        # A Trainer that only evaluates takes the averages from the checkpoint.
        fresh = make_trainer(**arguments)
        assert fresh.evaluate() == {"test": {"loss": loss(averages)}}
        exported = keras.models.load_model(fresh.export(tmp_path / "out") / "model.keras")
        np.testing.assert_allclose(np.concatenate([w.ravel() for w in exported.get_weights()]), averages, atol=1e-5)

    def test_reports_unused_ones(self, make_trainer, by_numpy, loss, tmp_path, caplog):
        make_trainer(optimizer=self.optimizer, model_dir=tmp_path).train()
        make_trainer(optimizer=self.optimizer, evaluate=True, model_dir=tmp_path).evaluate()
        assert "which are not used" not in caplog.text
        found = make_trainer(optimizer=None, evaluate=True, model_dir=tmp_path).evaluate()
        assert "ckpt-6 has averages of the weights, which are not used" in caplog.text
        assert found["test"]["loss"] == loss(by_numpy(6)[0])

    def test_used_by_a_dry_run(self, make_trainer, by_numpy, rows, tmp_path):
        """Its eval step takes the first batch of 16."""
        make_trainer(optimizer=self.optimizer, model_dir=tmp_path).train()
        rerun = make_trainer(optimizer=self.optimizer, evaluate=True, model_dir=tmp_path)
        rerun.evaluate()  # which loads the checkpoint
        (found,) = rerun.dry_run(train=False)
        weights, averages = by_numpy(6)
        x, y = rows(40)["x"][:16], rows(40)["y"][:16]
        mean = lambda w: np.mean((x @ w[:3] + w[3] - y) ** 2)  # noqa: E731
        assert found.counts["loss"] == 16
        assert found.metrics["loss"] == pytest.approx(mean(averages), rel=1e-4)
        assert mean(averages) != pytest.approx(mean(weights), rel=1e-2)

    def test_before_the_first_step(self, make_trainer, loss):
        trainer = make_trainer(optimizer=self.optimizer, evaluate=True)
        assert trainer.evaluate()["test"]["loss"] == loss(np.zeros(4))

    def test_of_an_older_checkpoint(self, make_trainer, weights_of, by_numpy, loss, tmp_path):
        trainer = make_trainer(
            optimizer=self.optimizer, evaluate=True, checkpoint_interval=4, model_dir=tmp_path, train_steps=6
        )
        trainer.train()
        older = trainer.evaluate(str(tmp_path / "checkpoints" / "ckpt-4"))
        assert older["test"]["loss"] == loss(by_numpy(4)[1])
        np.testing.assert_allclose(weights_of(trainer), by_numpy(6)[0], atol=1e-5)
        assert trainer.evaluate()["test"]["loss"] == loss(by_numpy(6)[1])
