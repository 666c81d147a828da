"""The folder of a run's checkpoints: which are complete, which are damaged, and how they come and go."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import tensorflow as tf

from ...metrics.atomic_file import replace_file
from .integrity import DATA, INDEX, SUMS, damage, with_ending, write_sums

_IN_ORDER = (DATA, SUMS, INDEX)  # the order in which they appear: a checkpoint with an index is complete
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
        found = (re.fullmatch(rf"ckpt-(\d+){re.escape(INDEX)}", path.name) for path in self.path.glob("ckpt-*"))
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
        write_sums(made)
        for path in [*(with_ending(made, ending) for ending in _IN_ORDER), scratch]:
            _to_disk(path)
        self._move(step)
        self._announce(step)

    def recover(self) -> None:
        """Finish what a kill interrupted. Call it before the run's first restore, while no other process writes.

        A complete checkpoint that was half moved into place is moved; an incomplete one is dropped. A removal that had begun
        is finished; one that had not is cancelled, as the checkpoint may be needed now.
        """
        for sums in self.scratch().glob(f"ckpt-*{SUMS}"):
            self._recover_move(int(sums.name.removeprefix("ckpt-").removesuffix(SUMS)))
        for sums in self.path.glob(f"ckpt-*{SUMS}"):
            if (self.scratch() / sums.name.replace(SUMS, INDEX)).exists():
                self._recover_move(int(sums.name.removeprefix("ckpt-").removesuffix(SUMS)))
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
        if with_ending(made, INDEX).exists():
            with_ending(self.prefix(step), INDEX).unlink(missing_ok=True)
        for ending in _IN_ORDER:
            if with_ending(made, ending).exists():
                os.replace(with_ending(made, ending), with_ending(self.prefix(step), ending))
        _to_disk(self.path)
        shutil.rmtree(self.scratch())

    def _recover_move(self, step: int) -> None:
        """Finish a move if all files are intact, wherever they are."""
        made = self.scratch() / self.prefix(step).name
        candidates = [(e, with_ending(prefix, e)) for prefix in (self.prefix(step), made) for e in _IN_ORDER]
        places = {ending: path for ending, path in candidates if path.exists()}  # a file in the scratch folder wins
        if len(places) == len(_IN_ORDER) and _whole(places):
            self._move(step)

    def _remove(self, step: int) -> None:
        """Delete a checkpoint. If this is killed, a mark says that the rest is to be deleted, and isn't damaged."""
        mark = with_ending(self.prefix(step), _DELETED)
        mark.touch()
        for ending in reversed(_IN_ORDER):
            with_ending(self.prefix(step), ending).unlink(missing_ok=True)
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


def _whole(places: dict[str, Path]) -> bool:
    """Return whether files that lie in different folders are an undamaged checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        together = Path(folder) / "ckpt"
        for ending, path in places.items():
            with_ending(together, ending).symlink_to(path.resolve())
        return damage(together) is None


def _to_disk(path: Path) -> None:
    """Return once the file, or the folder's list of names, would survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
