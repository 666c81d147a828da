"""Skipping rows by number that cannot be read or transformed."""

import keras
import numpy as np
import pytest
from tallyloop.data import Input
from tallyloop.metrics import UsageError
from tallyloop.metrics.errors import DataError
from tallyloop.trainer import Task, Trainer

BAD = (3, 4, 5, 6, 17)


class Holes:
    """Twenty rows, of which some cannot be read."""

    def __len__(self):
        return 20

    def __getitems__(self, rows):
        if set(rows.tolist()) & set(BAD):
            raise OSError("a hole in the disk")
        return {"y": rows.astype(np.float32)}


def refusing(example, rng):
    if int(example["y"]) in BAD:
        raise ValueError("not this one")
    return example


def rows_of(kind):
    """Holes, or whole rows that a transform refuses."""
    return (Holes(), {}) if kind == "holes" else ({"y": np.arange(20, dtype=np.float32)}, {"transform": refusing})


class Mean(Task):
    """The loss of an example is its number; the gradient of w is their mean."""

    def build_model(self):
        inputs = keras.Input(())
        return keras.Model(inputs, keras.layers.Dense(1, use_bias=False)(inputs[:, None]))

    def loss(self, model, batch, training):
        return model(batch["y"], training=training)[:, 0]

    def predict_step(self, model, batch):
        return model(batch["y"])


@pytest.mark.parametrize("kind", ["holes", "transform"])
def test_an_evaluation_leaves_them_out(mirrored_on, kind):
    """The second of five batches of 4 has three bad ones, that of rows 4 to 7; a batch of bad ones only is not the end."""
    source, options = rows_of(kind)
    for batch_size, replicas in ((4, 3), (2, 1)):
        trainer = Trainer(
            task=Mean(),
            strategy=mirrored_on(replicas),
            eval_datasets={"test": Input(source, batch_size, on_error="skip", **options)},
        )
        trainer.model.set_weights([np.ones((1, 1), np.float32)])
        found = trainer.evaluate()["test"]
        good = [row for row in range(20) if row not in BAD]
        assert found["loss"] == pytest.approx(np.mean(good), rel=1e-6)
        assert found["data/skipped"] == len(BAD)
        assert trainer.predict(Input(Holes(), batch_size, on_error="skip")).shape == (len(good), 1)


def test_training_takes_the_mean_of_the_others(mirrored_on):
    """Two steps of 10 rows, without 3, 4, 5 and 6, and without 17: w = 1 - mean - mean."""
    trainer = Trainer(
        task=Mean(), optimizer=keras.optimizers.SGD(1.0), strategy=mirrored_on(3), train_steps=2,
        train_dataset=Input(Holes(), 10, shuffle=False, on_error="skip"),
    )  # fmt: skip
    trainer.model.set_weights([np.ones((1, 1), np.float32)])
    trainer.train()
    means = [np.mean([row for row in rows if row not in BAD]) for rows in (range(10), range(10, 20))]
    assert trainer.model.get_weights()[0].item() == pytest.approx(1 - sum(means), rel=1e-6)


def test_a_batch_of_bad_ones_only_ends_the_run(data_error):
    feed = Input(Holes(), 2, shuffle=False, on_error="skip").open_train()
    feed.seek(2)
    message = str(data_error(feed, step=2))
    assert "all examples of a global batch are bad (the source of Input, row 4: OSError: a hole in the disk" in message


def test_the_first_row_may_be_bad(read):
    rows = [{"y": np.float32(i)} for i in range(4)]
    assert read(Input(rows, 4, transform=odd_only, on_error="skip").open_eval(), 0, 1)[0]["y"].tolist() == [1, 3]
    with pytest.raises(DataError, match="row 0: ValueError: even"):
        Input(rows, 4, transform=odd_only).open_eval()


def odd_only(example, rng):
    if example["y"] % 2 == 0:
        raise ValueError("even")
    return example


def test_full_batches_conflict():
    with pytest.raises(UsageError, match=r"Input.drop_remainder = True needs full ones"):
        Input(Holes(), 2, drop_remainder=True, on_error="skip").open_train()
