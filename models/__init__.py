"""The bundled tasks and models: what a user copies to start."""

from .autoencoder import AutoencoderTask, two_stage_autoencoder
from .classifier import ClassifierTask, top_k_accuracy
from .cnn import cnn
from .dropout import InvariantDropout
from .mlp import mlp  # imported here, not lazily: the submodule of this name would stand before the function

__all__ = [
    "AutoencoderTask",
    "ClassifierTask",
    "InvariantDropout",
    "cnn",
    "mlp",
    "top_k_accuracy",
    "two_stage_autoencoder",
]
