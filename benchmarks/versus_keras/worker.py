"""One worker process: `TF_CONFIG=... python -m benchmarks.versus_keras.worker keras_fit`; prints one line of JSON."""

from __future__ import annotations

import json
import os
import sys

import tensorflow as tf
from tallyloop.trainer import multi_worker_mirrored

# Before anything else touches TensorFlow.
OURS = sys.argv[1] == "tallyloop"
STRATEGY = multi_worker_mirrored() if OURS else tf.distribute.MultiWorkerMirroredStrategy()

from . import problem  # noqa: E402
from .case import Failure, attempt  # noqa: E402

problem.strategy = lambda replicas: STRATEGY
DATA = problem.rows(103)


def keras_fit(_) -> list[float]:
    """Return the weights after 2 epochs."""
    return problem.weights(problem.fitted(2, DATA, 14)).tolist()


def keras_evaluate(_) -> list[float]:
    """Return the loss at zero weights."""
    return [problem.evaluated(problem.compiled(2), DATA)["loss"]]


def tallyloop(_) -> list[float]:
    """Return both from Tallyloop: the loss at zero weights, then the weights after 2 epochs."""
    trainer = problem.trainer(2, DATA, 14)
    loss = trainer.evaluate()["test"]["loss"]
    trainer.train()
    return [loss, *problem.weights(trainer.model).tolist()]


if __name__ == "__main__":
    found = attempt(globals()[sys.argv[1]], 2)
    print(json.dumps({"error": found.message} if isinstance(found, Failure) else {"values": found}), flush=True)
    os._exit(0)  # without waiting for the other worker, which may have failed
