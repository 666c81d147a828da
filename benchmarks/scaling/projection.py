"""A projection from what one graph reduces to ten thousand replicas: two tables, and what breaks first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..harness.report import aligned

REPLICAS = (1, 8, 64, 1000, 10_000)
PER_REPLICA = 64  # examples per step
PER_WORKER = 8  # replicas
BYTES_PER_SECOND = 12.5e9  # a link of 100 Gbit/s
MESSAGE = 20e-6  # seconds from one worker to the next
_KINDS = ("step", "summary")


class Count(NamedTuple):
    """The sums that the graphs of a training reduce over its replicas.

    Attributes:
      size: of the model, by name.
      metrics: how many there are.
      parameters: of the model.
      step: the bytes of each reduction in a step.
      summary: the bytes of each reduction in a summary.
    """

    size: str
    metrics: int
    parameters: int
    step: tuple[int, ...]
    summary: tuple[int, ...]


class Load(NamedTuple):
    """The costs of one step on many replicas.

    Attributes:
      sent: bytes that each worker sends around a ring.
      messages: how many follow one another.
      reducing: seconds for the bytes and the messages.
      drawing: seconds for each worker to draw all row numbers of the global batch, as for arrays.
      reading: seconds for each worker to read the whole global batch from a stream.
      numbers: seconds for each worker to draw its own row numbers, as for rows by number.
      rows: seconds for each worker to draw and read its own rows by number.
      shard: seconds for each worker to read its own examples of a stream in shards.
    """

    sent: float
    messages: int
    reducing: float
    drawing: float
    reading: float
    numbers: float
    rows: float
    shard: float


def counted(found: Mapping[str, Any]) -> list[Count]:
    """Return the counts in the answer of a child."""
    return [Count(**each | {kind: tuple(each[kind]) for kind in _KINDS}) for each in found["counts"]]


def sections(counts: Mapping[str, list[Count]], costs: Mapping[str, float]) -> str:
    """Return the Markdown below the step times.

    Args:
      counts: placement -> its counts.
      costs: seconds on each worker, per example of the global batch: "plan" with arrays, "stream" with a stream; and per example
        of its own: "own numbers" and "own rows" by number, "own shard" with a stream in shards.
    """
    of_workers = {(count.size, count.metrics): count for count in counts["2 workers"]}
    large = of_workers["large", 16]
    return "\n\n".join(
        [
            _COUNTED,
            counts_table(counts),
            _ARITHMETIC.format(**facts(large, costs)),
            loads_table(large, costs),
            what_breaks(large, costs),
        ]
    )


def counts_table(counts: Mapping[str, list[Count]]) -> str:
    """Return a table with one line per placement, model and number of metrics."""
    header = [
        "where",
        "parameters",
        "metrics",
        "reductions per step",
        "bytes per step",
        "reductions per summary",
        "bytes per summary",
    ]
    lines = [header]
    for placement, found in counts.items():
        for count in found:
            numbers = [count.parameters, count.metrics]
            numbers += [number for kind in (count.step, count.summary) for number in (len(kind), sum(kind))]
            lines.append([placement, *(f"{number:,}" for number in numbers)])
    return "\n".join(aligned(lines))


def load(count: Count, replicas: int, costs: Mapping[str, float]) -> Load:
    """Return the costs with this many replicas, `PER_WORKER` per worker, and `PER_REPLICA` examples per replica."""
    workers = -(-replicas // PER_WORKER)
    sent = 2 * (workers - 1) / workers * sum(count.step)
    messages = 2 * (workers - 1) * len(count.step)
    batch, own = replicas * PER_REPLICA, min(replicas, PER_WORKER) * PER_REPLICA
    reducing = sent / BYTES_PER_SECOND + messages * MESSAGE
    of_own = (own * costs[f"own {name}"] for name in ("numbers", "rows", "shard"))
    return Load(sent, messages, reducing, batch * costs["plan"], batch * costs["stream"], *of_own)


def loads_table(count: Count, costs: Mapping[str, float]) -> str:
    """Return a table with one line per number of replicas."""
    header = [
        "replicas",
        "workers",
        "sent per worker",
        "messages in a row",
        "reducing",
        "arrays: drawing row numbers",
        "a stream, all of it",
        "rows by number",
        "a stream in shards",
    ]
    lines = [header]
    for replicas in REPLICAS:
        each = load(count, replicas, costs)
        times = [
            _milliseconds(seconds) for seconds in (each.reducing, each.drawing, each.reading, each.rows, each.shard)
        ]
        lines.append(
            [
                f"{replicas:,}",
                f"{-(-replicas // PER_WORKER):,}",
                f"{each.sent / 1e6:.1f} MB",
                f"{each.messages:,}",
                *times,
            ]
        )
    return "\n".join(aligned(lines))


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms"


def facts(count: Count, costs: Mapping[str, float]) -> dict[str, str]:
    """Return the numbers that the prose names."""
    assumed = {
        "parameters": f"{count.parameters:,}",
        "per_replica": f"{PER_REPLICA}",
        "per_worker": f"{PER_WORKER}",
        "link": f"{8 * BYTES_PER_SECOND / 1e9:g} Gbit/s",
        "message": f"{1e6 * MESSAGE:g}",
        "draw": f"{1e9 * costs['plan']:.0f} ns",
        "read": f"{1e9 * costs['stream']:.0f} ns",
        "own": f"{PER_WORKER * PER_REPLICA}",
    }
    return assumed | _at_most(count, costs)


def _at_most(count: Count, costs: Mapping[str, float]) -> dict[str, str]:
    """Return the numbers for the largest number of replicas."""
    replicas = REPLICAS[-1]
    most, workers = load(count, replicas, costs), -(-replicas // PER_WORKER)
    each_metric = 2 * 16 * 2 * (workers - 1) * MESSAGE  # 16 values and counts
    return {
        "replicas": f"{replicas:,}",
        "workers": f"{workers:,}",
        "reading": _milliseconds(most.reading),
        "drawing": _milliseconds(most.drawing),
        "numbers": _milliseconds(most.numbers),
        "rows": _milliseconds(most.rows),
        "shard": _milliseconds(most.shard),
        "messages": f"{most.messages:,}",
        "waiting": _milliseconds(most.messages * MESSAGE),
        "sending": _milliseconds(most.sent / BYTES_PER_SECOND),
        "in_a_tree": f"{2 * len(count.step) * (workers - 1).bit_length()}",
        "each_metric": _milliseconds(each_metric),
    }


def what_breaks(count: Count, costs: Mapping[str, float]) -> str:
    """Return the costs in the last line of the table, the largest first."""
    most, told = load(count, REPLICAS[-1], costs), facts(count, costs)
    order = sorted(_COSTS, key=lambda name: -getattr(most, name))
    listed = [f"{i}. {_COSTS[name].format(**told)}" for i, name in enumerate(order, 1)]
    return "\n\n".join([_ORDER.format(**told), "\n".join(listed), _NOT_LISTED.format(**told)])


_COUNTED = """## What is reduced

