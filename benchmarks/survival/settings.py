"""The trainings that are killed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

TASK = "benchmarks.survival.task"
EVAL_EVERY = 40
STEPS_PER_KILL = 60  # about as far as a run gets between two kills

_COMMON = (
    "Trainer.task=@survival.Classes()",
    "Trainer.optimizer=@keras.optimizers.Adam()",
    "Trainer.train_dataset=@train/Input()",
    'Trainer.eval_datasets={"test": @test/Input()}',
    "Trainer.steps_per_loop=7",
    "Trainer.summary_interval=10",
    f"Trainer.eval_interval={EVAL_EVERY}",
    "Trainer.checkpoint_interval=25",
    "Trainer.keep_checkpoints=2",
    "Trainer.keep_every=200",
    'Trainer.best_metric="loss"',
    'Trainer.best_mode="min"',
    "keras.optimizers.Adam.learning_rate=0.01",
    "Input.global_batch_size=16",
    "train/Input.source=@train/survival.arrays",
    "train/Input.shuffle=True",
    "test/Input.source=@test/survival.arrays",
    "test/survival.arrays.seed=1",
    "test/survival.arrays.examples=100",
)
_NOISY = ("train/Input.map_fn=@survival.noisy",)
# `compare` builds the same stream.
_STREAM = ("train/Input.source=@train/survival.stream", "train/Input.shuffle_buffer=50", *_NOISY)
_SHARDS = ("train/Input.source=@survival.shard", "train/Input.shards=4", "train/Input.shuffle_buffer=50", *_NOISY)
_ROWS = (
    "train/Input.source=@Mixture()",
    "Mixture.sources=[@a/packed(), @b/packed()]",
    "Mixture.weights=[0.7, 0.3]",
    "packed.length=12",
    "a/packed.source=@a/survival.documents",
    "b/packed.source=@b/survival.documents",
    "a/survival.documents.seed=1",
    "b/survival.documents.count=40",
    "train/Input.transform=@survival.features",
)
_ACCUMULATION = ("Trainer.gradient_accumulation=4",)  # checkpoints, at multiples of 25, fall between updates
_AVERAGES = ("keras.optimizers.Adam.use_ema=True", "keras.optimizers.Adam.ema_momentum=0.9")
_LOSS_SCALE = (
    "Trainer.optimizer=@keras.optimizers.LossScaleOptimizer()",
    "keras.optimizers.LossScaleOptimizer.inner_optimizer=@keras.optimizers.Adam()",
    "keras.optimizers.LossScaleOptimizer.dynamic_growth_steps=30",
)
_SCHEDULE = (
    "keras.optimizers.Adam.learning_rate=@keras.optimizers.schedules.CosineDecay()",
    "keras.optimizers.schedules.CosineDecay.initial_learning_rate=0.02",
    "keras.optimizers.schedules.CosineDecay.decay_steps=1000",
)


@dataclasses.dataclass(frozen=True)
class Setting:
    """A training.

    Attributes:
      title: its description on the page.
      bindings: in addition to what all settings have: BatchNormalization, dropout, evaluation and a best checkpoint.
      flags: of the command.
      workers: processes that train; more than 1 have a launcher.
      readers: processes that read rows.
      share: of the kills, relative to the other settings.
    """

    title: str
    bindings: tuple[str, ...]
    flags: tuple[str, ...] = ()
    workers: int = 1
    readers: int = 0
    share: int = 1

    def arguments(self, steps: int) -> list[str]:
        """Return the arguments of the command, except for the folder."""
        bindings = [*_COMMON, *self.bindings, f"Trainer.train_steps={steps}"]
        return [f"--import_module={TASK}", *self.flags, *(f"--gin_param={binding}" for binding in bindings)]


SETTINGS: Mapping[str, Setting] = {
    "arrays": Setting(
        "shuffled arrays, moving averages of the weights, a learning-rate schedule", _AVERAGES + _SCHEDULE, share=6
    ),
    "stream": Setting(
        "a `tf.data` stream, shuffled, with a `map_fn`; a loss scale that grows",
        _STREAM + _LOSS_SCALE,
        share=4,
    ),
    "accumulation": Setting(
        "shuffled arrays with a `map_fn`, an update every 4 steps, saves between updates",
        _NOISY + _ACCUMULATION,
        share=4,
    ),
    "two_replicas": Setting(
        "2 replicas on a shuffled stream, with accumulation, moving averages and a loss scale",
        _STREAM + _ACCUMULATION + _AVERAGES + _LOSS_SCALE + ("Trainer.strategy=@mirrored()",),
        flags=("--virtual_cpus=2",),
        share=4,
    ),
    "two_workers": Setting(
        "2 workers of `--workers=2`, moving averages; the victim is a worker or the launcher",
        (*_AVERAGES, "Trainer.strategy=@multi_worker_mirrored()"),
        flags=("--workers=2", "--max_restarts=1000"),
        workers=2,
        share=2,
    ),
    "shards": Setting(
        "2 workers of `--workers=2`, each with its half of the 4 shards of a shuffled stream with a `map_fn`",
        (*_SHARDS, "Trainer.strategy=@multi_worker_mirrored()"),
        flags=("--workers=2", "--max_restarts=1000"),
        workers=2,
        share=2,
    ),
    "rows": Setting(
        "rows by number, a `Mixture` of two `packed` sources with a random `transform`, in threads; moving averages",
        _ROWS + _AVERAGES,
        share=3,
    ),
    "rows_processes": Setting(
        "the same with `read_processes = 2`, and accumulation; the victim is the run or its oldest process that reads",
        (*_ROWS, *_ACCUMULATION, "train/Input.read_processes=2"),
        readers=2,
        share=3,
    ),
}
