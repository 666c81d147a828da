"""Curves of metrics in the terminal, with plotext."""

from __future__ import annotations

import importlib
import math
import os
import string
from collections.abc import Sequence
from typing import Any

from ...metrics.errors import UsageError
from .run import Metric, Run

_HEIGHT = 20  # lines
_LETTERS = string.ascii_lowercase + string.ascii_uppercase


def plot(runs: Sequence[Run], metrics: Sequence[Metric], width: int, is_colored: bool) -> str:
    """Return one chart per path, with a curve for each run and split that has it.

    Args:
      runs: the runs.
      metrics: what to draw.
      width: in characters.
      is_colored: whether the text may hold escapes.

    Raises:
      UsageError: plotext is not installed.
    """
    library = _plotext()
    paths = dict.fromkeys(metric.path for metric in metrics)
    return "\n\n".join(
        _chart(library, runs, [metric for metric in metrics if metric.path == path], width, is_colored)
        for path in paths
    )


def colors_wanted(is_terminal: bool) -> bool:
    """Return whether escapes are welcome: on a terminal, unless NO_COLOR says no."""
    return is_terminal and not os.environ.get("NO_COLOR")


def _plotext() -> Any:
    try:
        library = importlib.import_module("plotext")
    except ImportError as error:
        raise UsageError(
            f'--plot: expected plotext to be installed, as with: pip install "tallyloop[report]" ({error}). '
            "--format=html draws without it."
        ) from error
    if not callable(getattr(getattr(library, "figure", None), "signal", None)):
        raise UsageError('--plot: expected plotext 6 or newer, as with: pip install --upgrade "tallyloop[report]"')
    return library


def _chart(library: Any, runs: Sequence[Run], metrics: Sequence[Metric], width: int, is_colored: bool) -> str:
    curves = [
        (f"{run.name} {metric.split}", run.metrics[metric])
        for run in runs
        for metric in metrics
        if metric in run.metrics
    ]
    finite = [(label, [point for point in points if math.isfinite(point[1])]) for label, points in curves]
    drawn = [(label, points) for label, points in finite if points]
    title = metrics[0].path
    if not drawn:
        return f"{title}: no finite value to draw"
    figure = library.figure
    figure.clear()
    figure.plot_size(width, _HEIGHT)
    for number, (label, points) in enumerate(drawn):
        # Without colors, a letter tells the curves apart.
        letter = None if is_colored or len(drawn) == 1 else _LETTERS[number % len(_LETTERS)]
        steps, values = zip(*points, strict=True)
        signal = figure.signal(list(steps), list(values), marker=letter)
        signal.lines()
        signal.label(label)
        figure.draw(signal)
    return f"{title}\n{figure.build().string(colorless=not is_colored)}"