These are the operations in the graphs that add up tensors from different replicas: collective operations between workers, and
sums over devices on one worker. The bytes are those of one replica's part. A step reduces the gradients, the loss and its count.
**It reduces no metric, however many there are**, because each replica adds up its own; a summary reduces them all at once."""

_ARITHMETIC = """## To ten thousand replicas

This is arithmetic, not a measurement. It takes the counts of two workers with {parameters} parameters from the table above, and
assumes {per_replica} examples per replica, {per_worker} replicas per worker, a link of {link} and {message} microseconds per
message. For each reduction, a ring of w workers sends 2 (w - 1) / w times the bytes, in 2 (w - 1) messages one after the other.
Two costs grow with the global batch on every worker, and were measured here: drawing a row number of arrays takes {draw}, and
reading an example from a stream (without shards) takes {read}, without any decoding. Two others do not, as each worker reads
only its own {own} examples. They were measured on the part of one worker of 1,250: rows by number, with the drawing of their
numbers, and a stream in shards. Threads do this reading while the step before it runs."""

_ORDER = """What a step costs beside its own work on {replicas} replicas, the largest first. A training has the messages and one
of the others. **With rows by number or a stream in shards, what breaks first is the reduction, and no longer the data.**"""

_COSTS = {
    "reading": """**Streams that are not cut.** Without `Input.shards`, every worker reads the whole global batch, and each
   replica takes its share. On {replicas} replicas, a worker reads {workers} examples for each one that it uses: at least
   {reading} per step, plus decoding.""",
    "reducing": """**The ring's messages.** {messages} messages, one after the other, take {waiting} per step; the bytes
   themselves take {sending}. The number of messages does not depend on the number of weights: between workers, all gradients of a
   dtype travel as one vector. A tree instead of the ring has {in_a_tree} messages in a row, and `gradient_accumulation` divides
   both costs.""",
    "drawing": """**Row numbers of arrays.** Every worker draws those of the whole global batch, which takes {drawing} per step.
   The same rows by number draw only their own.""",
    "rows": """**Rows by number.** Each worker draws and reads only its own: {rows} per step on any number of workers, of
   which {numbers} are the numbers.""",
    "shard": """**Streams in [shards](data.md#streams).** Each worker reads only its own: {shard} per step on any number of
   workers. `Input.shards` must be a multiple of their number.""",
}

_NOT_LISTED = """Metrics are not on the list. Each adds 16 bytes to a summary and nothing to a step. If each of 16 metrics were
reduced at each step, its value and its count, this would take {each_metric} per step. The arithmetic leaves out the sums within a
worker, stragglers, lost workers (a restart costs the steps since the last checkpoint, and the start), and the size of the graph,
which holds the replicas of one worker only."""
