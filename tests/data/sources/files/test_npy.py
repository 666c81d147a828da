"""Memory-mapped arrays: which files are which rows of which key."""

import numpy as np
import pytest
from tallyloop.data import npy

X = np.arange(20, dtype=np.float32).reshape(10, 2)
Y = np.arange(10)


@pytest.fixture
def save(tmp_path):
    """save(name, array) writes a file below the folder, and returns its path."""

    def write(name, array):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        np.save(tmp_path / name, array)
        return tmp_path / name

    return write


class TestLayout:
    def test_a_file_is_one_key(self, save, by_number):
        found = by_number(npy(save("x.npy", X)))
        np.testing.assert_array_equal(found["x"], X)
        assert found["x"].dtype == np.float32

    def test_a_folder_has_one_file_per_key(self, save, tmp_path, by_number):
        save("x.npy", X)
        save("feature_1.npy", Y)
        save("2.npy", Y)
        found = by_number(npy(str(tmp_path)))
        assert list(found) == ["2", "feature_1", "x"]
        assert found["feature_1"].tolist() == Y.tolist()

    def test_keys_are_cut_into_shards_of_their_own(self, save, tmp_path, by_number):
        for number, part in enumerate(np.split(X, [1, 1, 7])):  # one of them is empty
            save(f"x/{number:05}.npy", part)
        save("y-9-of-10.npy", Y[9:])
        for number in range(9):
            save(f"y-{number}-of-10.npy", Y[number : number + 1])  # by number: 10 would come before 2 by name
        found = by_number(npy(tmp_path))
        np.testing.assert_array_equal(found["x"], X)
        np.testing.assert_array_equal(found["y"], Y)

    def test_numbers_may_begin_with_1(self, save, tmp_path):
        for number in range(1, 12):
            save(f"x-{number}.npy", Y[:1] + number)
        assert npy(tmp_path).__getitems__(np.arange(11))["x"].tolist() == list(range(1, 12))

    @pytest.mark.parametrize("dtype", [">f4", ">i8", "?", "f2", "S3", "U2", "c8"])
    def test_dtypes(self, save, by_number, dtype):
        array = np.arange(4).astype(dtype)
        found = by_number(npy(save("x.npy", array)))["x"]
        assert found.dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, array)


class TestFingerprint:
    def test_is_of_the_files(self, save, tmp_path):
        save("a/x.npy", X)
        save("b/x.npy", X)
        first = npy(tmp_path / "a").fingerprint
        assert first == npy(tmp_path / "b").fingerprint
        save("b/x.npy", X + 1)
        assert first != npy(tmp_path / "b").fingerprint


class TestRefused:
    def test_nothing_there(self, tmp_path, refused):
        with refused(f"npy.path = '{tmp_path}/no': expected a .npy file or a folder of them, which isn't there"):
            npy(tmp_path / "no")
        with refused("has no .npy files: expected some, such as x.npy or x/00000.npy"):
            npy(tmp_path)

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (["x/0.npy", "x/2.npy", "x/5.npy"], "npy: shards [1, 3, 4] of 'x' are missing beside "),
            (["x-3.npy"], "npy: shards [1, 2] of 'x' are missing"),
            (["x-0-of-2.npy"], "npy: shards [1] of 'x' are missing"),
            (["x/0.npy", "x/00.npy"], "x/00.npy': expected shards of 'x' with a number each, such as 00000.npy"),
            (["x/0.npy", "x/a.npy"], "x/a.npy': expected shards of 'x' with a number each"),
            (["x/0.npy", "x.npy"], "has both a folder and files of ['x']"),
            (["x-0.npy", "x.npy"], "npy: both a file and shards of ['x'] are in "),
        ],
    )
    def test_shards_that_are_missing_or_ambiguous(self, save, tmp_path, refused, names, message):
        for name in names:
            save(name, Y)
        with refused(message):
            npy(tmp_path)
