"""The mistakes of docs/python.md."""

import gin
from mistakes.tiny import Line
from tallyloop.trainer import configure, launch

CONFIG = [
    "Trainer.optimizer=@keras.optimizers.SGD()",
    "Trainer.train_dataset=@Input()",
    "Trainer.train_steps=1",
    "Input.source=@digits",
    "Input.global_batch_size=64",
]


@gin.register
class NotebookTask(Line): ...


def digits(*bindings):
    return configure(["digits.gin"], ["Trainer.train_steps=1", *bindings])


def twice_in_one_folder():
    for rate in (0.1, 0.2):
        launch(["digits.gin"], ["Trainer.train_steps=1", f"Adam.learning_rate={rate}"], model_dir="run")


MISTAKES = {
    '`configure("digits.gin")`': lambda: configure("digits.gin"),
    '`gin_params={"Trainer.seed": 1}`': lambda: configure(["digits.gin"], {"Trainer.seed": 1}),
    '`gin_params=["Trainer.train_step=3"]`': lambda: digits("Trainer.train_step=3"),
    '`gin_params=["Trainer.task=@ClassifierTask"]`': lambda: digits("Trainer.task=@ClassifierTask"),
    "a binding of something that is not used": lambda: digits("mnist.path='data'").train_and_eval(),
    "a task without `@gin.register`": lambda: configure(gin_params=["Trainer.task=@Mine()", *CONFIG]),
    '`launch(["digits.gin"])`': lambda: launch(["digits.gin"]),
    '`launch(..., mode="trian")`': lambda: launch(["digits.gin"], model_dir="run", mode="trian"),
    '`launch(..., mode="tune")`': lambda: launch(["digits.gin"], model_dir="run", mode="tune"),
    "`launch(..., virtual_cpus=8)` in the third cell": lambda: launch(["digits.gin"], model_dir="run", virtual_cpus=8),
    "`launch(..., workers=2)` with a task of the notebook": lambda: launch(
        gin_params=["Trainer.task=@NotebookTask()", *CONFIG], model_dir="run", workers=2
    ),
    "two runs in one `model_dir`": twice_in_one_folder,
}
