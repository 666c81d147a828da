"""Checks of the Trainer's arguments; each raises a `UsageError` that names the argument."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import keras
import tensorflow as tf

from ..data import Input
from ..data.checks import number, one_of, seed_number, true_or_false, whole_number
from ..metrics.errors import UsageError
from ..metrics.writers.better import MODES, Mode
from .distribution import workers
from .distribution.startup import keep_freed_memory
from .distribution.strategies import one_device
from .loop.acting import has, instead_of_callback
from .loop.schedule import TrainLength
from .step.batches import first_batch
from .step.update import OnNonFinite
from .task import Task, has_several_losses

keep_freed_memory()  # with the import of the Trainer: later, TensorFlow's threads have taken memory already

# What cannot keep the promise that the result does not depend on the devices.
_REFUSED_STRATEGIES = {
    tf.distribute.ParameterServerStrategy: (
        "updates the weights asynchronously: the result would depend on timing, and no step would have the exact gradient "
        "of its global batch"
    ),
    tf.distribute.experimental.CentralStorageStrategy: (
        "keeps the weights in one place, and the Trainer updates a copy on each replica"
    ),
}


def positive(name: str, value: Any) -> int:
    """Return `value` if it is a whole number > 0."""
    return whole_number(f"Trainer.{name}", value, least=1)


def train_length(train_steps: Any, train_epochs: Any) -> TrainLength:
    """Return how long to train, if at most one of the two is given, and it is a whole number > 0."""
    if train_steps is not None and train_epochs is not None:
        raise UsageError(
            f"Trainer.train_steps = {train_steps!r} and Trainer.train_epochs = {train_epochs!r}: expected one of them. Remove "
            "one, or bind it to None."
        )
    for name, value in (("train_steps", train_steps), ("train_epochs", train_epochs)):
        if value is not None:
            positive(name, value)
    return TrainLength(train_steps, train_epochs)


def steps_per_loop(value: Any) -> int | Literal["auto"]:
    """Return `value` if it is "auto" or a whole number > 0."""
    if isinstance(value, str) and value == "auto":
        return "auto"
    return whole_number("Trainer.steps_per_loop", value, least=1, otherwise="'auto'")


def seed(value: Any) -> int | None:
    """Return `value` if it is None or a seed that Keras takes."""
    return None if value is None else seed_number("Trainer.seed", value, otherwise="None")


def keep_every(value: Any, checkpoint_interval: int) -> int | None:
    """Check that there are checkpoints at the multiples of `value`."""
    if value is None:
        return None
    if positive("keep_every", value) % checkpoint_interval:
        raise UsageError(
            f"Trainer.keep_every = {value}: checkpoints are written every {checkpoint_interval} steps, so expected a multiple of "
            "that, or another Trainer.checkpoint_interval."
        )
    return value


def update_every(value: Any, optimizer: Any) -> dict[str, int]:
    """Return how often each of several losses is updated."""
    if value is None:
        return {}
    given = f"Trainer.update_every = {value!r}"
    if not isinstance(value, Mapping):
        raise UsageError(f"{given}: expected a dict, name of a loss -> number, such as {{'generator': 5}}.")
    if not isinstance(optimizer, Mapping):
        raise UsageError(
            f"{given}: expected only with several losses, and Trainer.optimizer is not a dict of several optimizers. For one "
            "update of several steps, set Trainer.gradient_accumulation."
        )
    if not value.keys() <= optimizer.keys():
        known = ", ".join(map(repr, optimizer))
        raise UsageError(f"{given}: expected names of losses, which are those of Trainer.optimizer: {known}.")
    return {name: positive(f"update_every[{name!r}]", every) for name, every in value.items()}


def clip_global_norm(value: Any) -> float | None:
    """Return `Trainer.clip_global_norm`: None or a number > 0."""
    return None if value is None else number("Trainer.clip_global_norm", value, above=0, otherwise="None")


def as_task(task: Any) -> Task:
    """Return `task` if it is one."""
    if isinstance(task, Task):
        has_several_losses(task)  # refuses one that defines both
        return task
    instead = " A compiled model is trained by from_keras." if isinstance(task, keras.Model) else ""
    raise UsageError(
        f"Trainer.task = {task!r}: expected a Task, such as MyTask(), or in a config @ClassifierTask() (mind the parentheses)."
        f"{instead}"
    )


def as_strategy(strategy: Any) -> tf.distribute.Strategy:
    """Return the strategy, made if it is a factory; one device if None."""
    made = (strategy or one_device)() if strategy is None or callable(strategy) else strategy
    for refused, reason in _REFUSED_STRATEGIES.items():
        if isinstance(made, refused):
            raise UsageError(
                f"Trainer.strategy: a {type(made).__name__} {reason}. Use @mirrored() or @multi_worker_mirrored()."
            )
    if isinstance(made, tf.distribute.Strategy):
        return made
    raise UsageError(f"Trainer.strategy = {made!r}: expected a tf.distribute.Strategy, such as @mirrored().")


def as_input(name: str, dataset: Any) -> Input:
    """Return `dataset` if it is an Input."""
    if isinstance(dataset, Input):
        return dataset
    raise UsageError(
        f"Trainer.{name} = {_described(dataset)}: expected an Input, such as Input(source, global_batch_size=32), or in a config "
        "@train/Input() (mind the parentheses)."
    )


def to_predict(dataset: Any) -> Input:
    """Return `dataset` if it is an Input."""
    if isinstance(dataset, Input):
        return dataset
    raise UsageError(
        f"Trainer.predict: dataset = {_described(dataset)}: expected an Input, such as "
        'Input({"x": x}, global_batch_size=32).'
    )


def _described(value: Any) -> str:
    """Return what a message calls a value; arrays by their shapes, as their numbers say nothing."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {_described(each)}' for key, each in value.items())}}}"
    if isinstance(value, tuple | list):
        return f"({', '.join(map(_described, value[:3]))}{', ...' if len(value) > 3 else ''})"
    shape = getattr(value, "shape", None)
    return (
        repr(value) if shape is None or isinstance(value, type) else f"{type(value).__name__} of shape {tuple(shape)}"
    )


