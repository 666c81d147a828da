"""The step time of real models, beside other frameworks, and how it grows.

python -m benchmarks.real_models                       # all models
python -m benchmarks.real_models embedding --rounds 5  # one of them
python -m benchmarks.real_models --write               # also writes docs/real_models.md

The exit code is 1 if a goal is missed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from statistics import median

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from ..harness.command import Command, Measured, Row, figures
from ..harness.report import aligned, duration
from ..step_overhead.training import make_two_devices
from . import embedding, networks

MODELS = {**networks.MODELS, "embedding": embedding.MODEL}
STARTS = 3  # of each contestant
ABOUT = f"""
All contestants train the same model on the same data by the same optimizer, with metrics: loss and accuracy. They take turns,
and a figure is the median of the rounds' ratios. Each has a process of its own; those on 2 replicas share one. All are started
{STARTS} times, each for a part of the rounds, as the place that a process gets in memory changes its time by 10 to 20%. **At
its best** is the fastest on this machine with or without `jit_compile`, each also with huge pages
(`GLIBC_TUNABLES=glibc.malloc.hugetlb=1`) and, where TensorFlow does without by itself, with oneDNN (`TF_ENABLE_ONEDNN_OPTS=1`).
That is the same for the Trainer and for Keras's `fit`, which runs a call as one execution (`steps_per_execution`); PyTorch runs
with or without huge pages. `fit` is given arrays, and tf.data that shuffles and cuts them, at its best and at its defaults;
what takes less time counts. A process of `fit` doesn't import the Trainer, which sets how malloc keeps memory. **Its products
alone** are the matrix products, convolutions and attentions of PyTorch's step, forward and backward, by MKL and oneDNN, and
nothing else. Replicas are logical devices of the CPU.
"""


def measure(rows: Sequence[Row], rounds: int) -> Measured:
    """Return the figures of some rows."""
    make_two_devices()
    owner = {row.group: model for model in MODELS.values() for row in model.rows}
    lines = [["where", "who", "a step"]]

    def note(group: str, times: Mapping[str, Sequence[float]]) -> None:
        lines.extend([group, name, duration(median(each))] for name, each in times.items())

    found = figures(rows, lambda group: owner[group].contestants(group), rounds, note, STARTS)
    return Measured(found, "\n".join(["## Who took how long", "", *aligned(lines)]))


COMMAND = Command(
    name="real_models",
    title="Real models",
    reader="people who choose a framework by the time that their models take",
    shows="how long a step of real models takes beside other frameworks, and how that grows with a model's size",
    about="".join([ABOUT, *(model.about for model in MODELS.values())]),
    rows=[row for model in MODELS.values() for row in model.rows],
    measure=measure,
    rounds=15,
    a_round="rounds of one lap of each contestant",
)


def main(arguments: list[str]) -> int:
    """Run the command; return its exit code."""
    parser = COMMAND.parser()
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; all")
    chosen = parser.parse_args(arguments)
    for name in chosen.models:
        if name not in MODELS:
            parser.error(f"MODEL = {name}: expected one of {', '.join(MODELS)}")
    rows = [row for name in chosen.models for row in MODELS[name].rows]
    return (COMMAND._replace(rows=rows) if rows else COMMAND).report(chosen, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
