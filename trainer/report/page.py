"""The report as one HTML file that needs nothing else: tables, and charts as SVG."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from . import comparing
from .comparing import Table
from .run import Metric, Points, Run
from .tables import shown

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 420, 240, 56, 22
_MOST_POINTS = 200_000  # of all curves, so that the file can be sent
_LEAST_PER_CURVE, _MOST_PER_CURVE = 20, 300
_HUES = 137.5  # degrees from one run's color to the next: the golden angle, so that neighbors differ

_STYLE = """
body{font:14px/1.4 system-ui,sans-serif;margin:1.5em;color:#222;background:#fff}
table{border-collapse:collapse;margin:.5em 0 1.5em}td,th{padding:.2em .7em;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child{text-align:left}th{cursor:pointer}div.wide{overflow-x:auto}
div.charts{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0}figcaption{font-weight:600}
polyline{fill:none;stroke-width:1.5}polyline.train{stroke-dasharray:4 3}.axis{stroke:#999}svg text{font-size:10px;fill:#555}
label{margin-right:1em;white-space:nowrap}.hidden{display:none}
"""
# A click on a heading sorts by it; a run's box hides its curves.
_SCRIPT = """
for(const th of document.querySelectorAll('th'))th.onclick=()=>{
const body=th.closest('table').tBodies[0],i=th.cellIndex,rows=[...body.rows],up=th.dataset.up=th.dataset.up==='1'?'0':'1';
const key=r=>{const v=r.cells[i].dataset.value??r.cells[i].textContent;return v!==''&&!isNaN(v)?[0,+v]:[1,v]};
const less=(a,b)=>a<b?-1:a>b?1:0;
rows.sort((a,b)=>{const x=key(a),y=key(b);return x[0]-y[0]||less(x[1],y[1])*(up==='1'?1:-1)});body.append(...rows)};
for(const box of document.querySelectorAll('input[data-run]'))box.onchange=()=>{
for(const line of document.querySelectorAll('[data-of="'+box.dataset.run+'"]'))line.classList.toggle('hidden',!box.checked)};
"""


def page(runs: Sequence[Run]) -> str:
    """Return the report: all tables, and a chart of each metric, with the evaluations solid and the training dashed."""
    metrics = comparing.metrics_of(runs)
    tables = [comparing.results(runs, metrics), comparing.differences(runs), comparing.time(runs)]
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8"><title>Runs</title>',
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{len(runs)} run{'' if len(runs) == 1 else 's'}</h1>",
        *(_table(table) for table in tables if len(table.columns) > 1 and table.rows),
        *_remarks(runs),
        "<h2>Charts</h2>",
        _legend(runs),
        '<div class="charts">',
        *_charts(runs, metrics),
        f"</div><script>{_SCRIPT}</script></body></html>",
    ]
    return "\n".join(parts)


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
    body = "\n".join(_row(row) for row in table.rows)
    return (
        f'<h2>{html.escape(table.title)}</h2><div class="wide"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>"
    )


def _row(row: Sequence[comparing.Cell]) -> str:
    cells = zip(row, shown(row), strict=True)
    return "<tr>" + "".join(f"<td{_exact(cell)}>{html.escape(text)}</td>" for cell, text in cells) + "</tr>"


def _exact(cell: comparing.Cell) -> str:
    """Return all digits of a number, for sorting and for whoever reads the source."""
    return f' data-value="{cell!r}"' if isinstance(cell, int | float) else ""


def _remarks(runs: Sequence[Run]) -> Iterator[str]:
    if found := comparing.remarks(runs):
        yield "<ul>" + "".join(f"<li>{html.escape(remark)}</li>" for remark in found) + "</ul>"


def _legend(runs: Sequence[Run]) -> str:
    boxes = [
        f'<label style="color:{_color(number)}"><input type="checkbox" checked data-run="{number}"> '
        f"{html.escape(run.name)}</label>"
        for number, run in enumerate(runs)
    ]
    return f"<p>{''.join(boxes)}<br>Solid: evaluations. Dashed: training.</p>"


def _color(number: int) -> str:
    return f"hsl({number * _HUES % 360:.0f} 65% 42%)"


def _charts(runs: Sequence[Run], metrics: Sequence[Metric]) -> Iterator[str]:
    curves = sum(metric in run.metrics for run in runs for metric in metrics)
    most = max(_LEAST_PER_CURVE, min(_MOST_PER_CURVE, _MOST_POINTS // max(1, curves)))
    for path in dict.fromkeys(metric.path for metric in metrics):
        of_path = [metric for metric in metrics if metric.path == path]
        lines = {
            (number, metric): _thinned(finite, most)
            for number, run in enumerate(runs)
            for metric in of_path
            if (finite := [point for point in run.metrics.get(metric, ()) if math.isfinite(point[1])])
        }
        if lines:
            yield _chart(path, runs, lines)


def _thinned(points: Points, most: int) -> Points:
    """Return at most so many points, with the least and the greatest of each stretch, so that no spike is lost."""
    if len(points) <= most:
        return points
    size = math.ceil(2 * len(points) / most)
    stretches = [points[start : start + size] for start in range(0, len(points), size)]
    kept = {min(each, key=lambda point: point[1]) for each in stretches}
    kept |= {max(each, key=lambda point: point[1]) for each in stretches}
    return sorted(kept)


def _chart(path: str, runs: Sequence[Run], lines: Mapping[tuple[int, Metric], Points]) -> str:
    steps = [step for points in lines.values() for step, _ in points]
    values = [value for points in lines.values() for _, value in points]
    x, y = _scale(min(steps), max(steps), _LEFT, _WIDTH), _scale(min(values), max(values), _HEIGHT - _BOTTOM, 8)
    drawn = [
        _line(number, metric, runs[number].name, [(x(step), y(value)) for step, value in points])
        for (number, metric), points in lines.items()
    ]
    return (
        f"<figure><figcaption>{html.escape(path)}</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH + 8} {_HEIGHT}" width="{_WIDTH + 8}" height="{_HEIGHT}" role="img">'
        f"{_axes((min(steps), max(steps)), (min(values), max(values)))}{''.join(drawn)}</svg></figure>"
    )


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Return what maps the interval from `low` to `high` to pixels."""
    factor = (end - start) / (high - low) if high > low else 0.0
    return lambda value: start + (value - low) * factor


def _line(number: int, metric: Metric, name: str, points: Sequence[tuple[float, float]]) -> str:
    label = f"<title>{html.escape(f'{name} {metric}')}</title>"
    shared = f'data-of="{number}" stroke="{_color(number)}"'
    if len(points) == 1:
        ((x, y),) = points
        return f'<circle {shared} fill="{_color(number)}" cx="{x:.1f}" cy="{y:.1f}" r="2.5">{label}</circle>'
    kind = "train" if metric.split == "train" else "eval"
    return f'<polyline class="{kind}" {shared} points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}">{label}</polyline>'


def _axes(steps: tuple[int, int], values: tuple[float, float]) -> str:
    base = _HEIGHT - _BOTTOM
    (low, high), (least, most) = shown(steps), shown(values)
    return (
        f'<path class="axis" fill="none" d="M{_LEFT} 8V{base}H{_WIDTH}"/>'
        f'<text x="{_LEFT - 4}" y="{base}" text-anchor="end">{least}</text>'
        f'<text x="{_LEFT - 4}" y="14" text-anchor="end">{most}</text>'
        f'<text x="{_LEFT}" y="{_HEIGHT - 6}">{low}</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT - 6}" text-anchor="end">step {high}</text>'
    )
