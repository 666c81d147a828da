"""The configs of scikit-learn's digits: digits, digits_cnn, autoencoder."""

from __future__ import annotations

import numpy as np

from ..config import BELOW, Config, Figure, Goal, Reference, last
from ..run import Run

_ACTIVE = "stage_2/active"  # the fraction of the code's units that are not 0
_NARROW = (
    "two_stage_autoencoder.code=8",
    "AutoencoderTask.sparsity=1e-4",
    "Trainer.train_steps=4000",
)


def _arrays() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    from tallyloop.data import digits

    return digits("train"), digits("test")


def logistic_regression(run: Run) -> Reference:
    """Return the test accuracy of scikit-learn's logistic regression."""
    from sklearn.linear_model import LogisticRegression

    train, test = _arrays()
    model = LogisticRegression(max_iter=2000).fit(train["x"], train["y"])
    return Reference("logistic regression", float(model.score(test["x"], test["y"])))


def pca_error(components: int) -> float:
    """Return the mean squared error of the test images after scikit-learn's PCA of the training images."""
    from sklearn.decomposition import PCA

    train, test = _arrays()
    model = PCA(components).fit(train["x"])
    return float(np.mean((model.inverse_transform(model.transform(test["x"])) - test["x"]) ** 2))


def _pca(components: int) -> Reference:
    return Reference(f"PCA with {components} components", pca_error(components))


def _pca_of_active_units(run: Run) -> Reference:
    return _pca(round(32 * last(_ACTIVE)(run)))


def _narrow_error(run: Run) -> float:
    return last("loss/reconstruction")(run.again("autoencoder_narrow", parameters=_NARROW))


_ERROR = "test error of the reconstruction"
CONFIGS = (
    Config(
        "digits",
        "a classifier of images of 8 x 8 pixels",
        """
The shortest config of all: a task, a model, an optimizer, two datasets. Look at it to start one of your own, and for decoupled
weight decay, which is set with the optimizer.
""",
        (Figure("test accuracy", last("accuracy"), Goal(">=", 0.97), logistic_regression),),
        curve="accuracy",
    ),
    Config(
        "digits_cnn",
        "the same with convolutions",
        """
A config that includes another and changes what differs. Look at it for a learning-rate schedule, averaged weights (`use_ema`),
and BatchNormalization and dropout that do not depend on the number of replicas.
""",
        (Figure("test accuracy", last("accuracy"), Goal(">=", 0.985), logistic_regression),),
        curve="accuracy",
    ),
    Config(
        "autoencoder",
        "a sparse code of the same images",
        """
A loss with two parts, each of which is a metric, and metrics that layers record. Look at it for `metrics.composite_loss` and
`metrics.scope`, and for an action of your own: `silent_units`, a short function, writes to TensorBoard how many units are 0 for
every test image, which the mean `stage_2/active` does not tell. The penalty leaves some of the 32 units at 0 in each image; the
reference is PCA with as many components as units are active on average. PCA with 32 components is more exact than 32 sparse
units. With 8 units and a small penalty, all are in use: `--gin_param=two_stage_autoencoder.code=8
--gin_param=AutoencoderTask.sparsity=1e-4 --gin_param=Trainer.train_steps=4000`.
""",
        (
            Figure(_ERROR, last("loss/reconstruction"), BELOW, _pca_of_active_units, 5),
            Figure(
                "the same beside PCA of the code's size", last("loss/reconstruction"), None, lambda run: _pca(32), 5
            ),
            Figure("the same with 8 units, small penalty", _narrow_error, BELOW, lambda run: _pca(8), 5),
        ),
        curve="loss/reconstruction",
    ),
)
