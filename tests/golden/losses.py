"""The losses of the first 100 steps of the bundled configs; `python tests/golden/losses.py --write` keeps them anew.

Computed in float64 and kept as float32: what differs from machine to machine, the order of a sum in a kernel, is
far below the last digit that is kept, and a change of the mathematics is not.
"""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

CONFIGS = ("digits.gin", "autoencoder.gin", "digits_cnn.gin")
KEPT = Path(__file__).with_suffix(".json")


def losses(config: str) -> list[float]:
    """The loss of each of 100 steps, on one replica."""
    import gin
    import keras
    import numpy as np
    from tallyloop.trainer import config as configs
    from tallyloop.trainer.command import backend

    backend.load(None)
    configs.register_keras()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    gin.clear_config()
    configs.load([config], ["Trainer.train_steps=100", "Trainer.summary_interval=1", "Trainer.deterministic=True"], [])
    seen = []
    actions = [lambda _, summary: seen.append(float(np.float32(summary.metrics["loss"])))]
    gin.get_configurable("Trainer")(actions=actions).train()
    return seen


if __name__ == "__main__":
    found = {config: losses(config) for config in CONFIGS}
    if "--write" in sys.argv:
        KEPT.write_text(json.dumps(found, indent=0) + "\n")
    else:
        print("\n" + json.dumps(found))
