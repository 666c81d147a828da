"""Which checkpoints are kept: the newest, every so many steps, and the best."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from absl import logging

from ...metrics.atomic_file import replace_file
from ...metrics.errors import UsageError
from ...metrics.writers.better import Mode
from .eval_metric import EvalMetric
from .folder import CheckpointFolder
from .state import Checkpoint

RECORD = "best.json"


def best_checkpoint(folder: Path) -> str:
    """Return the path of the best checkpoint in a folder.

    Raises:
      UsageError: none is known.
    """
    path = folder / RECORD
    if not path.exists():
        raise UsageError(
            f"checkpoint = 'best': expected {path}, which a run with Trainer.best_metric writes with its first evaluation; give "
            "the path of a checkpoint."
        )
    return str(folder / json.loads(path.read_bytes())["checkpoint"])


class Best:
    """The best evaluation so far, by one metric. Saved in the checkpoint, so that a rerun continues with it.

    Args:
      metric: DATASET/METRIC, or METRIC where there is one eval dataset; None tracks no best.
      mode: "max" or "min".
    """

    def __init__(self, metric: str | None, mode: Mode | None):
        self.metric: EvalMetric | None = None if metric is None else EvalMetric("Trainer.best_metric", metric, mode)
        self._mode: Mode | None = mode
        self._value = tf.Variable(tf.constant(math.nan, tf.float64), trainable=False, name="best_value")
        self._step = tf.Variable(tf.constant(-1, tf.int64), trainable=False, name="best_step")
        self._kind = tf.Variable(tf.constant(self._fingerprint(), tf.int64), trainable=False, name="best_kind")

    def state(self) -> Checkpoint:
        """The best so far, whether or not there is a metric: one may be bound later."""
        return tf.train.Checkpoint(value=self._value, step=self._step, kind=self._kind)

    def after_restore(self) -> None:
        """Forget the best of another metric."""
        if int(self._kind.numpy()) != self._fingerprint():
            if int(self._step.numpy()) >= 0:
                logging.warning(
                    "The best checkpoint so far, of step %d, was found by another Trainer.best_metric or best_mode. The search "
                    "starts anew, and that checkpoint is no longer kept.",
                    int(self._step.numpy()),
                )
            self._value.assign(math.nan)
            self._step.assign(-1)
            self._kind.assign(self._fingerprint())

    def consider(self, step: int, evaluated: Mapping[str, Mapping[str, Any]]) -> bool:
        """Take an evaluation, dataset -> metric -> value; returns whether it is better than all before.

        Raises:
          UsageError: the metric isn't a single number.
        """
        value = self.improvement(evaluated, len(evaluated) == 1)
        if value is None:
            return False
        self._value.assign(value)
        self._step.assign(step)
        return True

    def improvement(self, evaluated: Mapping[str, Mapping[str, Any]], only: bool) -> float | None:
        """Return the metric's value in an evaluation, or a part of it, if it is better than all before; see `EvalMetric.value`.

        A value that is NaN, or missing because the metric had no examples, isn't better.
        """
        value = None if self.metric is None else self.metric.value(evaluated, only)
        if value is None or self.metric is None or not self.metric.is_better(value, float(self._value.numpy())):
            return None
        return value

    @property
    def side(self) -> dict[str, Mode]:
        """The metric's name as given -> which side of it is better; empty without one."""
        if self.metric is None or self._mode is None:
            return {}
        return {self.metric.name: self._mode}

    def record(self) -> dict[str, Any] | None:
        """Return the content of best.json; None before the first evaluation."""
        value, step = float(self._value.numpy()), int(self._step.numpy())
        if step < 0:
            return None
        return {"step": step, "metric": self._name, "mode": self._mode, "value": value, "checkpoint": f"ckpt-{step}"}

    def check_name(self, known: Mapping[str, list[str]]) -> None:
        """Check that the evaluation computes the metric; see `EvalMetric.check`."""
        if self.metric is not None:
            self.metric.check(known)

    @property
    def _name(self) -> str | None:
        return None if self.metric is None else self.metric.name

    def _fingerprint(self) -> int:
        return zlib.crc32(repr((self._name, self._mode)).encode())


class Retention:
    """Deletes the checkpoints that are no longer kept, after each new one.

    Args:
      newest: how many of the newest are kept.
      every: checkpoints at multiples of so many steps are kept forever; None keeps none.
      best: its checkpoint is kept too.
    """

    def __init__(self, newest: int, every: int | None, best: Best):
        self.best = best
        self._newest = newest
        self._every = every

    def record(self) -> dict[str, Any] | None:
        """Return the best so far, as it must be on disk once a checkpoint taken now is complete."""
        return self.best.record()

    def apply(self, folder: CheckpointFolder, step: int, record: dict[str, Any] | None, needed: int = -1) -> None:
        """Write the record of the best, whose checkpoint is complete, and delete what isn't kept.

        Args:
          folder: the checkpoints.
          step: the run's newest checkpoint. Later ones are damaged, or of an abandoned run: they don't count, and stay.
          record: the content of best.json.
          needed: the step of another checkpoint to keep.
        """
        steps = folder.steps()
        if record is not None and record["step"] in steps:
            _replace(folder, json.dumps(record) + "\n")
        until = [each for each in steps if each <= step]
        forever = [each for each in steps if each > step or (self._every and each % self._every == 0)]
        folder.keep_only(
            [*until[-self._newest :], *forever, needed, *([record["step"]] if record else [])], newest=step
        )


def _replace(folder: CheckpointFolder, text: str) -> None:
    path = folder.path / RECORD
    if not path.exists() or path.read_text() != text:
        replace_file(path, [text.encode()])
