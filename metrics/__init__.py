"""Metrics that are right however the data is split.

Inside a replica's step, at any depth, `add` records a metric and `scope` prefixes its name. A `MetricRegistry` collects
the metrics, adds them up over replicas with one reduction, and finishes them on the host. The `Trainer` does this by
itself; a hand-written loop calls the registry.
"""

from typing import TYPE_CHECKING

from .lazy import lazy_exports

if TYPE_CHECKING:
    from .errors import DataError, UsageError
    from .finishers.confusion import confusion_matrix
    from .finishers.finish import per_class
    from .finishers.finisher import Finisher
    from .finishers.histograms import percentiles, score_histogram
    from .keras_metrics import KerasMetric
    from .recording.add import add, scope
    from .recording.composite import composite_loss
    from .recording.watching import watch
    from .registry import MetricRegistry
    from .tally import Tally, weighted

__all__ = [
    "DataError",
    "Finisher",
    "KerasMetric",
    "MetricRegistry",
    "Tally",
    "UsageError",
    "add",
    "composite_loss",
    "confusion_matrix",
    "per_class",
    "percentiles",
    "scope",
    "score_histogram",
    "watch",
    "weighted",
]

if not TYPE_CHECKING:  # a type checker would take any name for an export
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "DataError": ".errors",
            "Finisher": ".finishers.finisher",
            "KerasMetric": ".keras_metrics",
            "MetricRegistry": ".registry",
            "Tally": ".tally",
            "UsageError": ".errors",
            "add": ".recording.add",
            "composite_loss": ".recording.composite",
            "confusion_matrix": ".finishers.confusion",
            "per_class": ".finishers.finish",
            "percentiles": ".finishers.histograms",
            "scope": ".recording.add",
            "score_histogram": ".finishers.histograms",
            "watch": ".recording.watching",
            "weighted": ".tally",
        },
    )
