"""The memory that an epoch of shards takes: `python -m benchmarks.input.memory FOLDER`, a child process.

Linux counts mapped pages of files as resident too; they are the page cache, which it takes back when it needs memory, and are
left out here.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from tallyloop.data import Input, npy

from ..harness.child import answer
from ..harness.processes import ask

SHARD = 16_276  # rows of 32 x 32 x 3 bytes: 50 MB
BATCH = 256


def written(folder: Path, shards: int) -> Path:
    """Write so many shards of 50 MB into a folder, and return it."""
    folder.mkdir()
    rows = np.random.default_rng(0).integers(0, 256, (SHARD, 32, 32, 3), np.uint8)
    for shard in range(shards):
        np.save(folder / f"x-{shard:05}.npy", rows)
    return folder


def grown(folder: Path, gigabytes: float) -> float:
    """Return the bytes that a run takes after an epoch of so many GB on disk, beyond those of a run on one shard."""
    folder.mkdir()
    large, small = (
        written(folder / f"{shards}", shards) for shards in (max(2, round(gigabytes * 1e9 / (SHARD * 3072))), 1)
    )
    return ask("input.memory", large)["anonymous"] - ask("input.memory", small)["anonymous"]


def anonymous_memory() -> int:
    """Return the resident memory of this process in bytes, without pages of files."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


def read_epoch(folder: Path) -> None:
    """Read all shuffled batches of an epoch."""
    feed = Input(npy(folder), BATCH, shuffle=True).open_train()

    @tf.function
    def read(step):
        part, n = feed.fetch(feed.plan(step, tf.constant(1, tf.int64)), tf.constant(0, tf.int64))
        return feed.shard(part, n, 0, 1)[0]["x"][-1, 0, 0, 0]

    for step in range(feed.batches_per_epoch or 0):
        read(tf.constant(step, tf.int64)).numpy()


if __name__ == "__main__":
    read_epoch(Path(sys.argv[1]))
    answer({"anonymous": anonymous_memory()})
