"""A note of what must be the same when a run continues."""

import tensorflow as tf
from tallyloop.data.same_data import SameData


def test_names_the_first_that_differs(tmp_path, refused):
    tf.train.Checkpoint(note=SameData("rows", {"length": 5, "seed": 1}).variable).write(str(tmp_path / "saved"))
    same, other = SameData("rows", {"length": 5, "seed": 1}), SameData("rows", {"length": 5, "seed": 2})
    for each in (same, other):
        tf.train.Checkpoint(note=each.variable).read(str(tmp_path / "saved")).assert_consumed()
    same.check("data")
    expected = "The train data: expected seed = 1, as in the checkpoint, got 2: continue with the same data, or choose"
    with refused(expected):
        other.check("data")
