"""All cases, in the order of the table."""

from . import layers, metrics, optimizers, resume, training, workers
from .case import Case

CASES: tuple[Case, ...] = (
    *metrics.OF_EVALUATE,
    *training.OF_FIT,
    layers.BATCH_NORM,
    layers.SYNCHRONIZED,
    *optimizers.CASES,
    training.JIT,
    training.LOOPS,
    optimizers.OVERFLOW,
    layers.DROPOUT,
    *workers.CASES,
    metrics.SAME_NAME,
    resume.RESUME,
    training.UNKNOWN_LENGTH,
)
