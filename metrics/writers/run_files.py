"""What the files and folders of a run are called, below its model directory.

Imports only the standard library, as the report uses it, too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

METRICS: Final = "metrics.jsonl"
"""A line of JSON for each summary."""

RECORD: Final = "run.json"
"""How the run was made and how it ended, with an entry for each start."""

CONFIG: Final = "config.gin"
"""The config as given."""

OPERATIVE_CONFIG: Final = "operative_config.gin"
"""The config as used: defaults included, and without what nothing has read."""

CHECKPOINTS: Final = "checkpoints"
"""The folder of the checkpoints."""

LOCK: Final = "run.lock"
"""Held by the process that writes the run."""

PREDICTIONS: Final = "predictions"
"""The folder of what `--mode=predict` writes."""

ALL: Final = (CONFIG, METRICS, OPERATIVE_CONFIG, RECORD)
"""The files that stand directly in the run folder."""


def read_record(folder: Path) -> dict[str, Any]:
    """Return what the `run.json` in a folder says.

    Raises:
      OSError: there is none, or it cannot be read.
      ValueError: it is damaged.
    """
    record = json.loads((folder / RECORD).read_bytes())
    if not isinstance(record, dict):
        raise ValueError(type(record).__name__)
    return record
