"""The step time of real models, beside other frameworks, and how it grows.

python -m benchmarks.real_models                       # all models
python -m benchmarks.real_models embedding --rounds 5  # one of them
python -m benchmarks.real_models --write               # also writes docs/real_models.md

The exit code is 1 if a goal is missed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from ..harness.command import Command, Measured, Row, figures
from ..step_overhead.training import make_two_devices
from . import embedding

MODELS = {"embedding": embedding.MODEL}
ABOUT = """
All contestants train the same model on the same data by the same optimizer, with metrics. They take turns in one process, and a
figure is the median of the rounds' ratios. Replicas are logical devices of the CPU.
"""


def measure(rows: Sequence[Row], rounds: int) -> Measured:
    """Return the figures of some rows."""
    make_two_devices()
    owner = {row.group: model for model in MODELS.values() for row in model.rows}
    return Measured(figures(rows, lambda group: owner[group].contestants(group), rounds))


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
