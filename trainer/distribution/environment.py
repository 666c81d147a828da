"""Reads the cluster membership from the environment: TF_CONFIG first, then Kubernetes, then Slurm."""

from __future__ import annotations

from collections.abc import Mapping

from ...metrics.errors import UsageError
from . import kubernetes, slurm, tf_config
from .membership import Membership


def membership(environment: Mapping[str, str]) -> Membership:
    """Return the membership of this process.

    Args:
      environment: variables, such as `os.environ`.

    Raises:
      UsageError: no variable names a cluster, or one is malformed.
    """
    if environment.get("TF_CONFIG", "").strip():
        return tf_config.read(environment["TF_CONFIG"])
    if kubernetes.is_here(environment):
        return kubernetes.read(environment)
    if slurm.is_here(environment):
        return slurm.read(environment)
    raise UsageError(
        "multi_worker_mirrored: no environment variable names the workers. Start them on this machine with --workers=2, or "
        f"set TF_CONFIG for each: {tf_config.EXAMPLE}. For a single process, use Trainer.strategy = @mirrored()."
    )
