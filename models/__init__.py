"""The bundled tasks and models: what a user copies to start."""

from ..metrics.lazy import lazy_exports

__all__ = ["AutoencoderTask", "ClassifierTask", "mlp", "top_k_accuracy", "two_stage_autoencoder"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "AutoencoderTask": ".autoencoder",
        "ClassifierTask": ".classifier",
        "mlp": ".mlp",
        "top_k_accuracy": ".classifier",
        "two_stage_autoencoder": ".autoencoder",
    },
)
