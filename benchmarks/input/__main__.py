"""How fast `Input` reads arrays, rows by number and images, beside others, and how fast it jumps to a distant step.

python -m benchmarks.input                   # prints the table
python -m benchmarks.input --only seek
python -m benchmarks.input --gigabytes 1     # of shards, instead of 5
python -m benchmarks.input --write           # also writes docs/input.md

The exit code is 1 if a goal is missed. Grain and Hugging Face's datasets are measured where they are installed.
"""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from ..harness.command import Command, Goal, Measured, Row, figures
from ..harness.paired import Calls, Contestant
from . import composed, images, in_memory, libraries, memory, on_disk
from .loops import AHEAD, LOOP, first_batch

SMALL, LARGE, SEEK = "64 floats, batch 64", "784 floats, batch 256", "seek"
FLOATS, PICTURES, JPEG = "64 floats on disk", "32x32x3 on disk", "JPEG"
LIBRARIES, MEMORY, PYTHON = "other libraries", "memory", "transform in Python"
MIXTURE, PACKED, TRANSFORM = "Mixture", "packed", "transform"
ACCELERATED, TRAINING = "training, idle cores", "training, busy cores"
SHAPES = {SMALL: (100_000, 64, 64, 20), LARGE: (20_000, 784, 256, 10)}  # examples, features, batch, loops per lap
FAR, FARTHEST = 10**6, 10**9  # steps
GIGABYTES = 5
_FASTER, _BY_HALF, _NEARLY = Goal(">=", 1.0), Goal(">=", 1.5), Goal(">=", 0.9)

GROWTH = Row(MEMORY, "shards on disk, an epoch - the same of 50 MB", goal=Goal("<=", 300), unit="MB", digits=0)
ROWS = (
    *(
        row
        for shape, goal in ((SMALL, Goal(">=", 1.7)), (LARGE, _FASTER))
        for row in (
            Row(shape, "Input / tf.data with one permutation per epoch, examples/s", "epochs", "input", goal),
            Row(shape, "Input / tf.data that shuffles indices one by one, examples/s", "shuffle", "input", goal),
            Row(shape, "a batch of Input", "input", unit="us", digits=0),
        )
    ),
    Row(SEEK, "the first batch at step 1,000,000", "far", goal=Goal("<=", 10), unit="ms"),
    Row(SEEK, "the first batch at step 0", "near", unit="ms"),
    Row(SEEK, "by number from disk, the first batch at step 1,000,000,000", "farthest", goal=Goal("<=", 50), unit="ms"),
    *(
        row
        for shape, goal in ((FLOATS, Goal(">=", 0.15)), (PICTURES, Goal(">=", 0.35)))
        for row in (
            Row(shape, "by number / arrays in memory, examples/s", "memory", "disk", goal),
            Row(shape, "a batch by number", "disk", unit="us", digits=0),
        )
    ),
    Row(JPEG, "by number / the best plain tf.data, examples/s", "tf.data", "input", _FASTER),
    Row(JPEG, "a batch by number", "input", unit="ms", digits=0),
    Row(PYTHON, "2 read_processes / 2 read_threads, examples/s", "threads", "processes", _FASTER),
    Row(PYTHON, "a batch by threads", "threads", unit="ms"),
    Row(MIXTURE, "of two / one of them alone, examples/s", "alone", "mixture", _NEARLY),
    Row(PACKED, "packs / their documents alone, tokens/s", "alone", "packed", _NEARLY),
    Row(TRANSFORM, "with / without, examples/s", "alone", "transform", _NEARLY),
    Row(LIBRARIES, "by number / Grain's DataLoader, examples/s", "grain", "input", _BY_HALF),
    Row(
        LIBRARIES, "by number / Hugging Face with to_tf_dataset, examples/s", "hugging face", "input of arrow", _BY_HALF
    ),
    Row(LIBRARIES, "by number / keras.utils.PyDataset, examples/s", "keras", "input", _BY_HALF),
    *(
        row
        for group in (ACCELERATED, TRAINING)
        for row in (
            Row(group, "by number from disk / from memory, steps/s", "memory", "disk", Goal(">=", 0.95)),
            Row(group, "a step from memory", "memory", unit="ms"),
        )
    ),
    GROWTH,
)
ABOUT = f"""
Batches of shuffled rows are read in graph loops of {LOOP} steps that do nothing else. A figure is a ratio of examples per second,
the median over the rounds; all that is compared takes turns in one process. Whatever reads ahead does so before the next one's
turn.

**Arrays in memory**, beside two pipelines of `tf.data`. Both gather whole batches, because pipelines of single examples are many
times slower:

- **Input** draws each epoch's order from (seed, epoch) in the graph, and gathers a batch with one operation.
- **tf.data with one permutation per epoch** is `Dataset.counter()` mapped to a permutation of the rows, cut into batches of
  indices, then one vectorized `tf.gather` per batch and `prefetch({AHEAD})`, which is short because prefetched batches are
  not timed.
- **tf.data that shuffles indices one by one** is `range(n).shuffle(n).repeat().batch(b)`, then the same.

**seek** runs from `Feed.seek` to a batch in hand, at a different step in each round, in a graph that is already traced, for 64
floats, batch 64.

**Rows by number** are those of memory-mapped `.npy` files, read by `npy` with 2 threads, batch {on_disk.BATCH}:

- **on disk**: the same rows as arrays in memory.
- **JPEG**: {images.COUNT} files of 300x280 pixels, read by `images`, decoded and resized to {images.SIZE}x{images.SIZE} by
  `decode_image`, batch {images.BATCH}. The pipeline of `tf.data` shuffles the names of the files, and reads and decodes them by
  the same function in a parallel `map` without a fixed order.
- **transform in Python**: 64 floats, and a `transform` that adds {on_disk.ADDED:,} numbers up in Python for each row, so that it
  holds the interpreter.
- **Mixture**: 64 floats, three rows of one folder to one of another.
- **packed**: documents of {composed.TOKENS} tokens, {composed.IN_A_PACK} in a pack; a batch has {composed.PACKS} packs, or as
  many documents. A pack is three arrays, where a document is one.
- **transform**: the JPEG files, with a `transform` that returns the example as it is. It has a random
  generator for each row.
- **other libraries**: 64 floats. Grain's `DataLoader` reads row by row, here without its threads, which make it several times
  slower, and its batches stay in NumPy; `PyDataset` gathers whole batches, has 2 workers, and is read as `fit` reads it;
  Hugging Face's dataset is read by `huggingface` on our side.
- **training**: a `Trainer` whose step waits for {1e3 * on_disk.WAIT:g} ms, as for an accelerator, while the cores are idle; and
  one with an MLP 64-{on_disk.HIDDEN}-{on_disk.HIDDEN}-10, which leaves no core to the threads that read.
- **memory**: one process reads an epoch of {GIGABYTES} GB (`--gigabytes`) in shards of 50 MB, and another one reads a single
  shard. Pages of files are left out, as they are the page cache.

**What a batch by number costs.** A pipeline of `tf.data` reads it ahead of the step, which only takes it. One call of Python
reads the rows of up to 32 steps where that takes less than 5 ms, so that calls and locks of the interpreter cost little; steps
that take longer to read are read one by one. `map_fn` runs in the same pipeline, at once or one
example after the other ([which](data.md#rows-by-number)), in a thread for each of several batches, and what it makes stays in
TensorFlow. What is left:

- JPEG files are read by Python, and their bytes handed to TensorFlow, which takes a tenth of the time that the cores spend on a
  batch; the rest is the decoding, which is the same for both.
- A jump builds the pipeline again, which takes TensorFlow about 10 ms, and draws the rows of some hundred steps.
- Processes are faster than threads only where cores are free.
- `Mixture` and `packed` draw and arrange rows in NumPy, which takes 0.2 microseconds per row. Beside floats in memory-mapped
  files, that is a fifth of the time; beside files that are decoded, or text that is tokenized, next to nothing.
- In runs of the same code, the training with busy cores came out between 0.8 and 1.7, that with idle ones between 0.91 and 1.00,
  and JPEG files between 0.8 and 0.96: what hands over between threads waits for its turn wherever other programs use the cores.
"""


