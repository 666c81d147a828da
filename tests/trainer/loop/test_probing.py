"""Steps beside the run: what they find, and that the run goes on as if they had not been."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop.data import Input
from tallyloop.trainer.loop.probing import UpdateProbe, unchanged


@pytest.fixture(scope="module")
def at_step_3(make_trainer, rows):
    """A Trainer on 2 replicas after 3 steps, with dropout and BatchNormalization out of the way."""
    trainer = make_trainer(replicas=2, train_steps=3, optimizer=lambda: keras.optimizers.SGD(0.02, momentum=0.5))
    trainer.train()
    return trainer


class TestUpdateProbe:
    def test_is_that_of_the_first_batch(self, at_step_3, weights_of, gradient_of, rows):
        """With momentum m, velocity v, rate r and gradient g, the update is m v - r g."""
        w = weights_of(at_step_3)
        first = {key: array[:16] for key, array in rows(40).items()}
        gradient = gradient_of(w, first)
        velocity = np.concatenate([v.numpy().ravel() for v in at_step_3.optimizer.variables[2:]])
        found = UpdateProbe(at_step_3.session).run()
        flat = lambda arrays: np.concatenate([array.ravel() for array in arrays])  # noqa: E731
        np.testing.assert_array_equal(flat(each.weights for each in found), w)
        np.testing.assert_allclose(flat(each.gradient for each in found), gradient, rtol=1e-5)
        np.testing.assert_allclose(flat(each.update for each in found), 0.5 * velocity - 0.02 * gradient, rtol=1e-3)

    def test_changes_nothing(self, at_step_3):
        variables = [*at_step_3.model.variables, *at_step_3.optimizer.variables]
        before = [variable.numpy() for variable in variables]
        probe = UpdateProbe(at_step_3.session)
        assert [each.update.tolist() for each in probe.run()] == [each.update.tolist() for each in probe.run()]
        for variable, value in zip(variables, before, strict=True):
            np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.path)

    def test_of_rows_by_number(self, make_trainer, rows, gradient_of):
        """Which are read by each replica, and not kept."""

        class Rows:
            def __len__(self):
                return 40

            def __getitem__(self, i):
                return {key: array[i] for key, array in rows(40).items()}

        trainer = make_trainer(replicas=2, train_dataset=Input(Rows(), 16, shuffle=False), train_steps=3)
        trainer.prepare()
        probe = UpdateProbe(trainer.session)
        gradient = gradient_of(np.zeros(4), {key: array[:16] for key, array in rows(40).items()})
        for _ in range(2):
            found = np.concatenate([each.gradient.ravel() for each in probe.run()])
            np.testing.assert_allclose(found, gradient, rtol=1e-5)
        trainer.train()
        assert trainer.step == 3

    def test_a_scaled_loss_has_the_same_gradient(self, make_trainer, rows, gradient_of):
        scaled = lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.02))  # noqa: E731
        trainer = make_trainer(optimizer=scaled, train_steps=1)
        trainer.prepare()
        found = UpdateProbe(trainer.session).run()
        gradient = gradient_of(np.zeros(4), {key: array[:16] for key, array in rows(40).items()})
        np.testing.assert_allclose(np.concatenate([each.gradient.ravel() for each in found]), gradient, rtol=1e-5)


class TestUnchanged:
    @pytest.mark.parametrize("data", ["arrays", "stream"])
    def test_the_run_goes_on_as_without(self, make_trainer, layered, rows, assert_same_weights, data):
        """Dropout seeds, moving statistics, momentum, an incomplete update, metric sums and the place in the data."""
        source = rows(40) if data == "arrays" else tf.data.Dataset.from_tensor_slices(rows(40))
        seen = {True: [], False: []}

        def trainer_that(probes):
            class Probes:
                steps = (5,)

                def reached(self, trainer):
                    if probes:
                        with unchanged(trainer.session):
                            trainer.session.drain()
                            trainer.optimizer.learning_rate = 0.5
                            trainer.session.loop.run(trainer.step, 3)
                            assert trainer.step == 8
                    assert trainer.step == 5

            task = layered(lambda: keras.layers.Dropout(0.5, seed=1), keras.layers.BatchNormalization)
            trainer = make_trainer(
                task,
                train_dataset=Input(source, 16, shuffle=True, shuffle_buffer=20),
                optimizer=lambda: keras.optimizers.Adam(0.02),
                gradient_accumulation=2,
                summary_interval=10,
                train_steps=10,
                actions=[Probes(), lambda _, summary: seen[probes].append((summary.step, summary.metrics["loss"]))],
            )
            trainer.train()
            return trainer

        assert_same_weights(trainer_that(True), trainer_that(False))
        assert seen[True] == seen[False]
        assert len(seen[True]) == 1
