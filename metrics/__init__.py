"""The tally: metrics that are right however the data is cut.

Inside a replica's step, anywhere below it, `add` records a metric and `scope` prefixes its name. A
`MetricRegistry` collects them, adds them up over replicas with one reduction, and finishes them on the host.
Usable with the `Trainer`, which does all of this by itself, and in a loop written by hand.
"""

from .lazy import lazy_exports

_EXPORTS = {
    "Finisher": ".finishers.finish",
    "KerasMetric": ".keras_metrics",
    "MetricRegistry": ".registry",
    "Tally": ".tally",
    "UsageError": ".errors",
    "add": ".recording.recorder",
    "composite_loss": ".recording.composite",
    "confusion_matrix": ".finishers.confusion",
    "per_class": ".finishers.finish",
    "percentiles": ".finishers.histograms",
    "scope": ".recording.recorder",
    "score_histogram": ".finishers.histograms",
    "watch": ".recording.watching",
}
__all__ = list(_EXPORTS)

__getattr__, __dir__ = lazy_exports(__name__, _EXPORTS)