T = TypeVar("T")


def needed_to_train(name: str, value: T | None) -> T:
    """Return `value` if something is bound to it."""
    if value is None:
        raise UsageError(f"Trainer.{name} is needed to train, and nothing is bound to it.")
    return value


def enough_examples(where: str, dataset: Input, replicas: int) -> None:
    """Check that a full batch has an example for each replica."""
    size = dataset.global_batch_size
    if size < replicas:
        raise UsageError(
            f"{where}: Input.global_batch_size = {size} is smaller than the {replicas} replicas, some of which would never "
            f"have an example: raise it to at least {replicas}, or use fewer devices."
        )


def check_data(
    task: Task,
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    where: str,
    dataset: Input,
    train: bool,
    seeded: bool,
) -> None:
    """Let the task check the data, or what this worker reads of the first batch, and that all workers have the same."""
    if dataset.arrays is not None:
        task.check_data(model, dataset.arrays, where)
        return
    feed = (dataset.open_train if train else dataset.open_eval)(*workers.index_and_count(strategy))
    data = first_batch(feed)
    task.check_data(model, data, where)
    if feed.described is not None:
        workers.check_same_source(strategy, where, feed.described)
    elif seeded:
        workers.check_same(strategy, where, data)


def as_inputs(datasets: Any) -> dict[str, Input]:
    """Return the eval datasets by name."""
    if datasets is None:
        return {}
    if not isinstance(datasets, Mapping):
        raise UsageError(
            f'Trainer.eval_datasets = {_described(datasets)}: expected a dict, such as {{"test": Input(source)}}, or in a config '
            '{"test": @test/Input()}.'
        )
    return {_dataset_name(name): as_input(f"eval_datasets[{name!r}]", dataset) for name, dataset in datasets.items()}


def best(metric: Any, mode: Any, datasets: Mapping[str, Input]) -> tuple[str | None, Mode | None]:
    """Return the metric and the mode of the best checkpoint; both or none."""
    if metric is None and mode is None:
        return None, None
    if not isinstance(metric, str):
        raise UsageError(
            f"Trainer.best_metric = {metric!r} with best_mode = {mode!r}: expected a metric, such as 'accuracy'."
        )
    if mode not in MODES:
        raise UsageError(
            f"Trainer.best_mode = {mode!r}: expected 'max' or 'min': it is not guessed whether more or less of {metric!r} is "
            "better."
        )
    if not datasets:
        raise UsageError(f"Trainer.best_metric = {metric!r} needs Trainer.eval_datasets, which is empty.")
    return metric, mode


def on_nonfinite(value: Any, model_dir: Any) -> OnNonFinite:
    """Return what to do at a step that isn't finite."""
    what = one_of("Trainer.on_nonfinite", value, get_args(OnNonFinite))
    if what == "rollback" and model_dir is None:
        raise UsageError("Trainer.on_nonfinite = 'rollback' needs a model_dir, whose checkpoints it goes back to.")
    return what


def _dataset_name(name: Any) -> str:
    """Check a dataset's name, which becomes a folder in the run folder."""
    if isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*", name):
        return name
    raise UsageError(
        f"Trainer.eval_datasets: {name!r} isn't a valid name: expected letters, digits, '_', '-' and '.', as it names "
        "the folder eval/NAME."
    )


# What an action may have instead of being called with each summary, or besides.
_HOOKS = ("check", "start", "reached", "end")


