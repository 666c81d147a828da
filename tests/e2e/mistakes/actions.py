"""The mistakes of docs/actions.md."""

import keras
from mistakes.tiny import train, train_and_eval
from tallyloop.trainer import configure
from tallyloop.trainer.actions import EarlyStopping, ExportBest, LearningRateFinder, Profile, StopAfter, WriteText


class Counting:
    def __init__(self, state):
        self._state = state

    def __call__(self, trainer, summary): ...

    def state(self):
        return self._state

    def restore(self, state): ...


def find_with_a_schedule():
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    train(optimizer=keras.optimizers.SGD(schedule), actions=[LearningRateFinder()])


MISTAKES = {
    "`Trainer.actions = [@EarlyStopping()]` and no more": lambda: configure(
        ["digits.gin"], ["Trainer.actions=[@EarlyStopping()]"]
    ),
    "a metric that no evaluation has": lambda: train_and_eval(actions=[EarlyStopping("acuracy", "max", 3)]),
    "a metric, and no eval dataset": lambda: train(actions=[EarlyStopping("loss", "min", 3)]),
    '`mode="maximum"`': lambda: EarlyStopping("accuracy", "maximum", 3),
    "`actions=EarlyStopping(...)`": lambda: train(actions=EarlyStopping("loss", "min", 3)),
    "`actions=[EarlyStopping]`": lambda: train(actions=[EarlyStopping]),
    "`actions=[keras.callbacks.EarlyStopping()]`": lambda: train(actions=[keras.callbacks.EarlyStopping()]),
    "a function of `(trainer)`": lambda: train(actions=[lambda trainer: None]),
    "`ExportBest()` alone": lambda: train_and_eval(actions=[ExportBest()]),
    "`StopAfter()` without a time": StopAfter,
    "`WriteText(confused(trainer))`": lambda: WriteText(["3 is taken for 8"]),
    "`LearningRateFinder()` with a schedule": find_with_a_schedule,
    "`Profile(after=20)` of a run of 20 steps": lambda: train(train_steps=20, actions=[Profile(after=20)]),
    "`state()` returns a tuple": lambda: train(actions=[Counting((1, 2))]),
    "two actions of one class with a `state`": lambda: train(actions=[Counting({}), Counting({})]),
}
