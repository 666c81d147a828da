"""A picture of a metric by step, as an SVG of a few kilobytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[int, float]]

_WIDTH, _HEIGHT = 480, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 30, 34
_COLORS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")
_MOST = 200  # points of a line


def svg(title: str, metric: str, curves: Mapping[str, Points]) -> str:
    """Return the picture.

    Args:
      title: above the curves.
      metric: the name of the vertical axis.
      curves: name -> (step, value), ascending; those without a finite point are left out.
    """
    finite = {name: [(x, y) for x, y in points if math.isfinite(y)] for name, points in curves.items()}
    shown = {name: _thinned(points) for name, points in finite.items() if points}
    scale = _Scale([point for points in shown.values() for point in points])
    marks = [*_axes(scale), *(_curve(scale, number, *each) for number, each in enumerate(shown.items()))]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
            'font-family="sans-serif" font-size="11">',
            f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
            f'<text x="{_LEFT}" y="18" font-weight="bold">{escape(title)}: {escape(metric)}</text>',
            *marks,
            "</svg>\n",
        ]
    )


class _Scale:
    """The places of a step and a value in the picture."""

    def __init__(self, points: Points):
        steps, values = [x for x, _ in points] or [0], [y for _, y in points] or [0.0]
        self.ticks = _ticks(min(values), max(values))
        self.steps = _ticks(0, max(max(steps), 1))
        self._last = max(max(steps), 1)

    def x(self, step: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * step / self._last

    def y(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low)

    def visible_steps(self) -> list[float]:
        return [step for step in self.steps if step <= self._last]


def _ticks(low: float, high: float) -> list[float]:
    """Return four to nine round numbers that enclose both."""
    spread = (high - low) or abs(high) or 1.0
    unit = 10 ** math.floor(math.log10(spread / 4))
    step = next(unit * factor for factor in (1, 2, 5, 10) if spread / (unit * factor) <= 6)
    first, end = math.floor(low / step), math.ceil(high / step)
    return [round(number * step, 12) for number in range(first, max(end, first + 1) + 1)]


def _axes(scale: _Scale) -> list[str]:
    found = []
    for tick in scale.ticks:
        y = scale.y(tick)
        found.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        found.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in scale.visible_steps():
        found.append(f'<text x="{scale.x(tick):.1f}" y="{_HEIGHT - 18}" text-anchor="middle">{tick:,g}</text>')
    found.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 4}" text-anchor="end">step</text>')
    return found


def _curve(scale: _Scale, number: int, name: str, points: Points) -> str:
    color = _COLORS[number % len(_COLORS)]
    path = " ".join(f"{scale.x(step):.1f},{scale.y(value):.1f}" for step, value in points)
    label = f'<text x="{_WIDTH - _RIGHT - 90 * number}" y="18" text-anchor="end" fill="{color}">{escape(name)}</text>'
    dots = "".join(f'<circle cx="{scale.x(x):.1f}" cy="{scale.y(y):.1f}" r="2" fill="{color}"/>' for x, y in points)
    line = f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>'
    return label + line + (dots if len(points) <= 25 else "")


def _thinned(points: Points) -> Points:
    """Return at most `_MOST` of the points, the first and the last among them."""
    if len(points) <= _MOST:
        return points
    return [points[round(place * (len(points) - 1) / (_MOST - 1))] for place in range(_MOST)]
