"""Which config to look at for what: a table of the page, which a test holds to the configs and models."""

from __future__ import annotations

from typing import NamedTuple


class Sight(NamedTuple):
    """One line of the table.

    Attributes:
      what: what to see.
      config: the name of the config that shows it, without ".gin".
      text: what stands there.
      model: the file of models/ in which it stands; None for the config itself.
    """

    what: str
    config: str
    text: str
    model: str | None = None


SIGHTS = (
    Sight("the least that a config needs", "digits", "Trainer.task"),
    Sight("metrics by token, one of which is an exponential", "char_lm", 'finish="exp"', "language.py"),
    Sight("masks: padding that counts for nothing", "text_classifier", "mask_zero=True", "text.py"),
    Sight("tokens of padding that no metric counts", "char_lm", "LanguageModelTask.padding"),
    Sight("a loss with several parts", "autoencoder", "metrics.composite_loss", "autoencoder.py"),
    Sight("metrics that layers record", "autoencoder", "metrics.scope", "autoencoder.py"),
    Sight("metrics by class, a confusion matrix", "mnist_cnn", "ClassifierTask.metrics"),
    Sight("the best checkpoint", "mnist_cnn", "Trainer.best_metric"),
    Sight("an export of the best weights", "distil_teacher", "@ExportBest()"),
    Sight("several eval sets", "image_folder", "Trainer.eval_datasets"),
    Sight("augmentation", "image_folder", "@augmented()"),
    Sight("fine-tuning in stages: a frozen backbone", "image_folder_head", "Trainer.freeze"),
    Sight("fine-tuning in stages: a lower rate for the backbone", "image_folder_all", "Trainer.parameter_groups"),
    Sight("averaged weights", "digits_cnn", "keras.optimizers.Adam.use_ema"),
    Sight("a schedule with warmup", "char_lm", "warmup_steps"),
    Sight("weight decay of some weights only", "char_lm", "Trainer.weight_decay_exclude"),
    Sight("clipping", "char_lm", "Trainer.clip_global_norm"),
    Sight("weights of rows", "tabular_weighted", "TabularTask.sample_weight"),
    Sight("columns by name, scaled by what the training rows say", "tabular", "TabularTask.rows"),
    Sight("several losses, each with an optimizer", "gan", "Trainer.update_every"),
    Sight("a loss that compares the examples of all replicas", "two_tower", "gather_rows", "pairs/two_tower.py"),
    Sight("a task with a second model", "distil", "DistillationTask.teacher"),
    Sight("an action of your own", "autoencoder", "Trainer.actions = [@silent_units]"),
    Sight("text in TensorBoard", "char_lm", "@WriteText()"),
    Sight("images in TensorBoard", "gan", "@WriteImages()"),
)


def rows() -> list[list[str]]:
    """Return the lines of the table, as cells."""
    found = []
    for sight in SIGHTS:
        place = f" in [{sight.model}](../models/{sight.model})" if sight.model else ""
        found.append([sight.what, f"[{sight.config}.gin](../gin/{sight.config}.gin)", f"`{sight.text}`{place}"])
    return found
