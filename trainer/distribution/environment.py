"""Finds this process's place in the environment: TF_CONFIG first, then Kubernetes, then Slurm."""

from __future__ import annotations

from collections.abc import Mapping

from ...metrics.errors import UsageError
from . import kubernetes, slurm, tf_config
from .membership import Place


def place(environment: Mapping[str, str]) -> Place:
    """Returns the place of this process.

    Args:
      environment: such as `os.environ`.

    Raises:
      UsageError: nothing tells the place, or what tells it is wrong.
    """
    if environment.get("TF_CONFIG", "").strip():
        return tf_config.read(environment["TF_CONFIG"])
    if kubernetes.is_here(environment):
        return kubernetes.read(environment)
    if slurm.is_here(environment):
        return slurm.read(environment)
    raise UsageError(
        "multi_worker_mirrored: nothing tells who the workers are. Start them on this machine with --workers=2, or set "
        f"TF_CONFIG for each: {tf_config.EXAMPLE}. One process alone wants Trainer.strategy = @mirrored()."
    )
