"""Image classifiers made of a backbone, of `keras.applications` or your own, and a head."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, get_args

import gin
import keras

from ...data.checks import number, one_of, whole_number
from ...metrics.errors import UsageError
from ..networks.dropout import InvariantDropout, dropout_rate

Scale = Literal["0 to 1", "-1 to 1", "0 to 255", "caffe", "torch"]
_COLORS = 3
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's red, green and blue, from 0 to 1
_SCALES: dict[Scale, tuple[Any, Any]] = {
    "0 to 1": (1.0, 0.0),
    "-1 to 1": (2.0, -1.0),
    "0 to 255": (255.0, 0.0),
    "caffe": (255.0, [-103.939, -116.779, -123.68]),  # of blue, green and red
    "torch": (
        [1 / each for each in _DEVIATION],
        [-mean / each for mean, each in zip(_MEAN, _DEVIATION, strict=True)],
    ),
}
_EXAMPLE = "such as @small_backbone or @keras.applications.MobileNetV2, without parentheses"


@gin.register(module="tallyloop")
def small_backbone(
    input_shape: tuple[int, int, int],
    include_top: bool = False,
    weights: str | None = None,
    pooling: str | None = "avg",
    filters: Sequence[int] = (16, 32, 64),
    name: str = "small_backbone",
) -> keras.Model:
    """Return a small convolutional network that is called as those of `keras.applications` are, and trains in a minute.

    Args:
      input_shape: height, width and channels of the images.
      include_top: there is none.
      weights: there are none; a path of a `.weights.h5` file of the same network.
      pooling: "avg" or "max" over all places, None for the features of each place.
      filters: of each 3 x 3 convolution, which is followed by BatchNormalization, ReLU, and pooling by 2.
      name: of the model.
    """
    inputs = hidden = keras.Input(input_shape)
    for i, count in enumerate(filters):
        hidden = keras.layers.Conv2D(count, 3, padding="same", use_bias=False, name=f"conv_{i}")(hidden)
        hidden = keras.layers.BatchNormalization(momentum=0.9, name=f"norm_{i}")(hidden)
        hidden = keras.layers.MaxPooling2D(2, name=f"pool_{i}")(keras.layers.ReLU(name=f"relu_{i}")(hidden))
    if pooling is not None:
        pool = {"avg": keras.layers.GlobalAveragePooling2D, "max": keras.layers.GlobalMaxPooling2D}[pooling]
        hidden = pool(name="pool")(hidden)
    assert not include_top, "a backbone has no classes"
    model = keras.Model(inputs, hidden, name=name)
    if weights is not None:
        model.load_weights(weights)
    return model


@gin.register(module="tallyloop")
def image_classifier(
    backbone: Callable[..., keras.Model] = small_backbone,
    num_classes: int = 10,
    size: int | tuple[int, int] = 32,
    channels: int = 3,
    weights: str | None = None,
    scale: Scale = "0 to 1",
    dropout: float = 0.2,
    momentum: float | None = None,
) -> keras.Model:
    """Return a model from images (batch, height, width, channels), numbers from 0 to 1, to logits (batch, num_classes).

    Its layers are `backbone` and `head`: `Trainer.freeze = ["backbone"]` trains the head alone. BatchNormalization takes its
    statistics over the global batch, so that the weights do not depend on the number of replicas, unless the backbone has
    `keras.layers.Dropout` of its own, as EfficientNet's blocks do.

    Args:
      backbone: a function like those of `keras.applications`, from `include_top`, `input_shape`, `weights` and `pooling` to a
        model of features; a reference without parentheses.
      num_classes: the number of logits.
      size: height and width of the images; one number for both.
      channels: 1 or 3; pretrained weights take 3, and so do the scales "caffe" and "torch".
      weights: None for random ones; "imagenet", which Keras downloads; or the path of a `.weights.h5` file.
      scale: what the backbone takes, which matters for pretrained weights. "-1 to 1": MobileNet, MobileNetV2, ResNet50V2,
        ResNet101V2, ResNet152V2, InceptionV3, InceptionResNetV2, NASNet and Xception. "0 to 255": EfficientNet, EfficientNetV2,
        MobileNetV3 and ConvNeXt, which scale by themselves. "caffe", in the order blue, green, red, from 0 to 255 minus the
        means of ImageNet: VGG16, VGG19, ResNet50, ResNet101 and ResNet152. "torch", from 0 to 1 minus the means, divided by the
        deviations: DenseNet.
      dropout: the fraction of the features dropped in training; see `InvariantDropout`.
      momentum: of BatchNormalization; None keeps the backbone's, which is meant for runs of 100,000 steps. In a run from random
        weights, 0.9 makes the moving statistics follow.

    Raises:
      UsageError: an argument is not as described, or the weights cannot be had.
    """
    rate = dropout_rate("image_classifier.dropout", dropout)
    one_of("image_classifier.scale", scale, get_args(Scale))
    whole_number("image_classifier.channels", channels, least=1)
    if momentum is not None:
        number("image_classifier.momentum", momentum, least=0, below=1, otherwise="None")
    if scale in ("caffe", "torch") and channels != _COLORS:
        raise UsageError(
            f"image_classifier.scale = {scale!r}: expected images of {_COLORS} channels, got image_classifier.channels = "
            f"{channels!r}; bind image_classifier.channels = {_COLORS}, or another scale"
        )
    pair = size if isinstance(size, tuple | list) else (size, size)
    shape = (*(whole_number("image_classifier.size", each, least=1) for each in pair), channels)
    features = _features(backbone, shape, weights)
    for layer in _layers(features):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True
            layer.momentum = layer.momentum if momentum is None else momentum
    inputs = keras.Input(shape, name="image")
    hidden = InvariantDropout(rate, name="dropout")(features(_rescaled(inputs, scale)))
    outputs = keras.layers.Dense(whole_number("image_classifier.num_classes", num_classes, least=1), name="head")(
        hidden
    )
    return keras.Model(inputs, outputs, name="image_classifier")


def _rescaled(images: Any, scale: Scale) -> Any:
    """Return images, red, green and blue from 0 to 1, as a backbone takes them; in float32, as bfloat16 has 8 bits."""
    if scale == "caffe":
        images = keras.ops.flip(images, axis=-1)
    return keras.layers.Rescaling(*_SCALES[scale], dtype="float32", name="rescaled")(images)


def _layers(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def _features(backbone: Any, shape: tuple[int, ...], weights: str | None) -> keras.Model:
    if isinstance(backbone, keras.Model) or not callable(backbone):
        raise UsageError(
            f"image_classifier.backbone = {backbone!r}: expected a function that makes a model, {_EXAMPLE}"
        )
    called = getattr(backbone, "__name__", repr(backbone))
    takes = inspect.signature(backbone).parameters.values()
    names = {each.name for each in takes}
    missing = [each for each in ("include_top", "input_shape", "weights", "pooling") if each not in names]
    if missing and all(each.kind is not each.VAR_KEYWORD for each in takes):
        raise UsageError(
            f"image_classifier.backbone = @{called}: expected a function like those of keras.applications, got one without the "
            f"parameter {missing[0]!r}; {_EXAMPLE}"
        )
    try:
        features: Any = backbone(include_top=False, input_shape=shape, weights=weights, pooling="avg")
    except Exception as error:  # Keras raises a bare Exception if it cannot download
        reason = " ".join(str(error).split())[:300]
        fix = "bind another image_classifier.size, channels or backbone"
        if weights is not None:
            fix = 'bind image_classifier.weights = None, "imagenet" where there is a network, or the path of a .weights.h5 file'
        raise UsageError(
            f"image_classifier.backbone = @{called}: expected a model of images of shape {shape} with weights = {weights!r}, got "
            f"{type(error).__name__}: {reason}; {fix}"
        ) from error
    features.name = "backbone"
    return features
