"""The training whose checkpoint is kept for each version: `python tests/released/training.py` writes that of this one.

Run it once before a version is released, and add the folder that it makes; never write one anew.
"""

import json
import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from tallyloop.data import Input
from tallyloop.models import InvariantDropout
from tallyloop.trainer import Task, Trainer

ROOT = Path(__file__).parents[2]
SAVED, END = 6, 12  # steps; an update every 4 steps, so both are in the midst of one


class Released(Task):
    """A layer of each kind that has state, on x (n, 3) and y (n,)."""

    def build_model(self):
        return keras.Sequential(
            [
                keras.Input((3,)),
                keras.layers.Dense(4, name="hidden", kernel_initializer=keras.initializers.GlorotUniform(seed=1)),
                keras.layers.BatchNormalization(name="norm"),
                InvariantDropout(0.25, seed=2, name="dropout"),
                keras.layers.Dense(1, name="out", kernel_initializer=keras.initializers.GlorotUniform(seed=3)),
            ]
        )

    def loss(self, model, batch, training):
        return (model(batch["x"], training=training)[:, 0] - batch["y"]) ** 2


def data():
    x = np.linspace(-1, 1, 120).reshape(40, 3).astype(np.float32)
    return {"x": x, "y": np.sin(7 * x.sum(1)).astype(np.float32)}


def trainer(model_dir, steps):
    """Trains for so many steps in all, in that folder."""
    adam = keras.optimizers.Adam(0.1, use_ema=True, ema_momentum=0.5)
    return Trainer(
        task=Released(),
        optimizer=keras.optimizers.LossScaleOptimizer(adam),
        train_dataset=Input(data, 16, shuffle=True),
        eval_datasets={"test": Input(data, 16)},
        train_steps=steps,
        gradient_accumulation=4,
        checkpoint_interval=SAVED,
        best_metric="loss",
        best_mode="min",
        model_dir=model_dir,
    )


def write(folder):
    """Writes the checkpoint, and what evaluation gives there and at the end."""
    saved = trainer(folder, SAVED).train_and_eval()["test"]
    shutil.copytree(folder, folder / "on")
    end = trainer(folder / "on", END).train_and_eval()["test"]
    shutil.rmtree(folder / "on")
    for made in ("train", "eval", "metrics.jsonl", "run.lock"):
        path = folder / made
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (folder / "expected.json").write_text(json.dumps({"saved": saved, "end": end}, indent=1) + "\n")


if __name__ == "__main__":
    target = Path(__file__).parent / (ROOT / "VERSION").read_text().strip()
    if target.exists():
        sys.exit(f"{target} is there already.")
    write(target)
