"""Counting the updates that are left out."""

import tensorflow as tf
from tallyloop.trainer.skips import Skips

YES, NO = tf.constant(True), tf.constant(False)


def count(skips, finite):
    return bool(skips.count(tf.constant(0, tf.int64), finite, YES))


def test_more_in_a_row_than_allowed_end_the_run():
    skips = Skips(2)
    assert [count(skips, finite) for finite in (NO, NO, YES, NO, NO, NO)] == [True, True, True, True, True, False]
    assert skips.take() == 5


def test_where_none_is_allowed_the_first_ends_the_run():
    skips = Skips(0)
    assert [count(skips, finite) for finite in (YES, NO)] == [True, False]


def test_a_run_that_allows_none_forgets_those_of_the_run_before(tmp_path):
    """Or a third run, which allows some again, would take them for its own."""
    before, between, after = Skips(2), Skips(0), Skips(2)
    assert [count(before, NO), count(before, NO)] == [True, True]
    path = before.state().write(str(tmp_path / "before"))
    between.state().read(path)
    between.restored()
    after.state().read(between.state().write(str(tmp_path / "between")))
    after.restored()
    assert [count(after, NO), count(after, NO), count(after, NO)] == [True, True, False]
    assert after.take() == 3
