import errno
import os

import pytest
from tallyloop.metrics.atomic_file import replace_file


class TestReplaceFile:
    def test_creates_the_file(self, tmp_path):
        replace_file(tmp_path / "new.json", [b"one ", b"two"])
        assert (tmp_path / "new.json").read_bytes() == b"one two"
        assert [each.name for each in tmp_path.iterdir()] == ["new.json"]

    def test_replaces_the_file_instead_of_writing_into_it(self, tmp_path):
        path = tmp_path / "file"
        path.write_bytes(b"old")
        with path.open("rb") as reader:
            replace_file(path, [b"new"])
            assert reader.read() == b"old"
        assert path.read_bytes() == b"new"

    @pytest.mark.parametrize("moment", ["fsync", "replace"])
    def test_a_failure_leaves_the_old_file_and_nothing_else(self, tmp_path, monkeypatch, moment):
        path = tmp_path / "file"
        path.write_bytes(b"old")

        def full_disk(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, moment, full_disk)
        with pytest.raises(OSError, match="No space left"):
            replace_file(path, [b"new"])
        assert path.read_bytes() == b"old"
        assert [each.name for each in tmp_path.iterdir()] == ["file"]

    def test_the_content_is_on_the_disk_before_it_is_moved(self, tmp_path, monkeypatch):
        calls = []
        for name in ("fsync", "replace"):
            original = getattr(os, name)
            monkeypatch.setattr(os, name, lambda *args, n=name, f=original: (calls.append(n), f(*args)))
        replace_file(tmp_path / "file", [b"new"])
        assert calls == ["fsync", "replace"]

    def test_the_temporary_file_is_not_an_event_file_and_not_shared_between_files(self, tmp_path, monkeypatch):
        seen = []
        monkeypatch.setattr(os, "fsync", lambda _: seen.append([each.name for each in tmp_path.iterdir()]))
        replace_file(tmp_path / "events.out.tfevents.1", [b""])
        (tmp_path / "events.out.tfevents.1").unlink()
        replace_file(tmp_path / "run.json", [b""])
        assert seen == [[".events.out.events.1.tmp"], [".run.json.tmp"]]

    def test_what_a_kill_left_behind_is_overwritten(self, tmp_path):
        (tmp_path / ".file.tmp").write_bytes(b"half of a longer file")
        replace_file(tmp_path / "file", [b"new"])
        assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("file", b"new")]
