"""The bare script: the expert's loop with TensorFlow and Keras alone, on the model of `digits.gin`.

python -m benchmarks.startup.bare          # the first step, on random rows
python -m benchmarks.startup.bare digits   # all steps of `digits.gin`, and the test accuracy
"""

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import tensorflow as tf

from . import BATCH, FIRST_STEP, LOOP, STEPS, rows, splits

train, test = splits() if "digits" in sys.argv else (rows(), None)
strategy = tf.distribute.get_strategy()
model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(512, "relu"), keras.layers.Dense(10)])
optimizer = keras.optimizers.Adam(1e-3, weight_decay=1.0)
optimizer.build(model.trainable_variables)
data = tf.data.Dataset.from_tensor_slices(train).cache().shuffle(2000).repeat().batch(BATCH, drop_remainder=True)
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


@tf.function
def accuracy(x, y):
    """Return the part of the rows whose class is found."""
    return tf.reduce_mean(tf.cast(tf.argmax(model(x, training=False), -1) == tf.cast(y, tf.int64), tf.float32))


if __name__ == "__main__":
    if test is None:
        loop(iterator, tf.constant(1))
        optimizer.iterations.numpy()
        print(FIRST_STEP, flush=True)
    else:
        for _ in range(STEPS // LOOP):
            loop(iterator, tf.constant(LOOP))
        print(accuracy(test["x"], test["y"]).numpy())
