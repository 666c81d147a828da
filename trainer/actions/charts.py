"""Actions for TensorBoard's dashboards Custom Scalars and Graphs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gin
from absl import logging

from ...data.checks import true_or_false
from ...metrics.errors import UsageError, did_you_mean
from ...metrics.writers import Summary
from ..loop.probing import UpdateProbe
from .writing import warn_without_folder

if TYPE_CHECKING:
    from ..trainer import Trainer

_EXAMPLE = 'such as {"overview": {"losses": ["loss", "loss/.*"], "accuracy": ["accuracy"]}}'


@gin.register(module="tallyloop")
class Charts:
    """Arranges the charts in TensorBoard's Custom Scalars: these first, then those that every run has.

    Args:
      layout: title of a group -> title of a chart -> names of metrics, or regular expressions that match whole names. A chart
        has a metric's curves of training and of every evaluation.
      automatic: whether the charts that every run has follow.

    Raises:
      UsageError: an argument is not as described.
    """

    def __init__(self, layout: Mapping[str, Mapping[str, Sequence[str]]], automatic: bool = True):
        self._layout = _checked(layout)
        self._automatic = true_or_false("Charts.automatic", automatic)
        self._known: set[str] = set()  # metrics so far
        self._splits: set[str] = set()
        self._told = False

    def start(self, trainer: Trainer) -> None:
        """Write the layout."""
        warn_without_folder(trainer, "Charts")
        trainer.board.arrange(self._layout, self._automatic)

    def __call__(self, trainer: Trainer, summary: Summary) -> None:
        """Warn once if a chart will stay empty: after the first summary of training and of each evaluation."""
        self._known |= {*summary.metrics, *summary.times}
        self._splits.add(summary.split)
        if not self._told and len(self._splits) > len(trainer.eval_metrics):
            self._told = True
            self._warn_of_empty()

    def _warn_of_empty(self) -> None:
        for chart in (chart for group in self._layout.values() for chart in group.items()):
            for pattern in chart[1]:
                if not any(re.fullmatch(pattern, path) for path in self._known):
                    logging.warning(
                        "Charts.layout: chart %r: no metric so far is named %r%s",
                        chart[0],
                        pattern,
                        did_you_mean(pattern, self._known) or f"; expected one of {', '.join(sorted(self._known))}.",
                    )


@gin.register(module="tallyloop")
class WriteGraph:
    """Writes the graph of a train step to TensorBoard: forward and backward pass, reduction over the replicas, and update.

    It is traced for this, which takes about as long as the first step, and a batch is read. The run is the same with and without.
    """

    def start(self, trainer: Trainer) -> None:
        """Write the graph."""
        warn_without_folder(trainer, "WriteGraph")
        if trainer.model_dir is not None:
            trainer.board.graph(UpdateProbe(trainer.session).graph)


def _checked(layout: Any) -> dict[str, dict[str, list[str]]]:
    def refuse(value: Any, expected: str) -> UsageError:
        return UsageError(f"Charts.layout: expected {expected}, {_EXAMPLE}, got {value!r}.")

    if not isinstance(layout, Mapping) or not layout:
        raise refuse(layout, "a dict of groups of charts")
    for group, charts in layout.items():
        if not isinstance(charts, Mapping) or not charts:
            raise refuse(charts, f"a dict of charts in the group {group!r}")
        for chart, patterns in charts.items():
            if not isinstance(patterns, list | tuple) or not patterns:
                raise refuse(patterns, f"a list of metrics in the chart {chart!r}")
            for pattern in patterns:
                _check_pattern(chart, pattern)
    return {
        str(group): {str(name): list(patterns) for name, patterns in charts.items()} for group, charts in layout.items()
    }


def _check_pattern(chart: str, pattern: Any) -> None:
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        raise UsageError(
            f"Charts.layout: chart {chart!r}: expected the name of a metric, or a regular expression, got {pattern!r}: {error}."
        ) from error
