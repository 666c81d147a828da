"""The mistakes of docs/recipes.md."""

import keras
import tensorflow as tf
from mistakes.tiny import DATA, Line, WithLoss, loss, squares, train, trainer
from tallyloop import metrics
from tallyloop.data import Input


class TwoInputs(Line):
    def build_model(self):
        a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
        return keras.Model({"a": a, "b": b}, keras.layers.Dense(1)(a + b))

    def loss(self, model, batch, training):
        return model({"a": batch["x"]})[:, 0]


class Distilled(Line):
    def __init__(self):
        self.teacher = self.build_model()

    def loss(self, model, batch, training):
        return (model(batch["x"])[:, 0] - self.teacher(batch["x"])[:, 0]) ** 2


def mapped(map_fn):
    train(train_dataset=Input(DATA, 8, map_fn=map_fn))


def forgotten(example):
    example = {**example, "x": -example["x"]}


def penalty(model, batch):
    with tf.GradientTape() as tape:
        losses = squares(model, batch)
    return losses + tf.reduce_sum(tape.gradient(losses, batch["x"]) ** 2, 1)


def other_weights():
    keras.Sequential([keras.Input((5,)), keras.layers.Dense(2)]).save("other.keras")
    train(initial_weights="other.keras")


def two_folds():
    optimizer = keras.optimizers.SGD()
    for _ in range(2):
        train(optimizer=optimizer, model_dir=None)  # the first fold is right


def evaluate_three_classes():
    def recorded(model, batch):
        metrics.add("recall", batch["x"], finish=metrics.per_class(["left", "right"]))
        return squares(model, batch)

    trainer(WithLoss(recorded), eval_datasets={"test": Input(DATA, 8)}).evaluate()


MISTAKES = {
    "one of several inputs is left out": lambda: train(TwoInputs()),
    "a weight for a head that there isn't": lambda: loss(
        lambda model, batch: metrics.composite_loss({"side": squares(model, batch)}, weights={"sides": 0.1})
    ),
    '`freeze = "features"`': lambda: train(freeze="features"),
    "a pattern in `freeze` that fits no layer": lambda: train(freeze=["features"]),
    "`initial_weights` of another model": other_weights,
    "a mask of another shape than the losses": lambda: loss(
        lambda model, batch: metrics.weighted(squares(model, batch), batch["x"])
    ),
    "`learning_rate = @CosineDecay`, without `()`": lambda: train(
        optimizer=keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay)
    ),
    "`map_fn` has no `return`": lambda: mapped(forgotten),
    "`map_fn(example, rng)`": lambda: mapped(lambda example, rng: example),
    "`tf.random.normal` in `map_fn`": lambda: mapped(lambda example: {**example, "x": tf.random.normal([3])}),
    "no `tape.watch`": lambda: loss(penalty),
    "the teacher is not frozen": lambda: train(Distilled()),
    "two names for three classes": evaluate_three_classes,
    "one optimizer for all folds": two_folds,
}
