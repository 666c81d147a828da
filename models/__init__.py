"""The bundled tasks and models, to be used or copied."""

from .autoencoder import AutoencoderTask, silent_units, two_stage_autoencoder
from .classifier import ClassifierTask, class_confusion, top_k_accuracy
from .distillation import DistillationTask
from .images.adversarial import GanTask, dense_generator, example_with_noise, generated_images
from .images.backbones import image_classifier, small_backbone
from .images.hardest import hardest_images
from .language import LanguageModelTask, generate, written_text
from .networks.cnn import cnn
from .networks.dropout import InvariantDropout
from .networks.mlp import mlp
from .networks.transformer import transformer
from .pairs.towers import dense_tower, embedding_tower
from .pairs.two_tower import TwoTowerTask
from .regression import RegressionTask
from .tabular import TabularTask, balanced_rows
from .text import text_classifier

__all__ = [
    "AutoencoderTask",
    "ClassifierTask",
    "DistillationTask",
    "GanTask",
    "InvariantDropout",
    "LanguageModelTask",
    "RegressionTask",
    "TabularTask",
    "TwoTowerTask",
    "balanced_rows",
    "class_confusion",
    "cnn",
    "dense_generator",
    "dense_tower",
    "embedding_tower",
    "example_with_noise",
    "generate",
    "generated_images",
    "hardest_images",
    "image_classifier",
    "mlp",
    "silent_units",
    "small_backbone",
    "text_classifier",
    "top_k_accuracy",
    "transformer",
    "two_stage_autoencoder",
    "written_text",
]