def contestants(group: str, folder: Path) -> dict[str, Contestant]:
    """Return the contestants of a group; `folder` is one that does not exist yet."""
    if group in SHAPES:
        return in_memory.contestants(*SHAPES[group])
    made = {
        SEEK: lambda: seeks(folder),
        FLOATS: lambda: on_disk.reading(on_disk.floats(), folder, 20),
        PICTURES: lambda: on_disk.reading(on_disk.pictures(), folder, 10),
        JPEG: lambda: images.contestants(folder),
        PYTHON: lambda: on_disk.transforming(folder),
        MIXTURE: lambda: composed.mixing(folder),
        PACKED: lambda: composed.packing(folder),
        TRANSFORM: lambda: composed.transforming(folder),
        LIBRARIES: lambda: libraries.contestants(folder),
        ACCELERATED: lambda: on_disk.training(folder, on_disk.Waiting),
        TRAINING: lambda: on_disk.training(folder, on_disk.Dense),
    }
    return made[group]()


def seeks(folder: Path) -> dict[str, Contestant]:
    """Return the jumps, each to another step than the last."""
    count, features, batch, _ = SHAPES[SMALL]
    rows, epochs = in_memory.arrays(count, features), range(0, 10**7, 5000)  # more than an epoch apart
    data, on_files = in_memory.of_arrays(rows, batch), on_disk.mapped(on_disk.saved(rows, folder))
    return {
        "far": Calls(first_batch(data, [FAR + step for step in epochs]), 1),
        "near": Calls(first_batch(data, [0]), 1),
        "farthest": Calls(first_batch(on_files, [FARTHEST + step for step in epochs]), 1),
    }


def measure(rows: Sequence[Row], rounds: int, gigabytes: float = GIGABYTES) -> Measured:
    """Measure the rows, group by group."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        timed = [row for row in rows if row is not GROWTH]
        found = figures(timed, lambda group: contestants(group, folder / group), rounds)
        if GROWTH in rows:
            found[GROWTH] = memory.grown(folder / MEMORY, gigabytes) / 1e6
    return Measured(found)


COMMAND = Command(
    name="input",
    title="Reading data",
    reader="users who choose where their data lies",
    shows="how fast `Input` reads arrays, rows by number and images, beside pipelines of `tf.data` and other libraries, and how "
    "fast it jumps to a distant step",
    about=ABOUT,
    rows=ROWS,
    measure=measure,
    rounds=40,
    a_round=f"rounds of some loops of {LOOP} steps each",
)


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    parser = COMMAND.parser()
    parser.add_argument("--gigabytes", type=float, default=GIGABYTES, help=f"of shards on disk ({GIGABYTES})")
    chosen = parser.parse_args(arguments)
    if chosen.gigabytes == GIGABYTES:
        return COMMAND.report(chosen, arguments)
    return COMMAND._replace(measure=functools.partial(measure, gigabytes=chosen.gigabytes)).report(chosen, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
