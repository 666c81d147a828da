"""What a halt says about where a number first became NaN or infinite."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from tallyloop import metrics
from tallyloop.data import Input
from tallyloop.metrics import Tally
from tallyloop.trainer import NonFiniteError, Task


class Deep(Task):
    """Two layers, with a task's own `between` before the losses; state and random numbers on the way."""

    def __init__(self, activation="relu", losses=lambda out, y: (out - y) ** 2):
        self.activation, self.losses = activation, losses

    def build_model(self):
        layers = keras.layers
        return keras.Sequential(
            [
                keras.Input((3,)),
                layers.Dense(4, self.activation, kernel_initializer="ones", name="first"),
                layers.BatchNormalization(momentum=0.5, name="norm"),
                layers.Dropout(0.2, seed=1),
                layers.Dense(1, name="last"),
            ]
        )

    def loss(self, model, batch, training):
        outputs = model(batch["x"], training=training)[:, 0]
        metrics.add("outputs", outputs)
        return self.losses(outputs, batch["y"])


@pytest.fixture
def halted(make_trainer):
    """halted(task, replicas, **bad) -> the message of the error; `bad` is written to row 20 of 24, the ninth of its batch."""

    def train(task, replicas=1, stream=False, row=20, gradient_accumulation=1, jit_compile=None, **bad):
        data = {"x": np.full((24, 3), 2, np.float32), "y": np.zeros(24, np.float32)}
        for name, value in bad.items():
            data[name][row] = value
        source = (lambda: tf.data.Dataset.from_tensor_slices(data)) if stream else data
        trainer = make_trainer(
            task,
            replicas=replicas,
            train_dataset=Input(source, 12, shuffle=False),
            gradient_accumulation=gradient_accumulation,
            jit_compile=jit_compile,
        )
        with pytest.raises(NonFiniteError) as raised:
            trainer.train()
        return re.sub(r"sequential\w*/", "", str(raised.value))

    return train


class TestForward:
    def test_names_the_layer(self, halted):
        """log(-6) of row 20, the ninth of the second batch."""
        found = halted(Deep(tf.math.log), x=-2)
        assert "the first such number was in the output of layer 'first' (4 NaN of 48 numbers in rows [8]" in found
        assert "; its inputs and weights were finite." in found

    def test_names_the_replica(self, halted):
        found = halted(Deep(tf.math.log), replicas=3, x=-2)
        assert "in replica 2, in the output of layer 'first' (4 NaN of 16 numbers in rows [0]" in found

    def test_names_the_part_of_the_batch(self, halted):
        found = halted(Deep(), x=np.inf)
        assert "layer 'first' (4 infinite of 48 numbers in rows [8]" in found
        assert "; the batch had 'x' not finite (3 infinite of 36 numbers in rows [8]" in found

    def test_names_a_layer_of_another_model_of_the_task(self, halted):
        class Taught(Deep):
            def build_model(self):
                log = keras.layers.Dense(1, tf.math.log, kernel_initializer="ones", trainable=False, name="opinion")
                self.teacher = keras.Sequential([keras.Input((3,)), log])
                return super().build_model()

            def loss(self, model, batch, training):
                return super().loss(model, batch, training) + self.teacher(batch["x"])[:, 0]

        found = halted(Taught(), x=-2)
        assert "in the output of layer 'opinion' (1 NaN of 12 numbers in rows [8]" in found

    def test_names_what_stands_between_layers(self, halted):
        class Between(Deep):
            def loss(self, model, batch, training):
                return super().loss(model, {**batch, "x": 1 / (batch["x"] - 5)}, training)

        assert "from an operation between the layers, or from the task's code" in halted(Between(), x=5)

    @pytest.mark.parametrize(
        ("losses", "expected"),
        [
            (lambda out, y: tf.sqrt(y) + out, "in the task's losses (1 NaN of 12 numbers in rows [8], shape (12,)); the outputs"),
            (lambda out, y: Tally(tf.reduce_sum(tf.sqrt(y) + out), 12.0), "in the task's sum of losses (1 NaN of 1 numbers"),
            (lambda out, y: Tally(tf.reduce_sum(out), tf.reduce_sum(tf.sqrt(y))), "in the task's count of losses (1 NaN of 1"),
        ],
    )  # fmt: skip
    def test_names_the_losses(self, halted, losses, expected):
        assert expected in halted(Deep(losses=losses), y=-1)

    def test_names_a_weight(self, make_trainer, rows):
        trainer = make_trainer(data=16)
        trainer.model.trainable_variables[0].assign([[0.0], [np.nan], [0.0]])
        with pytest.raises(
            NonFiniteError, match=r"the weight sequential\w*/dense\w*/kernel before the step \(1 NaN of 3 numbers"
        ):
            trainer.train()


