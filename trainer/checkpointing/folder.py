"""The folder of a run's checkpoints: which are complete, which are damaged, and how they come and go."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import tensorflow as tf

from ...metrics.atomic_file import replace_file

_INDEX, _DATA, _SUMS = ".index", ".data-00000-of-00001", ".sha256.json"
_IN_ORDER = (_DATA, _SUMS, _INDEX)  # the order in which they appear: a checkpoint with an index is complete
_UNFINISHED, _DELETED = ".unfinished", ".deleted"


class CheckpointFolder:
    """Checkpoints named `ckpt-STEP`, none of which is visible before it is complete.

    A checkpoint is written into a folder of its own, synced to disk, and then moved, its index last, together with a file of
    checksums. After that, the file `checkpoint`, which `tf.train.latest_checkpoint` reads, is replaced. `recover` finishes
    what a kill left half moved or half deleted.

    Args:
      path: the folder; made at the first checkpoint.
    """

    def __init__(self, path: Path):
        self.path = path

    def prefix(self, step: int) -> Path:
        """Return the path of the checkpoint of a step, without the suffixes of its files."""
        return self.path / f"ckpt-{step}"

    def steps(self) -> list[int]:
        """Return the steps of the complete checkpoints, in order."""
        found = (re.fullmatch(rf"ckpt-(\d+){re.escape(_INDEX)}", path.name) for path in self.path.glob("ckpt-*"))
        return sorted(int(match[1]) for match in found if match)

    def announced(self) -> list[int]:
        """Return the steps that the file `checkpoint` lists, in order; some of their files may be missing."""
        return sorted(self._listed())

    def _listed(self) -> list[int]:
        """Return the same in the order of the list: the newest last."""
        try:
            state = tf.train.get_checkpoint_state(str(self.path))
        except ValueError:  # damaged; the files themselves show what exists
            return []
        names = [Path(name).name for name in state.all_model_checkpoint_paths] if state else []
        return [int(match[1]) for name in names if (match := re.fullmatch(r"ckpt-(\d+)", name))]

    def add(self, step: int, write: Callable[[Path], None]) -> None:
        """Add the checkpoint whose files `write(prefix)` writes.

        Raises:
          OSError, tf.errors.OpError: it could not be written; the existing checkpoints are unchanged.
        """
        scratch = self.scratch()
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        made = scratch / self.prefix(step).name
        write(made)
        _with_ending(made, _SUMS).write_text(json.dumps({e: _checksum(_with_ending(made, e)) for e in (_DATA, _INDEX)}))
        for path in [*(_with_ending(made, ending) for ending in _IN_ORDER), scratch]:
            _to_disk(path)
        self._move(step)
        self._announce(step)

    def recover(self) -> None:
        """Finish what a kill interrupted. Call it before the run's first restore, while no other process writes.

        A complete checkpoint that was half moved into place is moved; an incomplete one is dropped. A removal that had begun
        is finished; one that had not is cancelled, as the checkpoint may be needed now.
        """
        for sums in self.scratch().glob(f"ckpt-*{_SUMS}"):
            self._recover_move(int(sums.name.removeprefix("ckpt-").removesuffix(_SUMS)))
        for sums in self.path.glob(f"ckpt-*{_SUMS}"):
            if (self.scratch() / sums.name.replace(_SUMS, _INDEX)).exists():
                self._recover_move(int(sums.name.removeprefix("ckpt-").removesuffix(_SUMS)))
        shutil.rmtree(self.scratch(), ignore_errors=True)
        for mark in self.path.glob(f"ckpt-*{_DELETED}"):
            step = int(mark.name.removeprefix("ckpt-").removesuffix(_DELETED))
            if step in self.steps():
                mark.unlink()
            else:
                self._remove(step)

    def scratch(self) -> Path:
        """Return the folder of the checkpoint being written; a leftover one belongs to a killed process."""
        return self.path / _UNFINISHED

    def keep_only(self, steps: Iterable[int], newest: int) -> None:
        """Delete the other checkpoints, and announce `newest` as the newest."""
        kept = set(steps)
        for step in self.steps():
            if step not in kept:
                self._remove(step)
        self._announce(newest)

    def _move(self, step: int) -> None:
        """Move a complete checkpoint into place. One of the same step that is there loses its index first."""
        made = self.scratch() / self.prefix(step).name
        if _with_ending(made, _INDEX).exists():
            _with_ending(self.prefix(step), _INDEX).unlink(missing_ok=True)
        for ending in _IN_ORDER:
            if _with_ending(made, ending).exists():
                os.replace(_with_ending(made, ending), _with_ending(self.prefix(step), ending))
        _to_disk(self.path)
        shutil.rmtree(self.scratch())

    def _recover_move(self, step: int) -> None:
        """Finish a move if all files are intact, wherever they are."""
        made = self.scratch() / self.prefix(step).name
        candidates = [(e, _with_ending(prefix, e)) for prefix in (self.prefix(step), made) for e in _IN_ORDER]
        places = {ending: path for ending, path in candidates if path.exists()}  # a file in the scratch folder wins
        try:
            expected = json.loads(places[_SUMS].read_bytes())
            whole = all(_checksum(places[ending]) == expected[ending] for ending in (_DATA, _INDEX))
        except (ValueError, KeyError, TypeError):
            return  # it was incomplete
        if whole:
            self._move(step)

    def _remove(self, step: int) -> None:
        """Delete a checkpoint. If this is killed, a mark says that the rest is to be deleted, and isn't damaged."""
        mark = _with_ending(self.prefix(step), _DELETED)
        mark.touch()
        for ending in reversed(_IN_ORDER):
            _with_ending(self.prefix(step), ending).unlink(missing_ok=True)
        mark.unlink()

    def _announce(self, newest: int) -> None:
        """Replace the file that `tf.train.latest_checkpoint` reads. Later steps may exist: damaged, or abandoned."""
        steps = [step for step in self.steps() if step != newest]
        if self._listed() == [*steps, newest]:
            return
        names = [self.prefix(step).name for step in [*steps, newest]]
        # A `CheckpointState` as text, as TensorFlow's own function writes it, which logs that it is deprecated.
        lines = [f'model_checkpoint_path: "{names[-1]}"', *(f'all_model_checkpoint_paths: "{name}"' for name in names)]
        replace_file(self.path / "checkpoint", ["".join(f"{line}\n" for line in lines).encode()])


def damage(prefix: Path) -> str | None:
    """Describe which file of the checkpoint at `prefix` is damaged; None if none is, or if it has no checksums."""
    sums = _with_ending(prefix, _SUMS)
    if not sums.exists():
        return None
    try:
        expected = json.loads(sums.read_bytes())
        for ending in (_DATA, _INDEX):
            path = _with_ending(prefix, ending)
            if not path.exists():
                return f"{path.name} is missing"
            if _checksum(path) != expected[ending]:
                return f"the checksum of {path.name} differs from what was written"
    except (ValueError, KeyError, TypeError):
        return f"{sums.name} is damaged"
    except OSError as error:
        return f"{prefix.name} cannot be read ({error.strerror or error})"
    return None


def _with_ending(prefix: Path, ending: str) -> Path:
    return prefix.with_name(prefix.name + ending)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(path: Path) -> None:
    """Return once the file, or the folder's list of names, would survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
