"""Actions: what steers or watches a run, for `Trainer.actions`. See docs/actions.md for how to write one."""

from typing import TYPE_CHECKING

from ...metrics.lazy import lazy_exports

if TYPE_CHECKING:
    from .stopping import EarlyStopping, StopAfter, StopAtTarget

__all__ = ["EarlyStopping", "StopAfter", "StopAtTarget"]

if not TYPE_CHECKING:  # a type checker would take any name for an export
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "EarlyStopping": ".stopping",
            "StopAfter": ".stopping",
            "StopAtTarget": ".stopping",
        },
    )
