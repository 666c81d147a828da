"""Memory-mapped arrays: what is read, and every way in which a file is damaged."""

import numpy as np
import pytest
from tallyloop.data.sources.storage.mapped import MappedArrays
from tallyloop.metrics.errors import UsageError


def resident():
    """The bytes of this process that are in memory, page cache included."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS"))


@pytest.fixture
def mapped(tmp_path):
    """mapped(content) -> the arrays of a file `x.npy` of this content."""

    def of(content):
        (tmp_path / "x.npy").write_bytes(content)
        return MappedArrays({"x": [tmp_path / "x.npy"]})

    return of


@pytest.fixture
def saved(tmp_path):
    """saved(array) -> the content of its file."""

    def content(array, **options):
        np.save(tmp_path / "saved.npy", array, **options)
        return (tmp_path / "saved.npy").read_bytes()

    return content


def test_a_gigabyte_is_not_copied(tmp_path):
    path = tmp_path / "x.npy"
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(2**20, 256))  # sparse
    array[:: 2**18, 0] = [1, 2, 3, 4]
    array.flush()
    del array
    before = resident()
    source = MappedArrays({"x": [path]})
    assert source.__getitems__(np.arange(0, 2**20, 2**18))["x"][:, 0].tolist() == [1, 2, 3, 4]
    source.__getitems__(np.random.default_rng(0).integers(0, 2**20, 256))
    assert resident() - before < 50e6


class TestDamage:
    def test_cut_anywhere(self, mapped, saved, refused):
        content = saved(np.arange(10.0))
        for length in range(0, len(content), 3):
            with refused("x.npy'"):
                mapped(content[:length])

    def test_bytes_after_the_end(self, mapped, saved, refused):
        with refused("has 209 bytes: expected 208, as its header says (10,) of int64"):
            mapped(saved(np.arange(10)) + b"\0")

    def test_a_flipped_byte_of_the_header_is_refused_or_harmless(self, mapped, saved):
        content = saved(np.arange(3.0))
        refusals = 0
        for at in range(128):
            try:
                found = mapped(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
            except UsageError:
                refusals += 1
            else:
                assert len(found) == 3
        assert refusals > 60

    def test_another_format(self, mapped, refused):
        with refused("is damaged, truncated or no .npy file"):
            mapped(b"x,y\n1,2\n" * 20)


class TestRefused:
    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (
                np.zeros((3, 2), order="F"),
                "x.npy' is in Fortran order, where each row is scattered over the whole file",
            ),
            (np.array(3), "x.npy' is a single value: expected an array with one row per example"),
            (np.zeros((0, 2)), "x.npy' has no rows: expected at least one"),
            (np.zeros(3, "M8[s]"), "x.npy' has dtype datetime64[s]: expected numbers, booleans or strings"),
            (np.zeros(3, "i4,f4"), "expected numbers, booleans or strings"),
        ],
    )
    def test_arrays(self, mapped, saved, refused, array, message):
        with refused(message):
            mapped(saved(array))

    def test_objects(self, mapped, saved, refused):
        with refused("x.npy' has dtype object, which holds Python objects: expected numbers, booleans or strings"):
            mapped(saved(np.array([{}, 1], object), allow_pickle=True))

    def test_a_missing_file_and_a_folder(self, tmp_path, refused):
        with refused("no.npy' cannot be read (No such file or directory); correct npy.path"):
            MappedArrays({"x": [tmp_path / "no.npy"]})
        with refused("cannot be read (Is a directory)"):
            MappedArrays({"x": [tmp_path]})

    def test_lengths_and_shards_that_differ(self, tmp_path, refused):
        paths = [tmp_path / f"{name}.npy" for name in "abc"]
        for path, array in zip(paths, (np.zeros((3, 2)), np.zeros((3, 1)), np.zeros(4)), strict=True):
            np.save(path, array)
        with refused(
            "npy: arrays have different lengths {'x': 3, 'y': 4}: expected the same number of rows for each key"
        ):
            MappedArrays({"x": paths[:1], "y": paths[2:]})
        with refused("npy: shards of 'x' differ: "):
            MappedArrays({"x": paths[:2]})

    def test_more_files_than_may_be_open(self, tmp_path, refused):
        import resource

        np.save(tmp_path / "x.npy", np.zeros(3))
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, limits[1]))
        try:
            with refused("cannot be read (Too many open files); raise the limit (ulimit -n), or write fewer"):
                MappedArrays({"x": [tmp_path / "x.npy"] * 1024})
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
