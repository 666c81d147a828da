"""Shards, and the order of their examples."""

import ml_dtypes
import numpy as np
import pytest
from tallyloop.trainer.prediction.shard import MadeShard, StoredShard, in_order

BATCHES = [[np.array([1, 2]), np.array([b"a", b"\xff"], object)], [np.array([3]), np.array([b""], object)]]


class TestStored:
    @pytest.mark.parametrize("in_a_file", [False, True])
    def test_as_it_was(self, tmp_path, in_a_file):
        content = b"".join(MadeShard.of(BATCHES).dump())
        (tmp_path / "shard").write_bytes(content)
        found = StoredShard(tmp_path / "shard" if in_a_file else content)
        assert found.rows == [2, 1]
        assert found.column(0).tolist() == [1, 2, 3]
        assert found.column(1).tolist() == [b"a", b"\xff", b""]

    @pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, bool, np.complex64])
    def test_keeps_the_dtype(self, dtype):
        column = np.array([[0, 1]], dtype)
        found = StoredShard(b"".join(MadeShard.of([[column]]).dump())).column(0)
        assert found.dtype == column.dtype
        np.testing.assert_array_equal(found, column)


class TestOrder:
    """Two workers, whose shards end at different batches."""

    ONE = (MadeShard([2, 1], [np.array([0, 1, 4])]), MadeShard([1], [np.array([6])]))
    OTHER = (MadeShard([2], [np.array([2, 3])]), MadeShard([1, 0], [np.array([5])]))

    def test_each_has_a_part_of_every_batch(self):
        found = np.concatenate(list(in_order([self.ONE, self.OTHER], 0, local=False)))
        assert found.tolist() == [0, 1, 2, 3, 4, 5, 6]

    def test_one_follows_the_other(self):
        found = np.concatenate(list(in_order([self.ONE, self.OTHER], 0, local=True)))
        assert found.tolist() == [0, 1, 4, 6, 2, 3, 5]
