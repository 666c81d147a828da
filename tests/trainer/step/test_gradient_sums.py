"""The sums of the gradients of an update's steps and replicas."""

import pytest
import tensorflow as tf
from tallyloop.metrics import Tally
from tallyloop.trainer.step.gradient_sums import GradientSums


class TestGradientSums:
    @pytest.mark.parametrize(("replicas", "accumulation"), [(1, 1), (3, 1), (1, 2), (3, 2)])
    def test_over_steps_and_replicas(self, mirrored_on, replicas, accumulation):
        """Replica r contributes (step + 1) * (r + 1) to the gradient, r + 1 to the loss and 1 to the count."""
        strategy = mirrored_on(replicas)
        sums = GradientSums(strategy, accumulation)
        updates = tf.Variable(tf.zeros([6, 3]))
        done = tf.Variable(0)
        traces = []

        def apply(gradients, loss):
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
                applied, updated = sums.add_and_maybe(step, gradients, loss, apply)
                return step + 1, finite & applied & (updated == ((step + 1) % accumulation == 0))

            zero = tf.constant(0, tf.int64)
            return tf.while_loop(lambda step, _: step < steps, body, [zero, tf.constant(True)])[1]

        assert loop(tf.constant(5, tf.int64))
        numbers = sum(range(1, replicas + 1))
        if accumulation == 1:
            expected = [[step * numbers, numbers, replicas] for step in (1, 2, 3, 4, 5)]
        else:  # the fifth step waits for a sixth
            expected = [[step * numbers, 2 * numbers, 2 * replicas] for step in (1 + 2, 3 + 4)]
        assert int(done) == len(expected)
        assert updates[: len(expected)].numpy().tolist() == expected
        assert traces == [1]
