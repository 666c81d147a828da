"""What an action writes besides metrics: where it goes, and that a rerun takes it back."""

import pytest
from tallyloop.metrics import UsageError
from tallyloop.trainer.loop.board import Board
from tallyloop.trainer.loop.run_writer import NullWriter


class Writer:
    def __init__(self):
        self.added = []

    def add(self, split, step, value):
        self.added.append((split, step, value.tag, value.metadata.plugin_data.plugin_name))


def test_each_kind_goes_to_its_split_at_the_step():
    writer = Writer()
    board = Board(writer, lambda: 7)
    board.text("a", "text")
    board.images("b", [[0.0]], "eval")
    board.histogram("c", [1, 2])
    board.scalar("d", 3)
    assert writer.added == [
        ("train", 7, "a", "text"),
        ("eval", 7, "b", "images"),
        ("train", 7, "c", "histograms"),
        ("train", 7, "d", "scalars"),
    ]


def test_other_workers_write_nothing():
    Board(NullWriter(saves=True), lambda: 7).text("a", "text")


def test_a_trainer_has_no_board_outside_of_training(make_trainer):
    with pytest.raises(UsageError, match=r"trainer.board: no training is running"):
        _ = make_trainer().board


def test_a_rerun_writes_the_points_past_the_checkpoint_again(make_trainer, tmp_path):
    """The run fails after step 6; its checkpoint is of step 4, so step 6 is written twice and read once."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    def act(trainer, summary):
        trainer.board.scalar("mine", trainer.step)

    for steps in (6, 8):
        trainer = make_trainer(
            train_steps=steps, summary_interval=2, checkpoint_interval=4, actions=[act], model_dir=tmp_path
        )
        trainer.train()
        for path in (tmp_path / "checkpoints").glob("ckpt-6*"):
            path.unlink()
    events = [e for path in sorted((tmp_path / "train").glob("*tfevents*")) for e in EventFileLoader(str(path)).Load()]
    assert [e.step for e in events for v in e.summary.value if v.tag == "mine"] == [2, 4, 6, 8]
