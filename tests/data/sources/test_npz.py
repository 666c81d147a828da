"""NumPy archives: good ones, and every way in which they are damaged."""

import zipfile

import numpy as np
import pytest
from tallyloop.data import npz
from tallyloop.metrics.errors import UsageError


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.arange(6.0).reshape(3, 2), y=np.array([1, 2, 3]), z=np.arange(5))
    return path


class TestKeys:
    def test_select_arrays(self, archive):
        found = npz(archive, keys=["x", "y"])
        np.testing.assert_array_equal(found["x"], [[0, 1], [2, 3], [4, 5]])
        assert list(found) == ["x", "y"]
        assert found["y"].tolist() == [1, 2, 3]

    def test_rename_arrays(self, archive):
        assert npz(str(archive), keys={"label": "y"})["label"].tolist() == [1, 2, 3]

    def test_are_all_by_default(self, tmp_path):
        np.savez_compressed(tmp_path / "c.npz", a=[1, 2], b=["p", "q"])
        found = npz(tmp_path / "c.npz")
        assert found["a"].tolist() == [1, 2]
        assert found["b"].tolist() == ["p", "q"]

    def test_that_are_missing_are_listed(self, archive, refused):
        with refused("data.npz' has no array ['q', 'w']: expected some of ['x', 'y', 'z']; change npz.keys"):
            npz(archive, keys=["w", "x", "q"])

    def test_are_a_list(self, archive, refused):
        with refused("npz.keys = 'x': expected a list of names; write npz.keys = ['x']"):
            npz(archive, keys="x")


class TestFile:
    def test_that_is_missing_or_a_folder(self, tmp_path, refused):
        with refused(f"npz: '{tmp_path}/no.npz' cannot be read (No such file or directory); correct npz.path"):
            npz(tmp_path / "no.npz")
        with refused("cannot be read (Is a directory)"):
            npz(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"x,y\n1,2\n", b"PK\x03\x04 and no more"])
    def test_that_is_not_an_archive(self, tmp_path, refused, content):
        (tmp_path / "a.npz").write_bytes(content)
        with refused("a.npz' isn't a complete .npz archive: expected a file written by np.savez"):
            npz(tmp_path / "a.npz")

    def test_of_a_single_array(self, tmp_path, refused):
        np.save(tmp_path / "a.npy", np.arange(3))
        with refused("a.npy' isn't a complete .npz archive"):
            npz(tmp_path / "a.npy")

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_cut_anywhere(self, tmp_path, refused, save):
        save(tmp_path / "whole.npz", x=np.arange(40), y=np.arange(40))
        content = (tmp_path / "whole.npz").read_bytes()
        cut = tmp_path / "cut.npz"
        for length in np.random.default_rng(0).integers(0, len(content), 60):
            cut.write_bytes(content[:length])
            with refused("cut.npz'"):
                npz(cut)

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_with_a_flipped_byte_is_refused_or_right(self, tmp_path, save):
        save(tmp_path / "whole.npz", x=np.arange(8), y=np.arange(8))
        content = (tmp_path / "whole.npz").read_bytes()
        found = 0
        for at in range(len(content)):
            (tmp_path / "bad.npz").write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
            try:
                arrays = npz(tmp_path / "bad.npz")
            except UsageError:
                found += 1
            else:
                assert all(np.array_equal(array, np.arange(8)) for array in arrays.values())
        assert found > len(content) // 2


class TestArrays:
    def test_of_different_lengths(self, archive, refused):
        with refused("data.npz' has arrays of different lengths {'x': 3, 'y': 3, 'z': 5}"):
            npz(archive)

    def test_of_pickled_objects_are_not_loaded(self, tmp_path, refused):
        class Bomb:
            def __reduce__(self):
                return (open, (str(tmp_path / "exploded"), "w"))

        np.savez(tmp_path / "p.npz", x=np.array([Bomb()], dtype=object))
        with refused("p.npz': 'x' holds pickled Python objects"):
            npz(tmp_path / "p.npz")
        assert not (tmp_path / "exploded").exists()

    def test_that_are_other_files(self, tmp_path, refused):
        with zipfile.ZipFile(tmp_path / "z.npz", "w") as archive:
            archive.writestr("notes.txt", "x, y")
        with refused("z.npz': 'notes.txt' isn't an array: expected what np.savez writes"):
            npz(tmp_path / "z.npz")
