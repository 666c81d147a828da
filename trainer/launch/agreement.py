"""Whether all workers were started alike: said before they compute anything, as they would wait for each other for ever."""

from __future__ import annotations

import tensorflow as tf

from ...metrics.errors import UsageError
from .. import config as configs
from ..distribution import workers


def check(config: configs.Config, mode: str, strategy: tf.distribute.Strategy) -> None:
    """Compares the config and the mode of every worker with the chief's. All workers call it, and all raise.

    Raises:
      UsageError: they differ; the message names the worker and the bindings.
    """
    texts = workers.exchange(strategy, configs.as_given(config))
    modes = workers.exchange(strategy, mode)
    lines = []
    for index, (text, its_mode) in enumerate(zip(texts, modes, strict=True)):
        changes = [] if its_mode == modes[0] else [f"--mode: {modes[0]} -> {its_mode}"]
        changes += [] if text == texts[0] else configs.diff(texts[0], text)
        lines += [f"  worker {index}: {change}" for change in changes]
    if lines:
        raise UsageError(
            "The workers were not started alike. From the chief's (worker 0) to the others':\n"
            + "\n".join(lines)
            + "\nGive every worker the same command."
        )
