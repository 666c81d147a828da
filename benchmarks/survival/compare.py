"""The bit-for-bit comparison of two runs."""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import Any

import tensorflow as tf
from tallyloop.data import Input
from tallyloop.trainer.loop.timing import TIMES
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.util import tensor_util

from . import task
from .moment import steps
from .sources import EXAMPLES


def differences(folder: Path, control: Path) -> list[str]:
    """Return the differences between the folders of two finished runs; empty if they are equal."""
    return [
        *_checkpoints(folder, control),
        *_lines(folder, control),
        *_best(folder, control),
        *_points(folder, control),
        *_leftovers(folder, control),
    ]


def _checkpoints(folder: Path, control: Path) -> list[str]:
    """Compare every tensor of every kept checkpoint, the states of iterators included."""
    kept, expected = steps(folder), steps(control)
    if kept != expected:
        return [f"checkpoints: expected those of the control, {expected}, got {kept}"]
    return [text for step in kept for text in _tensors(folder, control, f"checkpoints/ckpt-{step}")]


def _tensors(folder: Path, control: Path, name: str) -> list[str]:
    prefixes = [str(each / name) for each in (folder, control)]
    one, other = map(_contents, prefixes)
    found = [f"{name}: {key} is in one only" for key in sorted(one.keys() ^ other.keys())]
    for key in sorted(one.keys() & other.keys()):
        if one[key] != other[key] and not (one[key][0] == "variant" and len(set(map(_next_batches, prefixes))) == 1):
            found.append(f"{name}: {key} differs")
    return found


def _next_batches(prefix: str) -> bytes:
    """Return the next three epochs of a checkpoint's stream, as bytes.

    The states of two iterators at the same position may differ in the number of prefetched batches, which depends on timing.
    """
    feed = Input(task.stream, 16, shuffle=True, shuffle_buffer=50, map_fn=task.noisy).open_train()
    items = tf.train.Checkpoint(data=tf.train.Checkpoint(**feed.checkpoint_items()))
    items.read(prefix).expect_partial()
    batches = [feed.fetch((), tf.constant(0))[0] for _ in range(3 * -(-EXAMPLES // 16))]
    return b"".join(tensor.numpy().tobytes() for tensor in tf.nest.flatten(batches))


def _contents(prefix: str) -> dict[str, tuple]:
    """Return key -> (dtype, shape, bytes): a NaN then equals itself, and 0 does not equal -0."""
    types = tf.train.load_checkpoint(prefix).get_variable_to_dtype_map()
    keys = sorted(types)
    # Not with the reader's `get_tensor`, which cannot read the state of an iterator.
    tensors = tf.raw_ops.RestoreV2(
        prefix=prefix, tensor_names=keys, shape_and_slices=[""] * len(keys), dtypes=[types[key] for key in keys]
    )
    return {
        key: (tensor.dtype.name, tuple(tensor.shape), tf.io.serialize_tensor(tensor).numpy())
        for key, tensor in zip(keys, tensors, strict=True)
    }


def _lines(folder: Path, control: Path) -> list[str]:
    one, other = (_fields(each / "metrics.jsonl") for each in (folder, control))
    twice = [key for key, count in collections.Counter(key for key, _ in one).items() if count > 1]
    found = [f"metrics.jsonl: {split} of step {step} occurs more than once" for step, split in twice]
    mine, its = dict(one), dict(other)
    found += [f"metrics.jsonl: {key[1]} of step {key[0]} is in one only" for key in sorted(mine.keys() ^ its.keys())]
    both = sorted(mine.keys() & its.keys())
    return found + [f"metrics.jsonl: {key[1]} of step {key[0]} differs" for key in both if mine[key] != its[key]]


def _fields(path: Path) -> list[tuple[tuple[int, str], str]]:
    """Return ((step, split), the line without its timings) for each line."""
    found = []
    for line in path.read_text().splitlines():
        fields = json.loads(line)
        fields["metrics"] = {path: value for path, value in fields["metrics"].items() if path not in TIMES}
        found.append(((fields["step"], fields["split"]), json.dumps(fields)))
    return found


def _best(folder: Path, control: Path) -> list[str]:
    name = "checkpoints/best.json"
    if not any((each / name).exists() for each in (folder, control)):  # Trainer.best_metric is not bound
        return []
    one, other = ((each / name).read_text() for each in (folder, control))
    return [] if one == other else [f"{name}: expected that of the control, {other.strip()}, got {one.strip()}"]


def _points(folder: Path, control: Path) -> list[str]:
    """Compare what TensorBoard shows of both runs, read with its own multiplexer."""
    one, other = _charts(folder), _charts(control)
    charts = sorted(one.keys() | other.keys())
    return [
        f"TensorBoard: {tag} of {run} differs" for run, tag in charts if one.get((run, tag)) != other.get((run, tag))
    ]


def _charts(folder: Path) -> dict[tuple[str, str], list[tuple[int, Any]]]:
    # 0 keeps all points; by default the multiplexer samples them.
    shown = EventMultiplexer(size_guidance={"tensors": 0})
    shown.AddRunsFromDirectory(str(folder)).Reload()
    return {
        (run, tag): [
            (event.step, tensor_util.make_ndarray(event.tensor_proto).tolist()) for event in shown.Tensors(run, tag)
        ]
        for run, kinds in shown.Runs().items()
        if run != "."  # describes the processes: their times, and how they ended
        for tag in kinds["tensors"]
        if tag not in TIMES
    }


def _leftovers(folder: Path, control: Path) -> list[str]:
    """Compare the names of the files in `checkpoints`, and what its file `checkpoint` lists."""
    one, other = ({path.name for path in (each / "checkpoints").iterdir()} for each in (folder, control))
    found = [f"checkpoints/{name} is in one only" for name in sorted(one ^ other)]
    states = [tf.train.get_checkpoint_state(str(each / "checkpoints")) for each in (folder, control)]
    names = [[Path(path).name for path in state.all_model_checkpoint_paths] for state in states]
    return found if names[0] == names[1] else [*found, f"checkpoints/checkpoint: expected {names[1]}, got {names[0]}"]
