"""What a training reduces over its replicas, counted in the graphs: `python -m benchmarks.scaling.counts WORKERS REPLICAS`."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf

from ..harness.child import answer
from . import training

CASES = (("small", 1), ("small", 16), ("small", 256), ("large", 16))  # size, metrics


def reductions(graph: tf.Graph) -> list[int]:
    """Return the bytes of each reduction over replicas in a graph and in the functions it calls, each function once.

    Between workers these are collective operations; on one worker, sums of tensors on different devices.
    """
    definition = graph.as_graph_def(add_shapes=True)
    return [
        size
        for nodes in _reached(definition)
        for node in nodes.values()
        if (size := _reduced_bytes(node, nodes)) is not None
    ]


def _reached(definition: Any) -> Iterator[dict[str, Any]]:
    """Yield the nodes by name of the graph, then of each function that is called from there."""
    library = {function.signature.name: function for function in definition.library.function}
    waiting, seen = [definition.node], set()
    while waiting:
        nodes = {node.name: node for node in waiting.pop()}
        yield nodes
        called = {name for node in nodes.values() for name in _functions_of(node)} & set(library) - seen
        seen |= called
        waiting += [library[name].node_def for name in sorted(called)]


def _functions_of(node: Any) -> Iterator[str]:
    for attribute in node.attr.values():
        yield attribute.func.name
        yield from (function.name for function in attribute.list.func)


def _reduced_bytes(node: Any, nodes: dict[str, Any]) -> int | None:
    devices = {nodes[name].device for name in map(_producer, node.input) if name in nodes} - {""}
    if not (node.op.startswith("CollectiveReduce") or (node.op == "AddN" and len(devices) > 1)):
        return None
    (shape,) = node.attr["_output_shapes"].list.shape
    return math.prod(dimension.size for dimension in shape.dim) * tf.as_dtype(node.attr["T"].type).size


def _producer(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def count(size: str, metrics: int, strategy: tf.distribute.Strategy) -> dict[str, Any]:
    """Return the reductions of a step and of a summary, in bytes."""
    trainer = training.trainer(training.SIZES[size], metrics, strategy)
    trainer.prepare(evaluate=False)
    loops = trainer._session  # private: the Trainer has no public access to its graphs
    step = loops.loop.graph
    summary = loops._sums.accumulator._drain.graph
    return {
        "size": size,
        "metrics": metrics,
        "parameters": trainer.model.count_params(),
        "step": reductions(step),
        "summary": reductions(summary),
    }


if __name__ == "__main__":
    made = training.make_strategy(int(sys.argv[1]), int(sys.argv[2]))
    answer({"counts": [count(*case, made) for case in CASES]})
    sys.stdin.readline()  # until the parent closes it: another worker may not be done yet
