"""What a config with many workers needs of a launch: the right strategy, made before anything else."""

from __future__ import annotations

import os

import gin

from ...metrics.errors import UsageError
from .. import config as configs
from ..config.values import Ref
from ..distribution import environment
from ..distribution.membership import Membership
from . import flags, member

_TRAINER, _FACTORY = "tallyloop.Trainer", "tallyloop.multi_worker_mirrored"
_OF_ONE_MACHINE = ("tallyloop.one_device", "tallyloop.mirrored")
_WANTED = "Trainer.strategy = @multi_worker_mirrored()"


def check_strategy(config: configs.Config) -> None:
    """Refuses flags and environments of many workers with a strategy of one machine.

    Each worker would train alone, and all would write into one folder.

    Raises:
      UsageError: the message names the flag or variable, and the strategy.
    """
    found = _strategy(config)
    is_single = found is None or (isinstance(found, Ref) and found.selector in _OF_ONE_MACHINE)
    if not is_single:
        return
    it_is = "which is not bound" if found is None else f"and it is @{found.selector.rpartition('.')[2]}()"
    asked = f"--workers={flags.FLAGS.workers}" if member.is_member() else _several()
    if flags.FLAGS.start_timeout is not None and asked is None:
        asked = f"--start_timeout={flags.FLAGS.start_timeout}"
    if asked is not None:
        raise UsageError(f"{asked} needs {_WANTED}, {it_is}: --gin_param=Trainer.strategy=@multi_worker_mirrored()")


def join(config: configs.Config) -> None:
    """Makes the strategy if the config has `multi_worker_mirrored`; the Trainer is then given the same.

    Raises:
      UsageError: there is no such cluster, or its workers were not started alike.
      ClusterError: a worker did not come.
    """
    found = _strategy(config)
    if isinstance(found, Ref) and found.selector == _FACTORY:
        with gin.config_scope(found.scope or None):
            strategy = gin.get_configurable(_FACTORY)()
        from . import agreement  # loads TensorFlow, as making the strategy did

        agreement.check(config, flags.FLAGS.mode, strategy)


def _strategy(config: configs.Config):
    binding = config.bindings_for("", _TRAINER).get("strategy")
    return None if binding is None else config.resolved(binding.value)


def _several() -> str | None:
    """What in the environment says that there are several workers; what is no cluster of ours is none of our business."""
    if flags.FLAGS.mode not in flags.TRAINING_MODES or flags.FLAGS.dry_run:
        return None
    try:
        membership: Membership = environment.membership(os.environ)
    except UsageError:
        return None
    return f"{membership.source} with {len(membership.addresses)} workers" if len(membership.addresses) > 1 else None
