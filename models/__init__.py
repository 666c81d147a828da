"""The bundled tasks and models, to be used or copied."""

from .autoencoder import AutoencoderTask, two_stage_autoencoder
from .classifier import ClassifierTask, top_k_accuracy
from .language import LanguageModelTask, generate, written_text
from .networks.cnn import cnn
from .networks.dropout import InvariantDropout
from .networks.mlp import mlp
from .networks.transformer import transformer
from .regression import RegressionTask
from .text import text_classifier

__all__ = [
    "AutoencoderTask",
    "ClassifierTask",
    "InvariantDropout",
    "LanguageModelTask",
    "RegressionTask",
    "cnn",
    "generate",
    "mlp",
    "text_classifier",
    "top_k_accuracy",
    "transformer",
    "two_stage_autoencoder",
    "written_text",
]
