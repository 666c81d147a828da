"""The sums of the gradients of an update's steps and replicas."""

import pytest
import tensorflow as tf
from tallyloop.metrics import Tally
from tallyloop.trainer.step.gradient_sums import GradientSums


class TestGradientSums:
    @pytest.mark.parametrize(("replicas", "accumulation"), [(1, 1), (3, 1), (1, 2), (3, 2), (2, 3)])
    def test_over_steps_and_replicas(self, mirrored_on, replicas, accumulation):
        """Replica r contributes (step + 1) * (r + 1) to the gradient, r + 1 to the loss and 1 to the count."""
        strategy = mirrored_on(replicas)
        sums = GradientSums(strategy, accumulation)
        updates = tf.Variable(tf.zeros([6, 3]))
        done = tf.Variable(0)
        traces = []

        def apply(reduced):
            gradients, loss = reduced
            assert sorted(gradients) == [0, 5]
            update = tf.stack([gradients[5][1], loss.value, loss.count])
            updates.scatter_nd_update([[done]], [update])
            return tf.equal(done.assign_add(1), done)

        @tf.function(autograph=False)
        def loop(steps):
            traces.append(1)

            def replica(step):
                number = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group + 1, tf.float32)
                gradient = tf.cast(step + 1, tf.float32) * number
                return {0: gradient, 5: tf.stack([0.0, gradient])}, Tally(number, tf.ones_like(number))

            def body(step, finite):
                gradients, loss = strategy.run(replica, args=(step,))
                applied, updated = sums.add_and_maybe(step, (gradients, loss), apply)
                return step + 1, finite & applied & (updated == ((step + 1) % accumulation == 0))

            zero = tf.constant(0, tf.int64)
            return tf.while_loop(lambda step, _: step < steps, body, [zero, tf.constant(True)])[1]

        assert loop(tf.constant(5, tf.int64))
        numbers = sum(range(1, replicas + 1))
        # The fifth step waits for a sixth.
        gradients = {1: [1, 2, 3, 4, 5], 2: [1 + 2, 3 + 4], 3: [1 + 2 + 3]}[accumulation]
        expected = [[total * numbers, accumulation * numbers, accumulation * replicas] for total in gradients]
        assert int(done) == len(expected)
        assert updates[: len(expected)].numpy().tolist() == expected
        assert traces == [1]

    def test_keep_the_dtypes(self, mirrored_on):
        """float32 would lose the 1e-12, and the last digit of the count."""
        sums, applied = GradientSums(mirrored_on(1), 2), []

        def apply(reduced):
            gradients, loss = reduced
            applied.append((gradients[0].dtype, loss.count.dtype))
            return (gradients[0] == 2 + 2e-12) & (loss.count == 2**25 + 2)

        @tf.function(autograph=False)
        def run(step):
            gradients, loss = {0: tf.constant(1 + 1e-12, tf.float64)}, Tally(1.0, tf.constant(2**24 + 1, tf.int64))
            return sums.add_and_maybe(step, (gradients, tf.nest.map_structure(tf.convert_to_tensor, loss)), apply)

        assert [bool(part) for part in run(tf.constant(0, tf.int64))] == [True, False]
        assert [bool(part) for part in run(tf.constant(1, tf.int64))] == [True, True]
        assert set(applied) == {(tf.float64, tf.int64)}


class TestCheckpoint:
    """After the first of two steps: replica r has the gradient (step + 1) * (r + 1)."""

    @pytest.fixture
    def sums(self, mirrored_on):
        """sums(replicas) -> the sums, and a function that runs a step and returns what was applied, or None."""

        def make(replicas):
            strategy, applied = mirrored_on(replicas), tf.Variable([0.0, 0.0])
            sums = GradientSums(strategy, 2)

            def apply(reduced):
                gradients, loss = reduced
                applied.assign(tf.stack([gradients[3], loss.count]))
                return tf.constant(False)

            @tf.function(autograph=False)
            def traced(step):
                def replica():
                    number = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group + 1, tf.float32)
                    return {3: tf.cast(step + 1, tf.float32) * number}, Tally(number, tf.constant(1.0))

                return sums.add_and_maybe(step, strategy.run(replica), apply)

            def run(step):
                finite, updated = traced(tf.constant(step, tf.int64))
                assert bool(finite) != bool(updated)  # only `apply` returns False here
                return applied.numpy().tolist() if updated else None

            return sums, run

        return make

    @staticmethod
    def save(sums, folder):
        sums.before_save()
        return tf.train.Checkpoint(**sums.state()).write(str(folder / "sums"))

    def test_continues_an_update(self, sums, tmp_path):
        first, run = sums(2)
        assert run(4) is None
        path = self.save(first, tmp_path)
        assert run(5) == [(5 + 6) * 3, 4]

        again, run = sums(2)
        run(0)  # traced, and its sums replaced by the restored ones
        tf.train.Checkpoint(**again.state()).read(path).assert_consumed()
        again.after_restore()
        assert run(5) == [(5 + 6) * 3, 4]
        assert run(6) is None
        assert run(7) == [(7 + 8) * 3, 4]

    def test_goes_by_these_names(self, sums, tmp_path):
        """Checkpoints have them."""
        one, run = sums(1)
        run(0)
        names = {name for name, _ in tf.train.list_variables(self.save(one, tmp_path))}
        expected = {f"gradient_sums/{i}/.ATTRIBUTES/VARIABLE_VALUE" for i in range(3)}
        assert {name for name in names if name.startswith("gradient_sums")} == expected

    def test_holds_nothing_with_an_update_per_step(self, mirrored_on, tmp_path):
        sums = GradientSums(mirrored_on(1), 1)
        names = [name for name, _ in tf.train.list_variables(self.save(sums, tmp_path))]
        sums.after_restore()
        assert not [name for name in names if name.startswith("gradient_sums")]
