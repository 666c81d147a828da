"""Numbers and summaries as people read them."""

import datetime
import math

from .summary import Summary, scalars

_MOST_METRICS = 8  # in a line; TensorBoard is the place for the rest


def number(value: float) -> str:
    """Four significant digits, or a whole number with thousands separators from 10,000 to a billion."""
    if 9999.5 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, such as "1:02:03", with days in front when there are any."""
    return str(datetime.timedelta(seconds=math.ceil(seconds)))


def metric_parts(summary: Summary) -> list[str]:
    """The scalars of a summary as "path value", the loss first; an eval set's name stands before the path."""
    values = scalars(summary)
    paths = sorted(values, key=lambda path: (path != "loss", path))
    _, _, name = summary.split.partition("/")
    prefix = f"{name}/" if name else ""
    parts = [f"{prefix}{path} {number(values[path])}" for path in paths[:_MOST_METRICS]]
    if len(paths) > _MOST_METRICS:
        parts.append(f"(+{len(paths) - _MOST_METRICS} more in TensorBoard)")
    return parts


def eval_line(summary: Summary) -> str:
    """An evaluation in one line."""
    return " | ".join([f"eval  {summary.step}", *metric_parts(summary)])
