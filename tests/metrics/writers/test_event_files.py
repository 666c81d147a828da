"""Event files, as TensorBoard's own reader has them."""

import errno
import re
import time

import pytest
from tallyloop.metrics.writers.event_files import EventFile, drop_after, insert
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary


def point(step, value):
    return Event(step=step, summary=Summary(value=[Summary.Value(tag="loss", simple_value=value)]))


def events(folder):
    """All events of a run, file after file in the order of their names."""
    return [event for path in sorted(folder.iterdir()) for event in LegacyEventFileLoader(str(path)).Load()]


def points(folder):
    return [(e.step, e.summary.value[0].simple_value) for e in events(folder) if e.HasField("summary")]


def starts(folder):
    """The steps of the restarts, before which TensorBoard forgets later points."""
    return [event.step for event in events(folder) if event.session_log.status == SessionLog.START]


def only_file(folder):
    (path,) = folder.iterdir()
    return path


@pytest.fixture
def write(tmp_path):
    """write(*steps, **arguments) -> an event file of these steps, whose values are a tenth of them."""

    def make(*steps, **arguments):
        file = EventFile(tmp_path / "train", **arguments)
        for step in steps:
            file.append(point(step, step / 10))
        return tmp_path / "train"

    return make


@pytest.fixture
def folder(write):
    """A run with the steps 10 to 50."""
    return write(10, 20, 30, 40, 50)


class TestEventFile:
    def test_point_can_be_read_on_return(self, folder):
        assert points(folder) == [(10, 1), (20, 2), (30, 3), (40, 4), (50, 5)]
        assert events(folder)[0].file_version == "brain.Event:2"

    def test_events_have_the_time_of_the_append(self, write, monkeypatch):
        monkeypatch.setattr(time, "time", lambda: 1700000900.5)
        assert {event.wall_time for event in events(write(10))} == {1700000900.5}

    def test_first_file_starts_the_run(self, write):
        write(10)
        assert starts(write(20)) == [0]

    def test_restart(self, write):
        write(10, 20)
        assert starts(write(20, restart_step=11)) == [0, 11]

    def test_files_of_one_second_and_of_a_wrong_clock_are_in_order(self, write, monkeypatch):
        for step, clock in [(10, 1700000900.0), (20, 1700000900.5), (30, 1700000000.0)]:
            monkeypatch.setattr(time, "time", lambda clock=clock: clock)
            folder = write(step)
        stamps = [int(re.search(r"tfevents\.(\d+)", path.name)[1]) for path in sorted(folder.iterdir())]
        assert stamps == [1700000900, 1700000901, 1700000902]
        assert points(folder) == [(10, 1), (20, 2), (30, 3)]


class TestDropAfter:
    def test_later_points(self, folder):
        assert drop_after(only_file(folder), 30) == 2
        assert points(folder) == [(10, 1), (20, 2), (30, 3)]
        assert starts(folder) == [0]

    def test_nothing_to_drop(self, folder):
        """The file is not written again."""
        before = only_file(folder).stat()
        assert drop_after(only_file(folder), 50) == 0
        after = only_file(folder).stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    def test_failure_leaves_the_file(self, folder, monkeypatch):
        def full_disk(descriptor):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("os.fsync", full_disk)
        with pytest.raises(OSError, match="No space left"):
            drop_after(only_file(folder), 30)
        assert [step for step, _ in points(folder)] == [10, 20, 30, 40, 50]
        only_file(folder)  # there is no temporary one beside it

    @pytest.mark.parametrize("lost", [2, 5, 40])  # of the checksum, of the event, and of the header before it
    def test_record_torn_by_a_kill(self, folder, lost):
        file = only_file(folder)
        whole = file.read_bytes()
        file.write_bytes(whole[:-lost])
        assert drop_after(file, 100) == 0
        assert len(file.read_bytes()) < len(whole) - lost
        assert points(folder) == [(10, 1), (20, 2), (30, 3), (40, 4)]

    def test_zeros_left_by_a_power_cut(self, folder):
        file = only_file(folder)
        whole = file.read_bytes()
        file.write_bytes(whole + b"\0" * 100)
        assert drop_after(file, 100) == 0
        assert file.read_bytes() == whole


class TestInsert:
    @pytest.mark.parametrize(
        ("step", "expected"),
        [
            (5, [(5, 99), (10, 1), (20, 2), (30, 3), (40, 4), (50, 5)]),
            (20, [(10, 1), (20, 99), (30, 3), (40, 4), (50, 5)]),
            (45, [(10, 1), (20, 2), (30, 3), (40, 4), (45, 99), (50, 5)]),
            (50, [(10, 1), (20, 2), (30, 3), (40, 4), (50, 99)]),
        ],
    )
    def test_in_order(self, folder, step, expected):
        assert insert(folder, point(step, 99))
        assert points(folder) == expected

    def test_takes_the_time_of_its_place(self, folder):
        """The chart over time does not go back and forth."""
        times = {event.step: event.wall_time for event in events(folder) if event.HasField("summary")}
        assert insert(folder, point(25, 99))
        assert {event.step: event.wall_time for event in events(folder)}[25] == times[30]

    def test_after_all_others(self, folder):
        """The caller appends it."""
        before = only_file(folder).read_bytes()
        assert not insert(folder, point(60, 6))
        assert only_file(folder).read_bytes() == before
        assert not insert(folder.parent / "no such run", point(60, 6))

    def test_equal_point_touches_no_file(self, folder):
        before = only_file(folder).stat()
        assert insert(folder, point(30, 3))
        after = only_file(folder).stat()
        assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)

    def test_in_the_file_of_the_next(self, write):
        write(10, 20)
        folder = write(30, 40)
        first = min(folder.iterdir())
        before = first.read_bytes()
        assert insert(folder, point(25, 99))
        assert first.read_bytes() == before
        assert points(folder) == [(10, 1), (20, 2), (25, 99), (30, 3), (40, 4)]
