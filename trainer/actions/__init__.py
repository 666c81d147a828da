"""Actions: what steers or watches a run, for `Trainer.actions`. See docs/actions.md for how to write one."""

from typing import TYPE_CHECKING

from ...metrics.lazy import lazy_exports

if TYPE_CHECKING:
    from .batch_size_finder import BatchSizeFinder
    from .charts import Charts, WriteGraph
    from .examples import WriteExamples
    from .exporting import ExportBest
    from .learning_rate_finder import LearningRateFinder
    from .profiling import Profile
    from .stopping import EarlyStopping, StopAfter, StopAtTarget
    from .writing import WriteHistograms, WriteImages, WriteText

__all__ = [
    "BatchSizeFinder",
    "Charts",
    "EarlyStopping",
    "ExportBest",
    "LearningRateFinder",
    "Profile",
    "StopAfter",
    "StopAtTarget",
    "WriteExamples",
    "WriteGraph",
    "WriteHistograms",
    "WriteImages",
    "WriteText",
]

if not TYPE_CHECKING:  # a type checker would take any name for an export
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "BatchSizeFinder": ".batch_size_finder",
            "Charts": ".charts",
            "EarlyStopping": ".stopping",
            "ExportBest": ".exporting",
            "LearningRateFinder": ".learning_rate_finder",
            "Profile": ".profiling",
            "StopAfter": ".stopping",
            "StopAtTarget": ".stopping",
            "WriteExamples": ".examples",
            "WriteGraph": ".charts",
            "WriteHistograms": ".writing",
            "WriteImages": ".writing",
            "WriteText": ".writing",
        },
    )
