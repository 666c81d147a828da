"""What a run was doing at a moment, deduced from the contents of its folder."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from .settings import EVAL_EVERY

_DATA, _SUMS, _INDEX = ".data-00000-of-00001", ".sha256.json", ".index"

MOMENTS = (
    "starting: imports",
    "starting: building, tracing, restoring",
    "training",
    "an evaluation",
    "a save: taking the snapshot",
    "a save: writing the files",
    "a save: flushing them to the disk",
    "a save: between the renames",
    "a save: after the renames",
    "deleting old checkpoints",
)


@dataclasses.dataclass(frozen=True)
class Moment:
    """The folder of a run at a moment.

    Attributes:
      files: path below the folder -> (inode, time of the last change).
      owner: the contents of the lock, which name the process that trains.
      newest: the step and the split of the last line of metrics.jsonl.
    """

    files: dict[str, tuple[int, int]]
    owner: str
    newest: tuple[int, str]

    @classmethod
    def of(cls, folder: Path) -> Moment:
        """Return the state of a folder, which may be changing."""
        return cls(_files(folder), _text(folder / "run.lock"), _newest(folder / "metrics.jsonl"))

    def since(self, start: Moment) -> str:
        """Return what a process that started with the folder as in `start` was doing, one of MOMENTS."""
        changed = {path for path, state in self.files.items() if start.files.get(path) != state}
        if not changed & {"metrics.jsonl", "checkpoints/.unfinished"} and self.newest == start.newest:
            return MOMENTS[0] if self.owner == start.owner else MOMENTS[1]
        if "checkpoints/.unfinished" in changed:
            return self._part_of_a_save()
        if self._torn() - start._torn():
            return "deleting old checkpoints"
        step, split = self.newest
        return "an evaluation" if split == "train" and step % EVAL_EVERY == 0 else "training"

    def _part_of_a_save(self) -> str:
        names = {Path(path).name for path in self.files if path.startswith("checkpoints/.unfinished/")}
        endings = {ending for ending in (_DATA, _SUMS, _INDEX) if any(_is_of(name, ending) for name in names)}
        if endings == {_DATA, _SUMS, _INDEX}:
            return "a save: flushing them to the disk"
        if endings and _DATA not in endings:
            return "a save: between the renames"
        if any(name.startswith("ckpt-") for name in names):
            return "a save: writing the files"
        if any(name.startswith("prototype") for name in names):
            return "a save: taking the snapshot"
        # Empty: nothing is written yet, or everything has been moved.
        return "a save: after the renames" if self._is_unannounced() else "a save: writing the files"

    def _torn(self) -> set[str]:
        """Return the checkpoints that have lost their index and not yet the rest."""
        names = {path for path in self.files if path.startswith("checkpoints/ckpt-")}
        return {path for path in names if path.endswith(_DATA) and path.replace(_DATA, _INDEX) not in names}

    def _is_unannounced(self) -> bool:
        state = self.files.get("checkpoints/checkpoint", (0, 0))[1]
        return any(
            changed > state
            for path, (_, changed) in self.files.items()
            if path.startswith("checkpoints/ckpt-") and path.endswith(_DATA)
        )


def steps(folder: Path) -> list[int]:
    """Return the steps of the complete checkpoints in the folder of a run."""
    found = (folder / "checkpoints").glob(f"ckpt-*{_INDEX}")
    return sorted(int(path.name.removeprefix("ckpt-").removesuffix(_INDEX)) for path in found)


def _is_of(name: str, ending: str) -> bool:
    return name.startswith("ckpt-") and name.endswith(ending)


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        try:
            state = path.stat()
        except FileNotFoundError:
            continue
        found[str(path.relative_to(folder))] = (state.st_ino, state.st_mtime_ns)
    return found


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _newest(path: Path) -> tuple[int, str]:
    lines = _text(path).split("\n")[:-1]
    if not lines:
        return 0, ""
    fields = json.loads(lines[-1])
    return fields["step"], fields["split"]
