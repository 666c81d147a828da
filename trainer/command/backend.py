"""Starts TensorFlow: quiet imports, then the cluster, then the devices."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

import gin

from ...metrics.errors import UsageError
from .. import config as configs
from ..config.syntax import Ref
from ..distribution import environment
from ..distribution.startup import no_garbage_collections, quiet_stderr
from . import member
from .request import Mode, Request

if TYPE_CHECKING:
    import tensorflow as tf

# The modules whose import registers the bundled configurables.
_BUNDLED = (
    "tallyloop.trainer.trainer",
    "tallyloop.trainer.actions.batch_size_finder",
    "tallyloop.trainer.actions.charts",
    "tallyloop.trainer.actions.examples",
    "tallyloop.trainer.actions.exporting",
    "tallyloop.trainer.actions.learning_rate_finder",
    "tallyloop.trainer.actions.profiling",
    "tallyloop.trainer.actions.stopping",
    "tallyloop.trainer.actions.writing",
    "tallyloop.trainer.distribution.strategies",
    "tallyloop.metrics.writers.outside.csv_file",
    "tallyloop.metrics.writers.outside.mlflow_run",
    "tallyloop.metrics.writers.outside.wandb_run",
    "tallyloop.data",
    "tallyloop.models",
)
_TRAINER, _FACTORY = "tallyloop.Trainer", "tallyloop.multi_worker_mirrored"
_SINGLE_MACHINE = ("tallyloop.one_device", "tallyloop.mirrored")


def load(virtual_cpus: int | None) -> None:
    """Import TensorFlow and Keras without their start-up noise, and register what a config can name.

    Args:
      virtual_cpus: the number of logical devices to split the CPU into; None leaves it whole.

    Raises:
      UsageError: Keras is set to another backend, or TensorFlow has started with fewer CPUs.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if os.environ.setdefault("KERAS_BACKEND", "tensorflow") != "tensorflow":
        raise UsageError(f"KERAS_BACKEND={os.environ['KERAS_BACKEND']}: expected tensorflow; unset it.")
    with quiet_stderr(), no_garbage_collections():
        import tensorflow as tf

        if virtual_cpus:
            _split_cpu(virtual_cpus)
        for module in _BUNDLED:
            importlib.import_module(module)
    tf.get_logger().setLevel("ERROR")


def _split_cpu(devices: int) -> None:
    import tensorflow as tf

    split = [tf.config.LogicalDeviceConfiguration() for _ in range(devices)]
    try:
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], split)
    except RuntimeError as error:  # the devices exist, as code before this in the process has used TensorFlow
        found = len(tf.config.list_logical_devices("CPU"))
        if found < devices:
            raise UsageError(
                f"--virtual_cpus={devices}: TensorFlow has started with {found} in this process, and cannot change that. "
                "Expected this call before any other that uses TensorFlow: restart the notebook's kernel, and call it first."
            ) from error


def check_strategy(config: configs.Config, request: Request) -> None:
    """Refuse flags and environments that ask for several workers together with a strategy for a single machine.

    Each worker would train alone, and all would write to the same folder.

    Raises:
      UsageError: the message names the flag or variable, and the strategy.
    """
    found = _strategy(config)
    if found is None:
        reason = "which is not bound"
    elif isinstance(found, Ref) and found.selector in _SINGLE_MACHINE:
        reason = f"got @{found.selector.rpartition('.')[2]}()"
    else:
        return
    asked = f"--workers={request.workers}" if member.is_member() else _cluster_in_environment(request)
    if request.start_timeout is not None and asked is None:
        asked = f"--start_timeout={request.start_timeout}"
    if asked is not None:
        raise UsageError(
            f"{asked} needs Trainer.strategy = @multi_worker_mirrored(), {reason}: add "
            "--gin_param=Trainer.strategy=@multi_worker_mirrored()"
        )


def _strategy(config: configs.Config) -> Any:
    binding = config.bindings_for("", _TRAINER).get("strategy")
    return None if binding is None else config.resolved(binding.value)


def _cluster_in_environment(request: Request) -> str | None:
    """Return what in the environment names several workers; None for a cluster that is not one of ours."""
    if not request.trains:
        return None
    try:
        membership = environment.membership(os.environ)
    except UsageError:
        return None
    return f"{membership.source} with {len(membership.addresses)} workers" if len(membership.addresses) > 1 else None


def join_cluster(config: configs.Config, mode: Mode) -> None:
    """Make the strategy now if it is `multi_worker_mirrored`: before any op runs. The Trainer later gets the same one.

    Raises:
      UsageError: there is no cluster, or its workers were not started alike.
      ClusterError: a worker did not come.
    """
    found = _strategy(config)
    if isinstance(found, Ref) and found.selector == _FACTORY:
        with gin.config_scope(found.scope or None):
            strategy = gin.get_configurable(_FACTORY)()
        _check_agreement(config, mode, strategy)


def _check_agreement(config: configs.Config, mode: Mode, strategy: tf.distribute.Strategy) -> None:
    """Compare every worker's config and mode with the chief's. All workers call this, and all raise.

    Workers that differ would otherwise wait for each other forever.

    Raises:
      UsageError: they differ; the message names the worker and the bindings.
    """
    from ..distribution import workers

    texts = workers.exchange(strategy, configs.as_given(config))
    modes = workers.exchange(strategy, mode)
    lines = []
    for index, (text, its_mode) in enumerate(zip(texts, modes, strict=True)):
        changes = [] if its_mode == modes[0] else [f"--mode: {modes[0]} -> {its_mode}"]
        changes += [] if text == texts[0] else configs.diff(texts[0], text)
        lines += [f"  worker {index}: {change}" for change in changes]
    if lines:
        raise UsageError(
            "The workers were not started alike. Differences from the chief (worker 0):\n"
            + "\n".join(lines)
            + "\nGive every worker the same command."
        )


def start_devices() -> None:
    """Make TensorFlow's devices. A worker joins its cluster first, as devices cannot join one later."""
    import tensorflow as tf

    with quiet_stderr():
        tf.config.list_logical_devices()
