"""The bare script: the first step of the expert's loop with TensorFlow and Keras alone, on the model of `digits.gin`."""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import tensorflow as tf

from . import BATCH, FIRST_STEP, rows

strategy = tf.distribute.get_strategy()
model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(512, "relu"), keras.layers.Dense(10)])
optimizer = keras.optimizers.Adam(1e-3, weight_decay=1.0)
optimizer.build(model.trainable_variables)
data = tf.data.Dataset.from_tensor_slices(rows()).cache().shuffle(2000).repeat().batch(BATCH, drop_remainder=True)
iterator = iter(strategy.experimental_distribute_dataset(data.prefetch(tf.data.AUTOTUNE)))


def step(batch):
    """Run one step of a replica."""
    with tf.GradientTape() as tape:
        logits = model(batch["x"], training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["y"], logits)
        loss = tf.reduce_sum(losses) / BATCH
    variables = model.trainable_variables
    optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))


@tf.function
def loop(iterator, steps):
    """Run `steps` steps in the graph."""
    for _ in tf.range(steps):
        strategy.run(step, args=(next(iterator),))


if __name__ == "__main__":
    loop(iterator, tf.constant(1))
    optimizer.iterations.numpy()
    print(FIRST_STEP, flush=True)
