"""Which checkpoints stay: the newest, some for good, and the best."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from absl import logging

from ...metrics.atomic_file import replace_file
from ...metrics.errors import UsageError
from .folder import CheckpointFolder

RECORD = "best.json"


class Best:
    """The best evaluation so far, by one metric. Part of the checkpoint, so that a rerun goes on from it.

    Args:
      metric: DATASET/METRIC, or METRIC where there is one eval dataset; None looks for no best.
      mode: "max" or "min".
    """

    def __init__(self, metric: str | None, mode: str | None):
        self._metric = metric
        self._mode = mode
        self._value = tf.Variable(math.nan, trainable=False, dtype=tf.float64, name="best_value")
        self._step = tf.Variable(-1, trainable=False, dtype=tf.int64, name="best_step")
        self._kind = tf.Variable(self._fingerprint(), trainable=False, dtype=tf.int64, name="best_kind")

    def state(self) -> tf.train.Checkpoint:
        """What a checkpoint holds of it, whether or not there is a metric: that may be bound later."""
        return tf.train.Checkpoint(value=self._value, step=self._step, kind=self._kind)

    def restored(self) -> None:
        """After a restore: forgets the best of another metric."""
        if int(self._kind.numpy()) != self._fingerprint():
            if int(self._step.numpy()) >= 0:
                logging.warning(
                    "The best checkpoint so far, of step %d, was found by another Trainer.best_metric or best_mode: it is "
                    "looked for anew, and that one no longer stays for good.",
                    int(self._step.numpy()),
                )
            self._value.assign(math.nan)
            self._step.assign(-1)
            self._kind.assign(self._fingerprint())

    def consider(self, step: int, evaluated: Mapping[str, Mapping[str, Any]]) -> bool:
        """Takes an evaluation, dataset -> metric -> value; returns whether it is better than all before.

        A value that is NaN, or missing as the metric had no example, is not.

        Raises:
          UsageError: there is no such metric, or it is no single number.
        """
        value = None if self._metric is None else self._value_in(evaluated)
        best = float(self._value.numpy())
        if value is None or math.isnan(value):
            return False
        if not math.isnan(best) and not (value > best if self._mode == "max" else value < best):
            return False
        self._value.assign(value)
        self._step.assign(step)
        return True

    def record(self) -> dict[str, Any] | None:
        """What is written of it; None before the first evaluation."""
        value, step = float(self._value.numpy()), int(self._step.numpy())
        if step < 0:
            return None
        return {"step": step, "metric": self._metric, "mode": self._mode, "value": value, "checkpoint": f"ckpt-{step}"}

    def check_name(self, known: Mapping[str, list[str]]) -> None:
        """Checks that the metric is one that an evaluation gives.

        Args:
          known: dataset -> the paths of its metrics, or what the paths of its metrics begin with.
        """
        if self._metric is None:
            return
        names = self._by_name({dataset: dict.fromkeys(paths) for dataset, paths in known.items()})
        if not any(self._metric == name or self._metric.startswith(f"{name}/") for name in names):
            raise UsageError(
                f"Trainer.best_metric = {self._metric!r}: no evaluation gives it. There are {', '.join(sorted(names))}."
            )

    def _fingerprint(self) -> int:
        return zlib.crc32(repr((self._metric, self._mode)).encode())

    def _value_in(self, evaluated: Mapping[str, Mapping[str, Any]]) -> float | None:
        value = self._by_name(evaluated).get(self._metric)
        if value is not None and getattr(value, "ndim", 0):
            raise UsageError(f"Trainer.best_metric = {self._metric!r} is an array: wanted a single number.")
        return None if value is None else float(value)

    def _by_name(self, evaluated: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        named = {f"{dataset}/{path}": value for dataset, found in evaluated.items() for path, value in found.items()}
        return {**next(iter(evaluated.values())), **named} if len(evaluated) == 1 else named


class Retention:
    """Deletes the checkpoints that are not to stay, after each new one.

    Args:
      newest: how many of the newest stay.
      every: those of multiples of so many steps stay for good; None keeps none.
      best: whose checkpoint stays too.
    """

    def __init__(self, newest: int, every: int | None, best: Best):
        self.best = best
        self._newest = newest
        self._every = every

    def record(self) -> dict[str, Any] | None:
        """The best so far, as it has to be on disk once a checkpoint that is taken now is complete."""
        return self.best.record()

    def apply(self, folder: CheckpointFolder, step: int, record: dict[str, Any] | None, needed: int = -1) -> None:
        """Writes the record of the best, whose checkpoint is complete, and deletes what is not to stay.

        Args:
          folder: what there is.
          step: the run's newest checkpoint. Later ones are damaged, or of a run that was given up: they do not count, and stay.
          record: of the best.
          needed: another one that stays.
        """
        steps = folder.steps()
        if record is not None and record["step"] in steps:
            _replace(folder, json.dumps(record) + "\n")
        until = [each for each in steps if each <= step]
        for_good = [each for each in steps if each > step or (self._every and each % self._every == 0)]
        folder.keep_only(
            [*until[-self._newest :], *for_good, needed, *([record["step"]] if record else [])], newest=step
        )


def _replace(folder: CheckpointFolder, text: str) -> None:
    path = folder.path / RECORD
    if not path.exists() or path.read_text() != text:
        replace_file(path, [text.encode()])
