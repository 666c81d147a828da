"""Files: those that match, their fingerprint, and the folder of what is made of them."""

import os
import threading

import pytest
from tallyloop.data.sources.storage.files import cached, fingerprint, matching


class TestMatching:
    def test_is_in_the_order_of_the_list_and_by_name_in_a_pattern(self, tmp_path):
        for name in ("b", "a", "c[1]"):
            (tmp_path / name).touch()
        found = matching("text.path", [f"{tmp_path}/c[1]", f"{tmp_path}/[ab]"])
        assert [os.path.basename(path) for path in found] == ["c[1]", "a", "b"]

    def test_passes_over_hidden_names(self, tmp_path):
        cached(tmp_path / "a", "key", lambda folder: None)
        (tmp_path / "a").touch()
        assert matching("text.path", f"{tmp_path}/*") == [f"{tmp_path}/a"]
        assert matching("text.path", f"{tmp_path}/.t*") == [f"{tmp_path}/.tallyloop"]

    def test_refuses_what_is_not_there(self, refused):
        with refused("text.path: expected at least one file that matches '/no/*', got none; correct it"):
            matching("text.path", "/no/*")
        with refused("text.path = []: expected a file, a pattern or a list of these"):
            matching("text.path", [])


class TestFingerprint:
    def test_is_of_names_sizes_ends_and_settings(self, tmp_path):
        file = tmp_path / "a"
        seen = set()
        for content in (b"1" * 9000, b"1" * 9001, b"2" + b"1" * 9000, b"1" * 9000 + b"2"):
            file.write_bytes(content)
            seen |= {fingerprint([file]), fingerprint([file], {"length": 3})}
        assert len(seen) == 8
        assert fingerprint([file]).startswith("1 files of 9001 bytes (")
        file.rename(tmp_path / "b")
        assert fingerprint([tmp_path / "b"]) not in seen


class TestCached:
    def test_is_built_once_and_beside_the_files(self, tmp_path):
        built = []

        def build(folder):
            built.append(folder)
            (folder / "x").write_text("done")

        (first, second) = (cached(tmp_path / "data", "key", build) for _ in range(2))
        assert first == second
        assert first.parent == tmp_path / ".tallyloop"
        assert (first / "x").read_text() == "done"
        assert len(built) == 1
        assert cached(tmp_path / "data", "another key", build) != first
        assert len(list((tmp_path / ".tallyloop").iterdir())) == 2  # and nothing half made

    def test_is_in_the_cache_where_the_folder_cannot_be_written(self, tmp_path, monkeypatch):
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / ".tallyloop").touch()  # not a folder, whoever the user is
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        found = cached(tmp_path / "data" / "x", "key", lambda folder: (folder / "y").touch())
        assert found.parent == tmp_path / "cache" / "tallyloop"

    def test_in_the_cache_is_of_one_folder(self, tmp_path, monkeypatch):
        """Files of two folders that are alike by name, size and time have the same key."""
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        found = []
        for name in "ab":
            (tmp_path / name).mkdir()
            (tmp_path / name / ".tallyloop").touch()
            found.append(cached(tmp_path / name / "x", "key", lambda folder: (folder / "y").touch()))
        assert found[0] != found[1]

    def test_nowhere_to_write_is_told(self, tmp_path, monkeypatch, refused):
        (tmp_path / ".tallyloop").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ".tallyloop"))
        with refused("that can be written; set XDG_CACHE_HOME to a folder that can"):
            cached(tmp_path / "x", "key", lambda folder: None)

    def test_two_at_once_agree(self, tmp_path):
        barrier = threading.Barrier(2)
        found = []

        def build(folder):
            barrier.wait(10)
            (folder / "x").write_text("done")

        threads = [threading.Thread(target=lambda: found.append(cached(tmp_path / "a", 1, build))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(found)) == 1
        assert (found[0] / "x").read_text() == "done"
        assert len(list((tmp_path / ".tallyloop").iterdir())) == 1

    def test_a_failed_build_leaves_nothing(self, tmp_path):
        with pytest.raises(ZeroDivisionError):
            cached(tmp_path / "a", 1, lambda folder: 1 / 0)
        assert list((tmp_path / ".tallyloop").iterdir()) == []
