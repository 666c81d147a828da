"""The files of a replay: what a person reads, and what a program reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...data.checks import map_arrays
from ...metrics.writers.jsonl import json_value
from ...metrics.writers.media import png

_MOST_IMAGES = 64  # of the examples, from the worst down; batch.npz has all
_SHORT = 16  # numbers of an array that are shown
_CHANNELS = (1, 3, 4)
_LONGEST_TEXT = 200


def write(folder: Path, facts: dict[str, Any], batch: Any) -> Path:
    """Write report.md, report.json, batch.npz and examples/*.png.

    Args:
      folder: is replaced.
      facts: see `Replay.facts`.
      batch: a nest of arrays, the global batch.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    arrays = named_arrays(batch)
    images = _write_images(folder, facts["examples"], arrays)
    savable: dict[str, Any] = {name: _savable(array) for name, array in arrays.items()}
    np.savez(folder / "batch.npz", **savable)
    (folder / "report.json").write_text(json.dumps(json_value(facts), indent=1) + "\n")
    (folder / "report.md").write_text(_markdown(facts, arrays, images))
    return folder


def named_arrays(batch: Any) -> dict[str, np.ndarray]:
    """Return path in the nest -> array."""
    found: dict[str, np.ndarray] = {}
    map_arrays(lambda name, array: found.update({name or "batch": np.asarray(array)}), batch)
    return found


def in_short(facts: Mapping[str, Any]) -> list[str]:
    """Return in a few lines what happened, for a terminal."""
    losses = {path: value for path, value in facts["metrics"].items() if path == "loss" or path.startswith("loss/")}
    told = ", ".join(f"{path} {value!r}" for path, value in losses.items()) or "no loss"
    lines = [f"Step {facts['step']}, replayed from {_origin(facts)}: {told}", _agreement(facts)]
    if facts["first_non_finite"]:
        lines.append(f"The first number that is not finite was in {facts['first_non_finite']}.")
    worst = [_example_in_words(each) for each in facts["examples"][:3]]
    return [*lines, *([f"The worst examples: {'; '.join(worst)}"] if worst else [])]


def _example_in_words(example: Mapping[str, Any]) -> str:
    row = f" (row {example['row']})" if example["row"] is not None else ""
    return f"number {example['position']}{row} {' '.join(_number(loss) for loss in example['losses'].values())}"


def _origin(facts: Mapping[str, Any]) -> str:
    found = facts["checkpoint"]
    return "the start of the run" if found is None else f"the checkpoint of step {found}"


def _agreement(facts: Mapping[str, Any]) -> str:
    same, different = facts["agreement"]["same"], facts["agreement"]["different"]
    if different:
        step, path, written, replayed = different[0]
        return (
            f"This is not quite what the run did: at step {step}, its {path} was {written!r}, and here it is {replayed!r}. "
            "Another number of replicas, another machine, a changed config, or an action that changed something on the way, does "
            "that."
        )
    if same:
        return (
            f"The loss is that in metrics.jsonl, to the last digit, at {len(same)} {'summaries' if len(same) > 1 else 'summary'} "
            f"up to step {same[-1]}."
        )
    return "There is no summary of the run on the way to compare with."


def _markdown(facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray], images: Mapping[int, str]) -> str:
    parts = [
        f"# Step {facts['step']}\n",
        "\n".join(f"{line}\n" for line in in_short(facts)[:-1] or in_short(facts)),
        f"The batch: {facts['place']}.\n",
        "## Examples, from the worst down\n",
        f"{facts['note']}\n" if facts["note"] else "",
        _examples(facts["examples"], arrays, images),
        "## Variables\n",
        "The gradient is that of this batch, before clipping; the update is what the step added.\n",
        _table(
            ("variable", "shape", "norm", "gradient", "update"),
            (
                (v["path"], v["shape"], v["weight_norm"], v["gradient_norm"], v["update_norm"])
                for v in facts["variables"]
            ),
        ),
        "## What the layers returned\n",
        _table(
            ("layer", "replica", "shape", "mean", "std", "min", "max", "zeros", "not finite"),
            (tuple(layer.values()) for layer in facts["layers"]),
        ),
        "## Metrics\n",
        _metrics(facts),
    ]
    return "\n".join(part for part in parts if part)


def _examples(
    examples: Sequence[Mapping[str, Any]], arrays: Mapping[str, np.ndarray], images: Mapping[int, str]
) -> str:
    names = list(examples[0]["losses"]) if examples else []
    pictured = any(images.values())
    header = ("number", "row", *names, *(["image"] if pictured else []), *arrays)
    rows = []
    for each in examples:
        i = each["position"]
        image = [f"![]({images[i]})" if i in images else ""] if pictured else []
        rows.append(
            (i, each["row"], *each["losses"].values(), *image, *(_shown(np.asarray(a[i])) for a in arrays.values()))
        )
    return _table(header, rows)


def _metrics(facts: Mapping[str, Any]) -> str:
    by_replica = facts["metrics_by_replica"]
    header = ("metric", "all replicas", *(f"replica {i}" for i in range(len(by_replica))))
    rows = [
        (
            path,
            _shown(np.asarray(value)),
            *(_shown(np.asarray(each[path])) if path in each else "" for each in by_replica),
        )
        for path, value in sorted(facts["metrics"].items())
    ]
    return _table(header, rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(map(_cell, line)) + " |\n" for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return _number(value)
    return str(tuple(value) if isinstance(value, list) else value).replace("|", "\\|").replace("\n", " ")


def _number(value: float) -> str:
    return f"{value:.6g}"


def _shown(value: np.ndarray) -> str:
    """Return a part of an example as a short text."""
    if value.dtype.kind in "OSU":
        return "; ".join(_text(each) for each in value.ravel()[:_SHORT])
    if value.ndim == 0:
        return _number(float(value)) if value.dtype.kind not in "iub" else str(value)
    if value.size <= _SHORT:
        return np.array2string(value, precision=4, separator=", ", threshold=_SHORT).replace("\n", "")
    return f"{value.dtype.name} {value.shape}"


def _text(value: Any) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…"


def _write_images(
    folder: Path, examples: Sequence[Mapping[str, Any]], arrays: Mapping[str, np.ndarray]
) -> dict[int, str]:
    """Write the images of the worst examples; return position in the batch -> the name of its file."""
    found: dict[int, str] = {}
    name, pixels = next(
        ((name, each) for name, array in arrays.items() if (each := _pixels(array)) is not None), ("", None)
    )
    if pixels is None or not examples:
        return found
    (folder / "examples").mkdir()
    for rank, example in enumerate(examples[:_MOST_IMAGES]):
        i = example["position"]
        found[i] = f"examples/{rank:03d}-number-{i}-{name.replace('/', '_')}.png"
        (folder / found[i]).write_bytes(png(pixels[i]))
    return found


def _pixels(array: np.ndarray) -> np.ndarray | None:
    """Return images (n, height, width, channels) of uint8, if an array is likely to be some; floats are scaled to their range."""
    if array.dtype == np.uint8 and array.ndim == 3:
        array = array[..., np.newaxis]
    if array.ndim != 4 or array.shape[-1] not in _CHANNELS or array.dtype.kind not in "uif" or not array.size:
        return None
    if array.dtype == np.uint8:
        return array
    numbers = np.nan_to_num(array.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = numbers.min(), numbers.max()
    return np.rint((numbers - low) * (255 / ((high - low) or 1))).astype(np.uint8)


def _savable(array: np.ndarray) -> np.ndarray:
    """Return strings as an array that can be read without pickle."""
    return array.astype("S") if array.dtype == object and all(isinstance(e, bytes) for e in array.ravel()) else array
