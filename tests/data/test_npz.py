"""NumPy archives: good ones, and every way in which they are not."""

import re
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


def says(message):
    return pytest.raises(UsageError, match=re.escape(message))


def test_arrays_by_key(archive):
    found = npz(archive, keys=["x", "y"])
    np.testing.assert_array_equal(found["x"], [[0, 1], [2, 3], [4, 5]])
    assert list(found) == ["x", "y"]
    assert found["y"].tolist() == [1, 2, 3]


def test_arrays_renamed(archive):
    assert npz(str(archive), keys={"label": "y"})["label"].tolist() == [1, 2, 3]


def test_all_arrays_and_compressed(tmp_path):
    np.savez_compressed(tmp_path / "c.npz", a=[1, 2], b=["p", "q"])
    found = npz(tmp_path / "c.npz")
    assert found["a"].tolist() == [1, 2]
    assert found["b"].tolist() == ["p", "q"]


def test_absent_or_a_folder(tmp_path):
    with says(f"npz: '{tmp_path}/no.npz' cannot be read (No such file or directory); correct npz.path"):
        npz(tmp_path / "no.npz")
    with says("cannot be read (Is a directory)"):
        npz(tmp_path)


@pytest.mark.parametrize("content", [b"", b"x,y\n1,2\n", b"PK\x03\x04 and no more"])
def test_no_archive(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with says("a.npz' is no .npz archive, or only the beginning of one"):
        npz(tmp_path / "a.npz")


def test_a_single_array_is_no_archive(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(3))
    with says("a.npy' is no .npz archive"):
        npz(tmp_path / "a.npy")


def test_missing_keys_are_listed(archive):
    with says("data.npz' has no array ['q', 'w']: it has ['x', 'y', 'z']; change npz.keys"):
        npz(archive, keys=["w", "x", "q"])
    with says("npz.keys = 'x': want a list of names; write npz.keys = ['x']"):
        npz(archive, keys="x")


def test_unequal_lengths(archive):
    with says("data.npz' has arrays of different lengths {'x': 3, 'y': 3, 'z': 5}"):
        npz(archive)


def test_pickled_objects_are_not_loaded(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "exploded"), "w"))

    np.savez(tmp_path / "p.npz", x=np.array([Bomb()], dtype=object))
    with says("p.npz': 'x' holds pickled Python objects"):
        npz(tmp_path / "p.npz")
    assert not (tmp_path / "exploded").exists()


def test_another_file_in_the_archive_is_no_array(tmp_path):
    with zipfile.ZipFile(tmp_path / "z.npz", "w") as archive:
        archive.writestr("notes.txt", "x, y")
    with says("z.npz': 'notes.txt' is not an array: want what np.savez writes"):
        npz(tmp_path / "z.npz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_cut_anywhere(tmp_path, save):
    save(tmp_path / "whole.npz", x=np.arange(40), y=np.arange(40))
    content = (tmp_path / "whole.npz").read_bytes()
    cut = tmp_path / "cut.npz"
    for length in np.random.default_rng(0).integers(0, len(content), 60):
        cut.write_bytes(content[:length])
        with says("cut.npz'"):
            npz(cut)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_flipped_byte_is_found_or_harmless(tmp_path, save):
    save(tmp_path / "whole.npz", x=np.arange(40), y=np.arange(40))
    content = (tmp_path / "whole.npz").read_bytes()
    found = 0
    for at in range(len(content)):
        (tmp_path / "bad.npz").write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        try:
            arrays = npz(tmp_path / "bad.npz")
        except UsageError:
            found += 1
        else:
            assert all(np.array_equal(array, np.arange(40)) for array in arrays.values())
    assert found > len(content) // 2
