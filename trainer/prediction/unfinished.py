"""The shards of predictions that are not finished: a folder beside the file that they will become."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from absl import logging

from ...metrics.atomic_file import replace_file
from ...metrics.errors import UsageError
from ..loop import folder_lock
from .shard import MadeShard, StoredShard

_NOTE = "made_of.json"
_NAME = re.compile(r"worker-(\d+)-batches-(\d+)-(\d+)\.shard")


class Unfinished:
    """The folder of the shards, `.NAME.shards`, which a run that was killed continues from.

    Args:
      output: the file that they will become.
    """

    def __init__(self, output: Path):
        self._output = output
        self._folder = output.with_name(f".{output.name}.shards")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folder, and keep other processes from writing to it; for the chief.

        Raises:
          UsageError: another process writes there.
          OSError: the folder cannot be created.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(folder_lock.locked(self._folder))
            except UsageError as error:
                raise UsageError(
                    f"{self._output} is being written by another process: wait for it, stop it, or choose another output "
                    "(--model_dir)."
                ) from error
            yield

    def begin(self, note: Mapping[str, str]) -> None:
        """Keep the shards that were made of the same, and delete all others; for the chief.

        Args:
          note: what the predictions are made of; what -> its fingerprint.

        Raises:
          OSError: the folder cannot be written.
        """
        path = self._folder / _NOTE
        before = json.loads(path.read_bytes()) if path.exists() else None
        if before == note:
            return
        if before is not None:
            changed = [what for what in note if before.get(what) != note[what]]
            logging.warning(
                "%s was left unfinished and starts over, as these have changed: %s.", self._output, ", ".join(changed)
            )
        for file in self._folder.glob("*.shard"):
            file.unlink()
        replace_file(path, [json.dumps(note).encode()])

    def is_seen(self, note: Mapping[str, str]) -> bool:
        """Return whether this worker sees the folder that the chief has made for these predictions."""
        path = self._folder / _NOTE
        return path.exists() and json.loads(path.read_bytes()) == note

    def done(self, worker: int) -> int:
        """Return the number of batches from the first on whose predictions a worker has written."""
        return self._spans(worker)[-1][1] if self._spans(worker) else 0

    def add(self, worker: int, first: int, shard: MadeShard) -> None:
        """Write a worker's shard of the batches from `first` on, where it is seen only once it is whole.

        Raises:
          OSError: it cannot be written.
        """
        end = first + len(shard.rows)
        replace_file(self._folder / f"worker-{worker}-batches-{first:08d}-{end:08d}.shard", shard.dump())

    def shards(self, worker: int) -> list[StoredShard]:
        """Return a worker's shards, in order."""
        return [StoredShard(path) for *_, path in self._spans(worker)]

    def remove(self) -> None:
        """Remove the folder; for the chief."""
        shutil.rmtree(self._folder)

    def _spans(self, worker: int) -> list[tuple[int, int, Path]]:
        """Return (first batch, end, path) of each shard of a worker."""
        named = [(_NAME.fullmatch(path.name), path) for path in self._folder.iterdir()]
        return sorted((int(n[2]), int(n[3]), path) for n, path in named if n and int(n[1]) == worker)
