"""The share of the global batch that a replica works on."""

import threading

import pytest
import tensorflow as tf
from tallyloop.data.feeds.replica_share import ReplicaShare


def share(replica=2):
    return ReplicaShare(*(tf.constant(n, tf.int64) for n in (replica, 5, 3, 11)))


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
