"""What a config is, as the process that trains it tells those who choose what to try."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..config import Config, engine, names
from ..config.signatures import signature
from ..config.syntax import Ref
from .settings import Facts

if TYPE_CHECKING:
    from ..trainer import Trainer

_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_FIRST_GLIBC = (2, 35)  # whose malloc can ask for them
TRAINER, _INPUT = "tallyloop.Trainer", "tallyloop.Input"


def facts_of(config: Config, trainer: Trainer) -> Facts:
    """Return what a config is whose Trainer has made a step."""
    import keras

    from ...data import Input
    from ..loop.schedule import TrainLength

    (dataset,) = trainer.datasets
    feed = trainer.session.feed
    given = _input_values(config)
    size, rows, batches = dataset.global_batch_size, feed.num_examples, feed.batches_per_epoch
    length = TrainLength(*(bound(config, "", TRAINER, name) for name in ("train_steps", "train_epochs")))
    assert isinstance(dataset, Input)
    return Facts(
        train_steps=length.steps(dataset),
        jit_compile=bool(bound(config, "", TRAINER, "jit_compile")),
        policy=keras.config.dtype_policy().name,
        onednn=uses_onednn(),
        huge_pages=huge_pages_on_request(_HUGE_PAGES),
        replicas=trainer.strategy.num_replicas_in_sync,
        examples_per_step=min(size, rows / batches) if rows and batches else size,  # some batches are short
        dataset=given.pop("dataset"),
        feed=_kind(feed),
        maps=dataset.settings["map_fn"] is not None,
        transforms=dataset.settings["transform"] is not None,
        **given,
    )


def _input_values(config: Config) -> dict[str, Any]:
    """Return the train data's configurable, with its scope, and its arguments that no Input tells."""
    found = bound(config, "", TRAINER, "train_dataset")
    is_input = isinstance(found, Ref) and found.selector == _INPUT
    scope = found.scope if is_input else ""
    values = {name: bound(config, scope, _INPUT, name) for name in ("cache", "read_threads", "read_processes")}
    return {"dataset": names.key(scope, _INPUT, "cache").removesuffix(".cache") if is_input else "", **values}


def _kind(feed: Any) -> Literal["memory", "rows", "stream"]:
    from ...data.feeds.array_feed import ArrayFeed
    from ...data.rows.row_feed import ReadingFeed

    return "memory" if isinstance(feed, ArrayFeed) else "rows" if isinstance(feed, ReadingFeed) else "stream"


def bound(config: Config, scope: str, selector: str, name: str) -> Any:
    """Return the value of a parameter: what is bound, or the default."""
    binding = config.bindings_for(scope, selector).get(name)
    if binding is not None:
        return config.resolved(binding.value)
    return signature(engine.configurables()[selector]).get(name).default


def uses_onednn() -> bool:
    """Return whether TensorFlow computes with the kernels of oneDNN: as its environment says, else by the CPU.

    No public name tells; only this function uses the private one, and tests/trainer/tuning/test_facts.py notices when it goes.
    """
    from tensorflow.python.util import _pywrap_util_port

    return _pywrap_util_port.IsMklEnabled()


def huge_pages_on_request(setting: Path) -> bool:
    """Return whether Linux gives huge pages only to programs that ask for them, and malloc can ask.

    Args:
      setting: the file with Linux's setting, such as "always [madvise] never".
    """
    library, version = platform.libc_ver()
    found = re.match(r"(\d+)\.(\d+)", version)
    if library != "glibc" or found is None or (int(found[1]), int(found[2])) < _FIRST_GLIBC:
        return False
    try:
        return "[madvise]" in setting.read_text()
    except OSError:  # none, or /sys is closed off
        return False
