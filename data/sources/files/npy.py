"""The source `npy`: memory-mapped arrays from `.npy` files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import gin

from ....metrics.errors import UsageError
from ..storage.mapped import MappedArrays

# "x-00003", "x-00003-of-00010" and, in the folder of a key, "00003".
_NUMBERED = re.compile(r"(?:(?P<key>.+?)-|^)(?P<number>\d+)(?:-of-(?P<count>\d+))?$")


@gin.register(module="tallyloop")
def npy(path: str | os.PathLike[str]) -> MappedArrays:
    """Return the rows of `.npy` files, as `np.save` writes them, memory-mapped: only rows that are asked for are read.

    Args:
      path: a file, whose name is the key, or a folder with a file `x.npy`, shards `x-00000.npy`, `x-00001.npy`, ... or a
        folder of shards `x/00000.npy`, `x/00001.npy`, ... for each key. Shards follow each other by number, and keys may be
        cut into different shards.

    Returns:
      The rows by number, with the dtypes and shapes of the files.

    Raises:
      UsageError: nothing is there; a file is damaged, holds Python objects or is in Fortran order; a shard is missing;
        shards or lengths differ.
    """
    place = Path(path)
    if not place.exists():
        raise UsageError(f"npy.path = {os.fspath(path)!r}: expected a .npy file or a folder of them, which isn't there")
    if not place.is_dir():
        return MappedArrays({place.stem: [place]})
    folders = {each.name: each for each in sorted(place.iterdir()) if each.is_dir() and not each.name.startswith(".")}
    in_folders = {key: _in_order(key, files) for key, each in folders.items() if (files := _files(each))}
    beside = _by_key(_files(place))
    if both := in_folders.keys() & beside.keys():
        raise UsageError(
            f"npy: {os.fspath(path)!r} has both a folder and files of {sorted(both)}: expected one of them"
        )
    shards = {**beside, **in_folders}
    if not shards:
        raise UsageError(f"npy: {os.fspath(path)!r} has no .npy files: expected some, such as x.npy or x/00000.npy")
    return MappedArrays(dict(sorted(shards.items())))


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.npy"))


def _by_key(files: Iterable[Path]) -> dict[str, list[Path]]:
    shards: dict[str, list[Path]] = {}
    single: dict[str, list[Path]] = {}
    for file in files:
        found = _NUMBERED.match(file.stem)
        if found and found["key"]:
            shards.setdefault(found["key"], []).append(file)
        else:
            single[file.stem] = [file]
    if both := shards.keys() & single.keys():
        raise UsageError(
            f"npy: both a file and shards of {sorted(both)} are in {str(file.parent)!r}: expected one of them"
        )
    return {**single, **{key: _in_order(key, paths) for key, paths in shards.items()}}


def _in_order(key: str, files: list[Path]) -> list[Path]:
    """Return the shards by number, all of them."""
    if len(files) == 1 and not _NUMBERED.match(files[0].stem):
        return files
    numbered: dict[int, Path] = {}
    counts = set()
    for file in files:
        found = _NUMBERED.match(file.stem)
        if not found or int(found["number"]) in numbered:
            raise UsageError(f"npy: {str(file)!r}: expected shards of {key!r} with a number each, such as 00000.npy")
        numbered[int(found["number"])] = file
        counts.add(found["count"])
    first = min(*numbered, 1)
    last = max([*numbered, *(first + int(count) - 1 for count in counts if count)])
    missing = sorted(set(range(first, last + 1)) - numbered.keys())
    if missing:
        raise UsageError(f"npy: shards {missing[:10]} of {key!r} are missing beside {str(files[0])!r}; copy them again")
    return [numbered[number] for number in sorted(numbered)]
