"""From the drained sums to the writers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType

from absl import logging

from ...metrics.device.accumulator import Drained
from ...metrics.registry import MetricRegistry
from ...metrics.writers import Summary


class Summaries:
    """Finishes drained sums and passes them to every consumer, one loop late.

    Reading the device's numbers waits for its steps to end. Train sums are therefore read once the next inner loop has been
    dispatched, so that the device never idles while the host formats numbers.

    Args:
      registry: finishes the train metrics.
      consumers: each is called with every `Summary`, in order.
    """

    def __init__(self, registry: MetricRegistry, consumers: Sequence[Callable[[Summary], None]]):
        self._registry = registry
        self._consumers = consumers
        self._pending: Callable[[], Summary] | None = None

    def defer(
        self, step: int, drained: Drained, seconds: float, known: Mapping[str, float], times: Mapping[str, float]
    ) -> None:
        """Take the train sums up to `step`, to be written at the next `settle`; the arguments are those of `summarize`."""
        self.settle()
        self._pending = partial(summarize, self._registry, drained, step, "train", seconds, known, times)

    def settle(self) -> None:
        """Write what is still pending."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            self.emit(pending())

    def emit(self, summary: Summary) -> None:
        """Pass a summary to every consumer."""
        for consume in self._consumers:
            consume(summary)


def summarize(
    registry: MetricRegistry,
    drained: Drained,
    step: int,
    split: str,
    seconds: float,
    known: Mapping[str, float] = MappingProxyType({}),
    times: Mapping[str, float] = MappingProxyType({}),
) -> Summary:
    """Read the device's sums, which span so many seconds, and finish them; adds the numbers that are `known` already.

    A value that isn't finite is kept, and logged with the metric's name and the replicas it comes from.
    """
    tallies = drained.tallies()
    for path, replicas in drained.non_finite().items():
        logging.warning("%s: metric %r is not finite at step %d, from %s.", split, path, step, replicas_named(replicas))
    values, counts = registry.finish(tallies, seconds)
    return Summary(step, split, {**values, **known}, {**counts, **dict.fromkeys(known, 1.0)}, dict(times))


def replicas_named(replicas: Sequence[int]) -> str:
    """Name the replicas; an empty list stands for those of other workers."""
    return f"replica {list(replicas)}" if replicas else "a replica of another worker"
