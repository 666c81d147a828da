"""From what one graph reduces to what a thousand replicas would: two tables, and what they tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from benchmarks.report import aligned

REPLICAS = (1, 8, 64, 1000)
PER_REPLICA = 64  # examples of a step
PER_WORKER = 8  # replicas
BYTES_A_SECOND = 12.5e9  # a link of 100 Gbit/s
MESSAGE = 20e-6  # seconds from one worker to the next
_KINDS = ("step", "summary")


class Count(NamedTuple):
    """What the graph of a training reduces over the replicas: the bytes of each reduction, in a step and in a summary."""

    size: str
    metrics: int
    parameters: int
    step: tuple[int, ...]
    summary: tuple[int, ...]


class Load(NamedTuple):
    """What each step of a training on many replicas takes.

    Attributes:
      sent: bytes that each worker sends in a ring.
      messages: that are sent one after the other.
      reducing: seconds of both.
      drawing: seconds in which each worker draws all row numbers of the global batch.
      reading: seconds in which each worker reads the whole global batch of a stream.
    """

    sent: float
    messages: int
    reducing: float
    drawing: float
    reading: float


def counted(found: Mapping[str, Any]) -> list[Count]:
    """From a process's answer."""
    return [Count(**each | {kind: tuple(each[kind]) for kind in _KINDS}) for each in found["counts"]]


def sections(counts: Mapping[str, list[Count]], costs: Mapping[str, float]) -> str:
    """What stands below the step times.

    Args:
      counts: place -> its counts.
      costs: seconds that an example of the global batch costs each worker: "plan" with arrays, "stream" with a stream.
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
    """A line for each place, model and number of metrics."""
    header = [
        "where",
        "parameters",
        "metrics",
        "reductions a step",
        "bytes a step",
        "reductions a summary",
        "bytes a summary",
    ]
    lines = [header]
    for place, found in counts.items():
        for count in found:
            numbers = [count.parameters, count.metrics]
            numbers += [number for kind in (count.step, count.summary) for number in (len(kind), sum(kind))]
            lines.append([place, *(f"{number:,}" for number in numbers)])
    return "\n".join(aligned(lines))


def load(count: Count, replicas: int, costs: Mapping[str, float]) -> Load:
    """Of so many replicas, each with `PER_REPLICA` examples a step, `PER_WORKER` of them on a worker."""
    workers = -(-replicas // PER_WORKER)
    sent = 2 * (workers - 1) / workers * sum(count.step)
    messages = 2 * (workers - 1) * len(count.step)
    batch = replicas * PER_REPLICA
    reducing = sent / BYTES_A_SECOND + messages * MESSAGE
    return Load(sent, messages, reducing, batch * costs["plan"], batch * costs["stream"])


def loads_table(count: Count, costs: Mapping[str, float]) -> str:
    """A line for each number of replicas."""
    header = [
        "replicas",
        "workers",
        "sent by each",
        "messages in a row",
        "reducing",
        "drawing row numbers",
        "reading a stream",
    ]
    lines = [header]
    for replicas in REPLICAS:
        each = load(count, replicas, costs)
        times = [_milliseconds(seconds) for seconds in (each.reducing, each.drawing, each.reading)]
        lines.append(
            [f"{replicas:,}", str(-(-replicas // PER_WORKER)), f"{each.sent / 1e6:.1f} MB", f"{each.messages}", *times]
        )
    return "\n".join(aligned(lines))


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.2f} ms"


def facts(count: Count, costs: Mapping[str, float]) -> dict[str, str]:
    """What the texts name."""
    assumed = {
        "parameters": f"{count.parameters:,}",
        "per_replica": f"{PER_REPLICA}",
        "per_worker": f"{PER_WORKER}",
        "link": f"{8 * BYTES_A_SECOND / 1e9:g} Gbit/s",
        "message": f"{1e6 * MESSAGE:g}",
        "draw": f"{1e9 * costs['plan']:.0f} ns",
        "read": f"{1e9 * costs['stream']:.0f} ns",
    }
    return assumed | _at_most(count, costs)


def _at_most(count: Count, costs: Mapping[str, float]) -> dict[str, str]:
    """On the most replicas."""
    replicas = REPLICAS[-1]
    most, workers = load(count, replicas, costs), -(-replicas // PER_WORKER)
    each_metric = 2 * 16 * 2 * (workers - 1) * MESSAGE  # 16 values and counts
    return {
        "replicas": f"{replicas:,}",
        "workers": f"{workers}",
        "reading": _milliseconds(most.reading),
        "drawing": _milliseconds(most.drawing),
        "messages": f"{most.messages}",
        "waiting": _milliseconds(most.messages * MESSAGE),
        "sending": _milliseconds(most.sent / BYTES_A_SECOND),
        "in_a_tree": f"{2 * len(count.step) * (workers - 1).bit_length()}",
        "each_metric": _milliseconds(each_metric),
    }


def what_breaks(count: Count, costs: Mapping[str, float]) -> str:
    """The costs of the last line of the table, the largest first."""
    most, told = load(count, REPLICAS[-1], costs), facts(count, costs)
    order = sorted(_COSTS, key=lambda name: -getattr(most, name))
    listed = [f"{i}. {_COSTS[name].format(**told)}" for i, name in enumerate(order, 1)]
    return "\n\n".join(["What breaks first, in this order:", "\n".join(listed), _NOT_LISTED.format(**told)])


_COUNTED = """## What is reduced

Counted in the graphs: the operations that add up what is on different replicas. Between workers these are collective
operations, on one worker sums over devices. The bytes are those of one replica's part. In a step there are the gradients,
the loss and its count; **no metric is in it, however many there are**, as they add up on each replica. A summary reduces all
of them at once."""

_ARITHMETIC = """## To a thousand replicas

This is arithmetic, not a measurement. It takes from above the counts of two workers with {parameters} parameters, and assumes
{per_replica} examples a replica, {per_worker} replicas a worker, a link of {link} and {message} microseconds a message. For each
reduction, a ring of w workers sends 2 (w - 1) / w times the bytes, in 2 (w - 1) messages one after the other. Two costs grow with
the global batch on every worker, and were measured here: to draw a row number takes {draw}, and to read an example of a stream
{read}, without any decoding."""

_COSTS = {
    "reading": """**Streams.** Every worker reads the whole global batch, and each replica takes its share: this makes a stream
   exact, and its place one that a checkpoint can hold. On {replicas} replicas a worker reads {workers} examples for each one that
   it uses. That is {reading} a step at the least, and decoding comes on top. Arrays do not have this, as a replica gathers
   its own rows only.""",
    "reducing": """**The ring's messages.** {messages} of them, one after the other, take {waiting} a step; the bytes themselves
   take {sending}. Their number does not depend on that of the weights: between workers all gradients of a type travel as
   one vector. A tree in place of the ring has {in_a_tree} messages in a row, and `gradient_accumulation` divides both costs.""",
    "drawing": """**Row numbers.** Every worker draws those of the whole global batch, {drawing} a step. It could draw only its
   own, as each number is worked out by itself.""",
}

_NOT_LISTED = """Not on the list: metrics. One adds 16 bytes to a summary and nothing to a step; were each of 16 metrics reduced
at each step, its value and its count, this would take {each_metric} a step. Left out are the sums within a worker, stragglers,
workers that are lost (a restart costs the steps since the last checkpoint, and the start), and the graph, which holds the
replicas of one worker only."""
