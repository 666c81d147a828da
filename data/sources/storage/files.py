"""Files of a source: those that match, what tells that they are the same, and a folder for what is made of them."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from absl import logging

from ....metrics.errors import UsageError

_SAMPLE = 4096  # the bytes at either end of a file that are compared


def matching(binding: str, given: Any) -> list[str]:
    """Return the files that are named by a path, a pattern, or a list of these: in its order, within a pattern by name.

    Args:
      binding: as the user writes it: "tfrecord.files".
      given: what was bound.

    Raises:
      UsageError: it is none of these, or nothing matches.
    """
    patterns = [given] if isinstance(given, str | os.PathLike) else given
    is_list = isinstance(patterns, Sequence) and all(isinstance(each, str | os.PathLike) for each in patterns)
    if not is_list or not patterns:
        raise UsageError(f"{binding} = {given!r}: expected a file, a pattern or a list of these")
    return [path for pattern in patterns for path in _matching(binding, os.fspath(pattern))]


def _matching(binding: str, pattern: str) -> list[str]:
    import tensorflow as tf  # not in the processes that read rows, which are given the files

    if tf.io.gfile.exists(pattern):  # its name may look like a pattern
        return [pattern]
    try:
        found = [file for file in sorted(tf.io.gfile.glob(pattern)) if _is_shown(file, pattern)]
    except tf.errors.OpError as error:
        raise UsageError(f"{binding}: {pattern!r} cannot be looked up ({error.message}); correct it") from error
    if not found:
        raise UsageError(f"{binding}: expected at least one file that matches {pattern!r}, got none; correct it")
    return found


def _is_shown(file: str, pattern: str) -> bool:
    """True if a pattern means a file: as in a shell, "*" does not match names that start with a dot, such as `.tallyloop`."""
    return not os.path.basename(file).startswith(".") or os.path.basename(pattern).startswith(".")


def fingerprint(files: Sequence[str | os.PathLike[str]], settings: Any = ()) -> str:
    """Return what is the same for the same files, on another machine and after copying too.

    Names, sizes and both ends of each file are compared, not times, which a copy changes, nor all of the content.

    Args:
      files: the files, in order.
      settings: what else decides the rows; its `repr` is compared.
    """
    digest, size = hashlib.sha256(repr(settings).encode()), 0
    for file in files:
        stat, ends = os.stat(file), _ends(file)
        digest.update(f"{os.path.basename(file)}\0{stat.st_size}\0{ends}\0".encode())
        size += stat.st_size
    return f"{len(files)} files of {size} bytes ({digest.hexdigest()[:16]})"


def _ends(file: str | os.PathLike[str]) -> int:
    with open(file, "rb") as opened:
        begin = zlib.crc32(opened.read(_SAMPLE))
        opened.seek(max(os.fstat(opened.fileno()).st_size - _SAMPLE, 0))
        return zlib.crc32(opened.read(_SAMPLE), begin)


def stamp(files: Sequence[str | os.PathLike[str]]) -> list[tuple[str, int, int]]:
    """Return what changes when a file is written again: its name, size and time."""
    stats = [(os.path.basename(file), os.stat(file)) for file in files]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def total_size(files: Sequence[str | os.PathLike[str]]) -> int:
    """Return the bytes of files in all."""
    return sum(os.path.getsize(file) for file in files)


def cached(beside: str | os.PathLike[str] | None, key: Any, build: Callable[[Path], None]) -> Path:
    """Return the folder of what is made of files once, and make it if it isn't there.

    It stands in `.tallyloop` beside the files or, where that cannot be written, in the user's cache folder. It appears as a
    whole, so that a killed run leaves nothing half made, and of two processes that make it at once one wins.

    Args:
      beside: one of the files; None for the cache folder.
      key: what it depends on; its `repr` is compared.
      build: writes it into an empty folder.
    """
    if beside is None:
        places = {_cache(): _digest(key)}
    else:  # files elsewhere may have the same names, sizes and times
        folder = Path(beside).absolute().parent
        places = {folder / ".tallyloop": _digest(key), _cache(): _digest((key, str(folder)))}
    for place, name in places.items():
        if (place / name).is_dir():
            return place / name
    for place, name in places.items():
        if _writable(place):
            return _built(place, name, build)
    raise UsageError(
        f"what is made of the data once has no place: expected one of {[str(place) for place in places]} that can be written; "
        "set XDG_CACHE_HOME to a folder that can"
    )


def _digest(key: Any) -> str:
    return hashlib.sha256(repr(key).encode()).hexdigest()[:24]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tallyloop"


def _writable(place: Path) -> bool:
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            return True
    except OSError:
        return False


def _built(place: Path, name: str, build: Callable[[Path], None]) -> Path:
    unfinished = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=place))
    try:
        logging.info("Writing %s, once for these files.", place / name)
        build(unfinished)
        unfinished.chmod(0o755)  # mkdtemp lets the user alone read it
        os.rename(unfinished, place / name)
    except OSError:
        if not (place / name).is_dir():  # else another process was faster
            raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return place / name
