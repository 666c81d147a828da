"""The configs of image files: mnist_cnn, image_folder; and gan."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..config import BELOW, Config, Figure, Goal, Reference, last
from ..run import Run, train

_STAGES = ("image_folder_head", "image_folder_all")
_SECOND_STAGE = 600  # steps


def _logistic(train_set: tuple[Any, Any], test_set: tuple[Any, Any]) -> Reference:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=2000).fit(*train_set)
    return Reference("logistic regression", float(model.score(*test_set)))


def logistic_regression_on_mnist(run: Run) -> Reference:
    """Return the test accuracy of scikit-learn's logistic regression on the same files."""
    from tallyloop.data import digits_as_mnist, mnist

    parts = [mnist(digits_as_mnist(), split, flat=True) for split in ("train", "test")]
    return _logistic(*((part["x"], part["y"]) for part in parts))


def logistic_regression_on_images(run: Run) -> Reference:
    """Return the same on the PNG files."""
    import tensorflow as tf
    from tallyloop.data import digits_as_images, images

    parts = []
    for split in ("train", "test"):
        source = images(digits_as_images(), split=split)
        rows = source.__getitems__(np.arange(len(source)))
        pixels = np.stack([tf.io.decode_png(each).numpy().ravel() / 255 for each in rows["image"]])
        parts.append((pixels, rows["label"]))
    return _logistic(*parts)


def _worst_class(run: Run) -> float:
    return min(last(f"recall/class_{label}")(run) for label in range(10))


def _in_two_stages(run: Run) -> float:
    """Train the head alone, then everything, and return the test accuracy."""
    head = train(_STAGES[0], run.parameters, run.folder.with_name(_STAGES[0]))
    newest = max((head.folder / "checkpoints").glob("ckpt-*.index"), key=lambda file: int(file.stem.split("-")[1]))
    more = (f"Trainer.initial_weights={newest.with_suffix('')}", f"train_steps={_SECOND_STAGE}")
    both = train(_STAGES[1], (*run.parameters, *more), run.folder.with_name(_STAGES[1]))
    return last("accuracy", "eval/test")(both)


def _told_apart(run: Run) -> float:
    """Return how far the share of images that are taken for what they are is from 0.5, which is chance."""
    return abs(last("told_apart")(run) - 0.5)


def neighbors_alike(real: np.ndarray, made: np.ndarray) -> float:
    """Return the share of images whose nearest other one is of the same kind, real or made: 0.5 if they cannot be told apart."""
    both = np.concatenate([each.reshape(len(each), -1) for each in (real, made)]).astype(np.float64)
    is_made = np.arange(len(both)) >= len(real)
    squares = (both**2).sum(1)
    distances = squares[:, None] + squares - 2 * both @ both.T
    np.fill_diagonal(distances, np.inf)
    return float((is_made[distances.argmin(1)] == is_made).mean())


def _of_the_gan(run: Run) -> float:
    from tallyloop.data import digits

    run.command("--mode=predict")
    made = np.load(run.folder / "predictions" / "test.npz")["image"]
    return neighbors_alike(digits("test")["x"], made)


def normal_distribution(run: Run) -> Reference:
    """Return the same of images drawn from a normal distribution with the mean and covariance of the training images."""
    from tallyloop.data import digits

    train_set, real = digits("train")["x"], digits("test")["x"]
    drawn = np.random.default_rng(0).multivariate_normal(train_set.mean(0), np.cov(train_set.T), len(real))
    return Reference("draws from a normal distribution", neighbors_alike(real, drawn.clip(0, 1)))


CONFIGS = (
    Config(
        "mnist_cnn",
        "a classifier of images in MNIST's format",
        """
Any folder with the four files of MNIST or one of its relatives: `--gin_param=mnist.path=/data/fashion-mnist`. Without one,
the digits of scikit-learn, scaled to 28 x 28 pixels. Look at it for metrics by class, a confusion matrix as an image in
TensorBoard, the best checkpoint, and averaged weights.
""",
        (
            Figure("test accuracy", last("accuracy"), Goal(">=", 0.985), logistic_regression_on_mnist),
            Figure("smallest recall of a class", _worst_class),
        ),
        curve="accuracy",
    ),
    Config(
        "image_folder",
        "a classifier of the images in a folder",
        """
A folder for each class, and any backbone of `keras.applications` by its name. Without a folder, the digits of scikit-learn as
PNG files. Look at it for augmentation that is the same on any number of replicas and after a resume, several eval sets, a
schedule with warmup, the hardest images in TensorBoard, and fine-tuning in two stages (`image_folder_head.gin`, then
`image_folder_all.gin`: all parts at rates of their own). From random weights, as here, the first stage teaches a head on
random features; it is meant for pretrained ones: `--gin_param=image_classifier.weights=imagenet`. The second stage of the figure
begins with the last checkpoint of the first: `--gin_file=image_folder_all.gin --gin_param=train_steps=600
--gin_param=Trainer.initial_weights=runs/image_folder_head/checkpoints/ckpt-300`.
""",
        (
            Figure("test accuracy", last("accuracy", "eval/test"), Goal(">=", 0.97), logistic_regression_on_images),
            Figure("accuracy on distorted images", last("accuracy", "eval/distorted")),
            Figure("test accuracy after two stages", _in_two_stages, Goal(">=", 0.97)),
        ),
        curve="accuracy",
    ),
    Config(
        "gan",
        "a generator of handwritten digits",
        """
Two losses, two networks, two optimizers; the discriminator is updated twice for each update of the generator. Look at it for
`Task.losses`, `Trainer.update_every`, random numbers that come with the data, and generated images in TensorBoard. The
discriminator tells half of the images right when it cannot tell them apart. As it might just be a bad one, there is another
judge: whether the nearest neighbor of an image is real, too, or generated, too; 0.5 would be perfect.
""",
        (
            Figure("the discriminator's accuracy from 0.5", _told_apart, Goal("<=", 0.1)),
            Figure("nearest neighbors of the same kind", _of_the_gan, BELOW, normal_distribution),
        ),
        curve="told_apart",
    ),
)
