"""The training loop: a `Task` is what to train, a `Trainer` trains it."""

import sys
from typing import TYPE_CHECKING

from ..metrics.lazy import lazy_exports

if TYPE_CHECKING:
    from .command.python import configure, launch
    from .compiled.from_keras import from_keras
    from .distribution.gathering import gather_rows
    from .distribution.strategies import mirrored, multi_worker_mirrored, one_device
    from .errors import CheckpointError, ClusterError, NonFiniteError, OutputError, PreemptedError
    from .model.parameter_groups import ParameterGroup, layer_wise_decay
    from .task import Task
    from .trainer import Trainer

__all__ = [
    "CheckpointError",
    "ClusterError",
    "NonFiniteError",
    "OutputError",
    "ParameterGroup",
    "PreemptedError",
    "Task",
    "Trainer",
    "configure",
    "from_keras",
    "gather_rows",
    "launch",
    "layer_wise_decay",
    "mirrored",
    "multi_worker_mirrored",
    "one_device",
]

if not TYPE_CHECKING:  # a type checker would take any name for an export
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "CheckpointError": ".errors",
            "ClusterError": ".errors",
            "NonFiniteError": ".errors",
            "OutputError": ".errors",
            "PreemptedError": ".errors",
            "ParameterGroup": ".model.parameter_groups",
            "Task": ".task",
            "Trainer": ".trainer",
            "layer_wise_decay": ".model.parameter_groups",
            "configure": ".command.python",
            "from_keras": ".compiled.from_keras",
            "gather_rows": ".distribution.gathering",
            "launch": ".command.python",
            "mirrored": ".distribution.strategies",
            "multi_worker_mirrored": ".distribution.strategies",
            "one_device": ".distribution.strategies",
        },
    )

# A notebook's cell that registers a task may run again, also before the first `configure`.
if (_ipython := sys.modules.get("IPython")) is not None and _ipython.get_ipython() is not None:
    import gin

    gin.enter_interactive_mode()
