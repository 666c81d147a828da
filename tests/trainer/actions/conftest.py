"""A run with actions that write, and its twin without any."""

import keras
import numpy as np
import pytest
from tallyloop.data import Input
from tallyloop.trainer.actions import Charts, ExportBest, Profile, WriteGraph, WriteHistograms, WriteImages, WriteText
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader


@pytest.fixture(scope="session")
def written():
    """written(folder, split) -> (step, tag, value proto) of all that is in the event files of a split, in order."""

    def read(folder, split):
        events = [e for path in sorted((folder / split).glob("*tfevents*")) for e in EventFileLoader(str(path)).Load()]
        return [(event.step, value.tag, value) for event in events for value in event.summary.value]

    return read


def _picture(trainer):
    return np.full([2, 3, 4, 3], trainer.step / 12, np.float32)


@pytest.fixture(scope="session")
def twins(make_trainer, rows, tmp_path_factory):
    """(Trainers, folders) of two equal runs of 12 steps, evaluated at every fourth; the first has actions."""

    def train(*actions):
        folder = tmp_path_factory.mktemp("twin")
        trainer = make_trainer(
            train_steps=12,
            steps_per_loop=4,
            summary_interval=3,
            eval_interval=4,
            checkpoint_interval=6,
            best_metric="test/loss",
            best_mode="min",
            optimizer=lambda: keras.optimizers.Adam(0.05),
            eval_datasets={"test": Input(rows(40), 16)},
            actions=actions,
            model_dir=folder,
        )
        trainer.train_and_eval()
        return trainer, folder

    with_actions = train(
        WriteText(lambda trainer: f"step {trainer.step}", "samples"),
        WriteImages(_picture, when="summary"),
        WriteHistograms(),
        Profile(after=5, steps=2),
        ExportBest(),
        Charts({"own": {"mine": ["loss", "update_ratio/.*"]}}),
        WriteGraph(),
    )
    return with_actions, train()
