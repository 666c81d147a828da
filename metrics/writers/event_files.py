"""TensorBoard's event files: appending events to a new one, and cutting old ones back to a step.

An event file is a sequence of records: 8 bytes length, 4 bytes checksum, the event, 4 bytes checksum.
"""

from __future__ import annotations

import io
import os
import re
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.summary.writer.record_writer import RecordWriter

from ..atomic_file import replace_file

_TIME_IN_NAME = re.compile(r"tfevents\.(\d{10})\.")


class EventFile:
    """A new event file in `folder`.

    Each event is in the file when `append` returns, so there is nothing to flush, and the call that meets an error, such
    as a full disk, raises it.

    Args:
      folder: the TensorBoard run; created if need be.
      restart_step: points from this step on in older files of the run are no longer valid; None leaves all valid.
      suffix: of the file's name.
    """

    def __init__(self, folder: Path, restart_step: int | None = None, suffix: str = ""):
        folder.mkdir(parents=True, exist_ok=True)
        is_first = not _files(folder)
        self._path = folder / (_new_name(folder) + suffix)
        self.append(Event(file_version="brain.Event:2"))
        # TensorBoard's Python reader forgets the points from the step of a START on. That serves a TensorBoard which is
        # running during a resume and has read points that `drop_after` can no longer take from it. It takes the first
        # START of a run for the beginning, and forgets nothing.
        if is_first or restart_step is not None:
            self.append(Event(step=restart_step or 0, session_log=SessionLog(status=SessionLog.START)))

    def append(self, event: Event) -> None:
        """Stamp the event with the current time and append it.

        Raises:
          OSError: it cannot be written. The file may then end in half a record.
        """
        event.wall_time = time.time()
        with self._path.open("ab") as file:
            RecordWriter(file).write(event.SerializeToString())


def insert(folder: Path, event: Event) -> bool:
    """Put a summary in order among those of a run: in place of the one of the same step, or before later ones.

    A file with the same summary already is left alone; another is replaced atomically.

    Args:
      folder: the TensorBoard run.
      event: holds the summary; it takes the time of the event whose place it takes.

    Returns:
      False if all summaries of the run are of earlier steps. Nothing is written then, and the event can be appended.
    """
    for path in _files(folder):
        records = list(_records(path))
        at = next((i for i, (_, old) in enumerate(records) if _is_from(old, event.step)), None)
        if at is None:
            continue
        next_event = records[at][1]
        if next_event.step > event.step or next_event.summary != event.summary:
            event.wall_time = next_event.wall_time  # The chart over time does not go back and forth.
            after = [
                record for record, old in records[at:] if not (_is_from(old, event.step) and old.step == event.step)
            ]
            replace_file(path, [*(record for record, _ in records[:at]), _record(event), *after])
        return True
    return False


def drop_after(path: Path, step: int) -> int:
    """Drop the summaries past `step`, and a record torn by a kill, from an event file.

    The file is replaced atomically, or left alone if there is nothing to drop.

    Returns:
      The number of summaries dropped.
    """
    kept, dropped = [], 0
    for record, event in _records(path):
        if event.HasField("summary") and event.step > step:
            dropped += 1
        else:
            kept.append(record)
    if sum(map(len, kept)) != path.stat().st_size:
        replace_file(path, kept)
    return dropped


def _is_from(event: Event, step: int) -> bool:
    return event.HasField("summary") and event.step >= step


def _files(folder: Path) -> list[Path]:
    """Return the event files of a run, in the order in which TensorBoard reads them."""
    return sorted(folder.glob("*tfevents*"))


def _record(event: Event) -> bytes:
    buffer = io.BytesIO()
    RecordWriter(buffer).write(event.SerializeToString())
    return buffer.getvalue()


def _records(path: Path) -> Iterator[tuple[bytes, Event]]:
    """Yield each whole record with its event, up to the end of the file or the first broken record."""
    with path.open("rb") as file:
        while len(header := file.read(12)) == 12:
            length, checksum = struct.unpack("<QI", header)
            if checksum != masked_crc32c(header[:8]):
                return
            body = file.read(length + 4)
            if len(body) < length + 4:
                return
            try:
                event = Event.FromString(body[:length])
            except DecodeError:
                return
            yield header + body, event


def _new_name(folder: Path) -> str:
    """Return a name that sorts after those of all event files in the folder.

    TensorBoard reads a run's files in the order of their names, and a point makes it forget later steps that it read
    before. Two sessions within one second, or hosts whose clocks differ, must not get the order wrong.
    """
    times = [int(found[1]) for path in folder.iterdir() if (found := _TIME_IN_NAME.search(path.name))]
    stamp = max([int(time.time()), *(taken + 1 for taken in times)])
    return f"events.out.tfevents.{stamp:010d}.{socket.gethostname()}.{os.getpid()}"