class TestAStream:
    """Its batch cannot be read again."""

    @pytest.mark.parametrize("arguments", [{}, {"gradient_accumulation": 2}, {"jit_compile": True}])
    def test_names_the_layer(self, halted, arguments):
        found = halted(Deep(), stream=True, x=np.nan, **arguments)
        assert "layer 'first' (4 NaN of 48 numbers in rows [8]" in found
        assert "; the batch had 'x' not finite (3 NaN of 36 numbers in rows [8]" in found

    def test_names_the_replica(self, halted):
        found = halted(Deep(tf.math.log), replicas=3, stream=True, x=-2)
        assert "in replica 2, in the output of layer 'first' (4 NaN of 16 numbers in rows [0]" in found
        assert "; its inputs and weights were finite." in found

    def test_of_a_short_batch_beside_bad_examples(self, make_trainer):
        """Batches of 2, 2 and 1 rows, after a row that is skipped: the NaN is in the last."""

        def row(number):
            x = tf.where(number == 5, np.nan, tf.ones([3]))
            with tf.control_dependencies([tf.debugging.Assert(number > 0, ["bad"])]):
                return {"x": tf.ensure_shape(tf.identity(x), [3]), "y": 0.0}

        source = tf.data.Dataset.range(6).map(row)
        data = Input(lambda: source, 2, shuffle=False, on_error="skip")
        with pytest.raises(NonFiniteError, match=r"Step 3: .* layer '\S*first' \(4 NaN of 4 numbers in rows \[0\]"):
            make_trainer(Deep(), train_dataset=data).train()


class TestBackward:
    def test_names_the_last_layer_behind_it(self, halted):
        """The gradient of sqrt(max(0, out - 100)) is 0 times infinity."""
        found = halted(Deep(losses=lambda out, y: tf.sqrt(tf.nn.relu(out - 100.0))))
        assert "in the gradient by the output of layer 'last' (12 NaN of 12 numbers" in found
        assert "the losses and the outputs of all layers were finite" in found


class TestUnknown:
    def test_of_an_earlier_batch_of_a_stream(self, halted):
        found = halted(Deep(), stream=True, row=3, gradient_accumulation=2, x=np.nan)
        assert (
            "all numbers of step 2 on this process's replicas were finite: the cause is in an earlier step of the update"
            in found
        )

    def test_of_a_layer_that_runs_in_a_graph_only(self, halted):
        class Graph(Deep):
            def loss(self, model, batch, training):
                if tf.executing_eagerly():
                    raise RuntimeError("no graph")
                return super().loss(model, batch, training)

        assert "run once more, eagerly, the step raised RuntimeError: no graph" in halted(Graph(), x=np.nan)

    def test_of_a_compiled_step_alone(self, halted):
        class Compiled(Deep):
            def loss(self, model, batch, training):
                return super().loss(model, batch, training) * (1.0 if tf.executing_eagerly() else np.nan)

        assert "all numbers of this process's replicas were finite: the cause is in the compiled step" in halted(
            Compiled()
        )


class TestState:
    def test_stays_as_it_was(self, make_trainer):
        """Moving statistics, the seed of dropout and the layers' own methods."""
        data = {"x": np.full((24, 3), 2, np.float32), "y": np.zeros(24, np.float32)}
        data["y"][20] = np.nan
        trainer = make_trainer(Deep(), train_dataset=Input(data, 12, shuffle=False))
        with pytest.raises(NonFiniteError):
            trainer.train()
        assert all("call" not in vars(layer) for layer in trainer.model.layers)
        moving = trainer.model.get_layer("norm").moving_mean.numpy()
        np.testing.assert_allclose(moving, 3.0, rtol=1e-6)  # half of 6, after the first step
        assert trainer.step == 1
