"""Compiled models of all kinds, each made again with the same weights, with data for 40 rows in batches of 16."""

import keras
import numpy as np
from keras import layers

N = 40
rng = np.random.default_rng(11)
X = rng.normal(size=(N, 4)).astype(np.float32)
IMAGES = rng.normal(size=(N, 6, 6, 1)).astype(np.float32)
TOKENS = rng.integers(1, 9, size=(N, 5))
TOKENS[np.arange(5) >= rng.integers(1, 6, size=(N, 1))] = 0  # padding, of another length in each row
Y = (X @ [1.0, -2.0, 0.5, 1.0] + 0.3 * X[:, 0] ** 2).astype(np.float32)
CLASSES = rng.integers(0, 3, size=N)
TAGS = rng.integers(0, 3, size=(N, 5))
WEIGHTS = rng.uniform(0.2, 3, size=N).astype(np.float32)
CROSSENTROPY = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def sgd():
    return keras.optimizers.SGD(0.05, momentum=0.9)


def dense():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, "relu"), layers.Dense(1)])
    model.compile("adam", "mse", metrics=["mae"])
    return model, (X, Y)


def conv():
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(4, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(3),
        ]
    )
    model.compile("rmsprop", CROSSENTROPY, metrics=["accuracy"])
    return model, (IMAGES, CLASSES)


def batch_norm():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, use_bias=False),
            layers.BatchNormalization(synchronized=True),
            layers.Dense(1),
        ]
    )
    model.compile(sgd(), "mse")
    return model, (X, Y)


def dropout():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(16, "tanh"), layers.Dropout(0.5, seed=3), layers.Dense(1)]
    )
    model.compile(sgd(), "mse")
    return model, (X, Y)


def masked_lstm():
    model = keras.Sequential(
        [keras.Input((5,)), layers.Embedding(9, 4, mask_zero=True), layers.LSTM(4), layers.Dense(1)]
    )
    model.compile(sgd(), "mse")
    return model, (TOKENS, Y)


def masked_loss():
    model = keras.Sequential([keras.Input((5,)), layers.Embedding(9, 4, mask_zero=True), layers.Dense(3)])
    model.compile(sgd(), CROSSENTROPY, metrics=["accuracy"])
    return model, (TOKENS, TAGS)


def masked_and_weighted():
    model = keras.Sequential([keras.Input((5,)), layers.Embedding(9, 4, mask_zero=True), layers.Dense(3)])
    model.compile(sgd(), CROSSENTROPY, weighted_metrics=["accuracy"])
    return model, (TOKENS, TAGS, np.repeat(WEIGHTS[:, None], 5, 1))


def masked_and_not():
    tokens, x = keras.Input((5,), name="tokens"), keras.Input((4,), name="x")
    embedded = layers.Embedding(9, 4, mask_zero=True)(tokens)
    outputs = [layers.Dense(3, name="tags")(embedded), layers.Dense(1, name="y")(layers.Dense(4, "tanh")(x))]
    model = keras.Model({"tokens": tokens, "x": x}, outputs)
    model.compile(sgd(), [CROSSENTROPY, "mse"], loss_weights=[0.5, 2.0])
    return model, ({"tokens": TOKENS, "x": X}, (TAGS, Y))


def several_inputs():
    first, second = keras.Input((4,)), keras.Input((5,))
    joined = layers.Concatenate()([layers.Dense(3, "tanh")(first), layers.Dense(3)(second)])
    model = keras.Model([first, second], layers.Dense(1)(joined))
    model.compile("nadam", "mae")
    return model, ((X, TOKENS.astype(np.float32)), Y)


def two_heads():
    x = keras.Input((4,))
    hidden = layers.Dense(6, "tanh")(x)
    return keras.Model(x, [layers.Dense(1, name="size")(hidden), layers.Dense(3, name="kind")(hidden)])


def several_outputs():
    model = two_heads()
    model.compile("adamax", {"size": "mse", "kind": CROSSENTROPY}, metrics={"kind": "accuracy", "size": ["mae"]})
    return model, (X, {"size": Y, "kind": CLASSES})


def loss_weights():
    model = two_heads()
    model.compile(sgd(), {"size": "mse", "kind": CROSSENTROPY}, loss_weights={"size": 0.1, "kind": 3.0})
    return model, (X, {"size": Y, "kind": CLASSES})


def regularizers():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(8, "relu", kernel_regularizer="l2", activity_regularizer=keras.regularizers.L1(0.01)),
            layers.Dense(1, bias_regularizer="l1"),
        ]
    )
    model.compile(sgd(), "mse")
    return model, (X, Y)


@keras.saving.register_keras_serializable("tests")
class Spread(layers.Layer):
    def call(self, x):
        self.add_loss(0.1 * keras.ops.mean(keras.ops.square(x)))
        return x


def add_loss():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8), Spread(), layers.Dense(1)])
    model.compile(sgd(), "mse")
    return model, (X, Y)


def only_add_loss():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8), Spread()])
    model.compile(sgd())
    return model, (X,)


def sample_weight():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, "tanh"), layers.Dense(1)])
    model.compile("adagrad", "mse", weighted_metrics=["mae"])
    return model, (X, Y, WEIGHTS)


def mean_with_sample_weight():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, "tanh"), layers.Dense(1)])
    model.compile(sgd(), keras.losses.MeanSquaredError(reduction="mean_with_sample_weight"))
    return model, (X, Y, WEIGHTS)


def class_weight():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, "tanh"), layers.Dense(3)])
    model.compile(sgd(), CROSSENTROPY, metrics=["accuracy"], weighted_metrics=["accuracy"])
    return model, (X, CLASSES), {"class_weight": {0: 1.0, 2: 5.0}}


def clipped_sum():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, "tanh"), layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05, clipnorm=0.3), keras.losses.Huber(reduction="sum"))
    return model, (X, Y)


def decayed():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, "tanh"), layers.Dense(1)])
    optimizer = keras.optimizers.AdamW(
        keras.optimizers.schedules.CosineDecay(0.05, 6), weight_decay=0.1, global_clipnorm=1.0
    )
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    model.compile(optimizer, "log_cosh")
    return model, (X, Y)


def averaged():
    model = keras.Sequential([keras.Input((4,)), layers.Dense(8, "tanh"), layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.02, use_ema=True, ema_momentum=0.7), "mse")
    return model, (X, Y)


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, units=6, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.hidden, self.head = layers.Dense(units, "tanh"), layers.Dense(1)

    def call(self, x):
        return self.head(self.hidden(x))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def subclassed():
    model = Subclassed()
    model(X[:1])
    model.compile(keras.optimizers.Lion(0.003), lambda y, out: keras.ops.abs(y - out))
    return model, (X, Y)


ALL = [
    dense, conv, batch_norm, dropout, masked_lstm, masked_loss, masked_and_weighted, masked_and_not, several_inputs,
    several_outputs, loss_weights, regularizers, add_loss, only_add_loss, sample_weight, mean_with_sample_weight, class_weight,
    clipped_sum, decayed, averaged, subclassed,
]  # fmt: skip


def as_lists(nest):
    """What `fit` takes where an `Input` takes tuples."""
    return [as_lists(each) for each in nest] if isinstance(nest, tuple) else nest
