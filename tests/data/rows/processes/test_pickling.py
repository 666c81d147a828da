"""What the processes are given: files instead of their contents, and one copy of the rest."""

import pickle

import numpy as np
from tallyloop.data.rows.processes.pickling import Pickled, _dumped
from tallyloop.data.rows.rows import of_arrays
from tallyloop.data.rows.transforms import Examples


class TestMemoryMaps:
    def test_are_mapped_again(self, tmp_path):
        """The whole, a part and every other column."""
        expected = np.arange(300_000).reshape(1000, 300)
        np.save(tmp_path / "x.npy", expected)
        whole = np.load(tmp_path / "x.npy", mmap_mode="r")
        for part in (np.s_[:], np.s_[500:], np.s_[3:10, ::2], np.s_[::-1]):
            pickled = _dumped(whole[part])
            assert len(pickled) < 1000
            np.testing.assert_array_equal(pickle.loads(pickled), expected[part])


class TestPickled:
    def test_is_in_shared_memory_once(self):
        arrays = {"x": np.arange(1000), "y": np.zeros((0, 3))}
        found = Pickled(Examples(of_arrays({"x": arrays["x"]}), None, 3), 1)
        *buffers, pickled = found.memory.views(found.spans)
        assert [len(each) for each in buffers] == [8000]
        assert all(start % 64 == 0 for start, _ in found.spans)
        loaded = pickle.loads(pickled, buffers=buffers)
        np.testing.assert_array_equal(loaded.read(0, np.arange(5))["x"], arrays["x"][:5])
        assert loaded.seed == 3
