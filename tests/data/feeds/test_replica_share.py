"""The share of the global batch that a replica works on."""

import threading

import pytest
import tensorflow as tf
from tallyloop.data.feeds.replica_share import ReplicaShare


def share(replica=2, replicas=4, rows=3, examples=11):
    return ReplicaShare.of(*(tf.constant(n, tf.int64) for n in (replica, replicas, rows, examples)))


def test_begins_where_the_feed_cuts():
    # 11 examples over 4 replicas: 0-1, 2-4, 5-7, 8-10.
    assert [int(share(replica).first) for replica in range(4)] == [0, 2, 5, 8]
    assert [int(number) for number in share()] == [2, 5, 3, 11]


class TestCurrent:
    def test_is_none_outside(self):
        assert ReplicaShare.current() is None

    def test_nests(self):
        outer, inner = share(0), share(1)
        with outer.active():
            with inner.active():
                assert ReplicaShare.current() is inner
            assert ReplicaShare.current() is outer
        assert ReplicaShare.current() is None

    def test_ends_with_an_error(self):
        with pytest.raises(KeyError), share().active():
            raise KeyError
        assert ReplicaShare.current() is None

    def test_belongs_to_the_thread(self):
        found = []
        with share().active():
            other = threading.Thread(target=lambda: found.append(ReplicaShare.current()))
            other.start()
            other.join()
        assert found == [None]
