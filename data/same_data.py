"""What must be the same when a run continues: noted in its checkpoints, and compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from ..metrics.errors import UsageError


class SameData:
    """A note on the data of a run, such as its length and seed.

    Args:
      name: what is noted, for the variable that a checkpoint holds.
      noted: binding or property -> what JSON can hold.

    Attributes:
      variable: the note, which a checkpoint restores.
      text: that of this run, in JSON.
      holder: what a checkpoint holds instead of the variable if checkpoints of earlier versions lack the note. It is empty
        until `hold` is called, so that such a checkpoint fits.
    """

    def __init__(self, name: str, noted: Mapping[str, Any]):
        self.text: str = json.dumps(noted)
        self.variable: tf.Variable = tf.Variable(tf.constant(self.text), trainable=False, name=name)
        self.holder: Any = tf.Module()

    def hold(self) -> None:
        """Put the note into `holder`, where it is saved. A note that a checkpoint had for it is restored at once."""
        self.holder.note = self.variable

    def check(self, same: str) -> None:
        """Compare this run with the note that was restored; `same` says what to continue with, in the message.

        Raises:
          UsageError: the two differ.
        """
        before, now = json.loads(bytes(self.variable.numpy())), json.loads(self.text)
        for key in now:
            if before.get(key, now[key]) != now[key]:  # a checkpoint of an earlier version may lack one
                raise UsageError(
                    f"The train data: expected {key} = {before[key]!r}, as in the checkpoint, got {now[key]!r}: continue with "
                    f"the same {same}, or choose another --model_dir."
                )
