"""The loop is called as one operation where all is on one CPU, and its errors still name the user's line."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tallyloop.trainer.direct_call import DirectCall


def test_it_gives_what_the_function_gives():
    total = tf.Variable(1.0)

    @tf.function(autograph=False)
    def add(pair, factor):
        return total.assign_add(factor * (pair[0] - pair[1]))

    scalar = tf.TensorSpec([])
    traced = add.get_concrete_function((scalar, scalar), scalar)
    direct = DirectCall(traced, [])
    five, two, three = (tf.constant(value) for value in (5.0, 2.0, 3.0))
    assert float(direct((five, two), three)) == 10
    assert float(traced((five, two), three)) == 19
    assert float(direct((two, five), three)) == 10


def test_an_error_names_the_line_that_made_the_operation(regression_task, make_trainer, rows):
    class Failing(regression_task):
        def loss(self, model, batch, training):
            losses = super().loss(model, batch, training)
            index = tf.cast(batch["y"] * 0 + batch["far"], tf.int32)
            return losses + tf.gather(tf.constant([0.0]), index)  # fails

    data = rows(40) | {"far": np.repeat([0.0, 1.0], 20).astype(np.float32)}
    with pytest.raises(tf.errors.InvalidArgumentError, match="is not in") as raised:
        make_trainer(Failing(), data=data).train()
    line = 1 + next(i for i, text in enumerate(Path(__file__).read_text().splitlines()) if "# fails" in text)
    (note,) = set(raised.value.__notes__)
    assert "GatherV2 is made here:" in note
    assert f'File "{__file__}", line {line}, in loss' in note


def test_a_loop_is_not_called_by_matching_its_arguments(make_trainer, monkeypatch):
    """That is what TensorFlow's own call does, in Python, each time."""
    trainer = make_trainer(train_steps=5, steps_per_loop=1)
    trainer.prepare(evaluate=False)
    concrete = type(trainer._training.loop._traced)
    monkeypatch.setattr(concrete, "__call__", lambda *_: pytest.fail("called"))
    assert trainer._training.loop.run(0, 1)
