"""The mistakes of docs/from_orbit.md."""

import tensorflow as tf
import tf_keras
from mistakes.tiny import DATA, Line, loss, squares, task, train, trainer
from tallyloop.data import Input


class OwnModel(Line):
    def __init__(self):
        self.model = self.build_model()

    def loss(self, model, batch, training):
        return squares(self.model, batch)


def rows():
    return tf.data.Dataset.from_tensor_slices(DATA)


def averaged(model, batch):
    return tf.nn.compute_average_loss(squares(model, batch), global_batch_size=8)


def run_in_a_strategy(model, batch):
    return tf.distribute.get_strategy().run(squares, args=(model, batch))


def inside_the_scope():
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        train()


def distributed():
    return tf.distribute.get_strategy().experimental_distribute_dataset(rows().batch(8))


MISTAKES = {
    "`train_step(self, iterator)`": lambda: train(task(train_step=lambda self, iterator: None)),
    "`loss(self, batch)`, with `self.model`": lambda: train(task(loss=lambda self, batch: None)),
    "`self.model`, made in `__init__`": lambda: train(OwnModel()),
    "`tf.nn.compute_average_loss(losses, ...)`": lambda: loss(averaged),
    "`strategy.run` in the loss": lambda: loss(run_in_a_strategy),
    "a model of `tf_keras`": lambda: train(
        task(build_model=lambda self: tf_keras.Sequential([tf_keras.layers.Dense(1)]))
    ),
    "an optimizer of `tf_keras`": lambda: train(optimizer=tf_keras.optimizers.SGD()),
    "`with strategy.scope():` around it": inside_the_scope,
    "`train_dataset=` a distributed dataset": lambda: trainer(train_dataset=distributed()),
    "`Input(iter(dataset), 16)`": lambda: Input(iter(rows()), 8),
    "`Input(dataset.batch(16), 16)`": lambda: train(train_dataset=Input(rows().batch(8), 8)),
    "`.repeat()` in the eval data": lambda: trainer(eval_datasets={"test": Input(rows().repeat(), 8)}).evaluate(),
    '`strategy="mirrored"`': lambda: train(strategy="mirrored"),
}
