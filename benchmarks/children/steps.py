"""A training that is timed: `python -m benchmarks.children.steps WORKERS REPLICAS SIZE`; WORKERS is 0 for MirroredStrategy."""

import os
import sys
from collections.abc import Callable

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

from tallyloop.trainer.distribution import workers

from benchmarks.children import scaled
from benchmarks.children.talking import halts

METRICS = 16


def main(count: int, replicas: int, name: str) -> None:
    """Trains for ever; the chief halts."""
    size, strategy = scaled.SIZES[name], scaled.strategy(count, replicas)

    def run(halt: Callable[[], None]) -> None:
        def halt_at_lap(trainer, summary) -> None:
            if summary.step % size.lap == 0:
                halt()

        scaled.trainer(size, METRICS, strategy, [halt_at_lap]).train()

    if workers.is_chief(strategy):
        halts(run)
    else:
        run(lambda: None)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
