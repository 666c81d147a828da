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


class TestHolder:
    """What a checkpoint holds, which may lack the note."""

    def test_takes_the_note_of_a_checkpoint(self, tmp_path, refused):
        saved, other = SameData("rows", {"seed": 1}), SameData("rows", {"seed": 2})
        saved.hold()
        tf.train.Checkpoint(note=saved.holder).write(str(tmp_path / "saved"))
        tf.train.Checkpoint(note=other.holder).read(str(tmp_path / "saved")).assert_existing_objects_matched()
        other.check("data")  # nothing was restored yet
        other.hold()
        with refused("expected seed = 1, as in the checkpoint, got 2"):
            other.check("data")

    def test_fits_a_checkpoint_without_one(self, tmp_path):
        tf.train.Checkpoint().write(str(tmp_path / "saved"))
        same = SameData("rows", {"seed": 2})
        tf.train.Checkpoint(note=same.holder).read(str(tmp_path / "saved")).assert_existing_objects_matched()
        same.hold()
        same.check("data")