def as_actions(actions: Any) -> list[Any]:
    """Return the actions; each must be callable, or have a method that the loop calls."""
    if isinstance(actions, str) or not isinstance(actions, Sequence):
        one = getattr(actions, "__name__", None) or f"{type(actions).__name__}(...)"
        write = f": write [{one}]" if _acts(actions) and not isinstance(actions, type) else ""
        raise UsageError(f"Trainer.actions = {actions!r}: expected a list of functions of (trainer, summary){write}.")
    for action in actions:
        kind = action if isinstance(action, type) else type(action)
        if issubclass(kind, keras.callbacks.Callback):
            instead = instead_of_callback(kind) or "a function of (trainer, summary); from_keras takes callbacks"
            raise UsageError(
                f"Trainer.actions: expected functions of (trainer, summary), got the Keras callback {kind.__name__}. Instead: "
                f"{instead}."
            )
        if isinstance(action, type):
            name = action.__name__
            raise UsageError(f"Trainer.actions: expected an action, got the class {name}: call it, as in [@{name}()].")
        if not _acts(action):
            raise UsageError(f"Trainer.actions: expected functions of (trainer, summary), got {action!r}.")
        if has(action, "state") != has(action, "restore"):
            raise UsageError(
                f"Trainer.actions: expected state() and restore(state) of {action!r}, or neither, got one of them."
            )
        if has(action, "reached") and not isinstance(getattr(action, "steps", None), Collection):
            raise UsageError(
                f"Trainer.actions: {action!r} has reached(): expected its attribute `steps`, when to call it, such as {{100}}."
            )
    return list(actions)


def _acts(action: Any) -> bool:
    return callable(action) or any(has(action, hook) for hook in _HOOKS)


def as_writers(writers: Any) -> list[Any]:
    """Return the writers; each must have `write`."""
    if isinstance(writers, str) or not isinstance(writers, Sequence):
        raise UsageError(f"Trainer.writers = {writers!r}: expected a list of writers, such as [@CsvWriter()].")
    for writer in writers:
        if isinstance(writer, type):
            name = writer.__name__
            raise UsageError(f"Trainer.writers: expected a writer, got the class {name}: call it, as in [@{name}()].")
        if not has(writer, "write"):
            raise UsageError(f"Trainer.writers: expected objects with write(summary), got {writer!r}.")
    return list(writers)


def patterns(name: str, given: Any) -> list[str]:
    """Return a list of regular expressions."""
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise UsageError(f"Trainer.{name} = {given!r}: expected a list of regular expressions, such as ['encoder'].")
    return [_pattern(name, each) for each in given]


def replacements(name: str, given: Any) -> dict[str, str]:
    """Return a dict of regular expression -> replacement."""
    if given is None:
        return {}
    if not isinstance(given, Mapping) or not all(isinstance(value, str) for value in given.values()):
        raise UsageError(f"Trainer.{name} = {given!r}: expected a dict of names, such as {{'^backbone/': 'encoder/'}}.")
    return {_pattern(name, key): value for key, value in given.items()}


def _pattern(name: str, given: Any) -> str:
    try:
        re.compile(given)
    except (re.error, TypeError) as error:
        raise UsageError(f"Trainer.{name}: {given!r} isn't a regular expression ({error}).") from error
    return given


def make_deterministic(deterministic: Any, seed: int | None) -> None:
    """Set what holds for the whole process: deterministic kernels, if asked for."""
    if true_or_false("Trainer.deterministic", deterministic):
        if seed is None:
            raise UsageError("Trainer.deterministic = True needs a seed: bind Trainer.seed to a number.")
        tf.config.experimental.enable_op_determinism()


def export_folder(folder: str | Path | None, model_dir: Path | None) -> Path:
    """Return where `Trainer.export` writes."""
    if folder is not None:
        return _below_folders("Trainer.export: folder", Path(folder))
    if model_dir is None:
        raise UsageError("Trainer.export: expected a folder, as there is no model_dir; give one.")
    return model_dir / "export"


def output_file(output: str | Path | None) -> Path | None:
    """Return where `Trainer.predict` writes."""
    if output is None:
        return None
    path = Path(output)
    if path.is_dir():
        raise UsageError(f"Trainer.predict: output = {str(path)!r}: expected a file, got a folder.")
    _below_folders("Trainer.predict: output", path, path.parent)
    return path


def _below_folders(name: str, given: Path, folder: Path | None = None) -> Path:
    """Return `given`, if what there is of `folder` are folders."""
    for each in (folder or given, *(folder or given).parents):
        if each.exists() and not each.is_dir():
            if each == given:
                raise UsageError(f"{name} = {str(given)!r}: expected a folder, got a file.")
            raise UsageError(f"{name} = {str(given)!r}: expected a path in a folder, and {str(each)!r} is none.")
    return given
