"""Whether two runs came out the same, to the last bit."""

from __future__ import annotations

import collections
import json
from pathlib import Path

import tensorflow as tf
from tallyloop.data import Input
from tallyloop.trainer.loop.timing import TIMES
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.util import tensor_util

from . import survival_task
from .survival_moment import steps


def differences(folder: Path, control: Path) -> list[str]:
    """What differs between the folders of two runs that are over; nothing, if the one is as good as the other."""
    return [
        *_checkpoints(folder, control),
        *_lines(folder, control),
        *_best(folder, control),
        *_points(folder, control),
        *_leftovers(folder, control),
    ]


def _checkpoints(folder: Path, control: Path) -> list[str]:
    """Every tensor of every checkpoint that was kept, the last one's among them; the states of iterators are tensors too."""
    kept, wanted = steps(folder), steps(control)
    if kept != wanted:
        return [f"checkpoints: there are {kept}, and in the control {wanted}"]
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
    """What comes next of a checkpoint's stream: three epochs.

    The states of two iterators at the same place differ in how many batches were prepared in advance, which is a matter of time.
    """
    feed = Input(survival_task.stream, 16, shuffle=True, shuffle_buffer=50, map_fn=survival_task.noisy).open_train()
    items = tf.train.Checkpoint(data=tf.train.Checkpoint(**feed.checkpoint_items()))
    items.read(prefix).expect_partial()
    batches = [feed.fetch((), tf.constant(0))[0] for _ in range(3 * -(-survival_task.EXAMPLES // 16))]
    return b"".join(tensor.numpy().tobytes() for tensor in tf.nest.flatten(batches))


def _contents(prefix: str) -> dict[str, tuple]:
    """Key -> (type, shape, bytes). So a NaN is equal to itself, and 0 is not -0."""
    types = tf.train.load_checkpoint(prefix).get_variable_to_dtype_map()
    keys = sorted(types)
    # Not by the reader's `get_tensor`, which cannot read the state of an iterator.
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
    found = [f"metrics.jsonl: {split} of step {step} is there more than once" for step, split in twice]
    mine, its = dict(one), dict(other)
    found += [f"metrics.jsonl: {key[1]} of step {key[0]} is in one only" for key in sorted(mine.keys() ^ its.keys())]
    both = sorted(mine.keys() & its.keys())
    return found + [f"metrics.jsonl: {key[1]} of step {key[0]} differs" for key in both if mine[key] != its[key]]


def _fields(path: Path) -> list[tuple[tuple[int, str], str]]:
    """((step, split), the line without what tells how fast the run was) of each line."""
    found = []
    for line in path.read_text().splitlines():
        fields = json.loads(line)
        fields["metrics"] = {path: value for path, value in fields["metrics"].items() if path not in TIMES}
        found.append(((fields["step"], fields["split"]), json.dumps(fields)))
    return found


def _best(folder: Path, control: Path) -> list[str]:
    name = "checkpoints/best.json"
    one, other = ((each / name).read_text() for each in (folder, control))
    return [] if one == other else [f"{name}: {one.strip()}, and in the control {other.strip()}"]


def _points(folder: Path, control: Path) -> list[str]:
    """What TensorBoard shows of both, by its own multiplexer."""
    one, other = _charts(folder), _charts(control)
    charts = sorted(one.keys() | other.keys())
    return [
        f"TensorBoard: {tag} of {run} differs" for run, tag in charts if one.get((run, tag)) != other.get((run, tag))
    ]


def _charts(folder: Path) -> dict[tuple[str, str], list[tuple[int, float]]]:
    # 0 keeps all the points; TensorBoard would draw from them.
    shown = EventMultiplexer(size_guidance={"tensors": 0})
    shown.AddRunsFromDirectory(str(folder)).Reload()
    return {
        (run, tag): [
            (event.step, tensor_util.make_ndarray(event.tensor_proto).item()) for event in shown.Tensors(run, tag)
        ]
        for run, kinds in shown.Runs().items()
        for tag in kinds["tensors"]
        if tag not in TIMES
    }


def _leftovers(folder: Path, control: Path) -> list[str]:
    """What lies about in the folder of the checkpoints, and what `checkpoint` lists."""
    one, other = ({path.name for path in (each / "checkpoints").iterdir()} for each in (folder, control))
    found = [f"checkpoints/{name} is in one only" for name in sorted(one ^ other)]
    states = [tf.train.get_checkpoint_state(str(each / "checkpoints")) for each in (folder, control)]
    names = [[Path(path).name for path in state.all_model_checkpoint_paths] for state in states]
    return found if names[0] == names[1] else [*found, f"checkpoints/checkpoint lists {names[0]}, not {names[1]}"]
