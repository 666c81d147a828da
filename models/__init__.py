"""The bundled tasks and models, to be used or copied."""

from .autoencoder import AutoencoderTask, two_stage_autoencoder
from .classifier import ClassifierTask, top_k_accuracy
from .cnn import cnn
from .dropout import InvariantDropout
from .mlp import mlp  # not imported lazily: the submodule of the same name would hide the function
from .regression import RegressionTask

__all__ = [
    "AutoencoderTask",
    "ClassifierTask",
    "InvariantDropout",
    "RegressionTask",
    "cnn",
    "mlp",
    "top_k_accuracy",
    "two_stage_autoencoder",
]
