"""The configs of text: char_lm, whose reference is nanoGPT in PyTorch, and text_classifier."""

from __future__ import annotations

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np

from ...harness.paired import laps, ratio
from ...harness.processes import LapProcesses, ask, command
from ...harness.report import duration, progress
from ..char_lm_laps import CONTESTANTS, LAP
from ..config import ABOVE, Config, Figure, Goal, Reference, last
from ..run import Run

_ROUNDS = 15
_SHAKESPEARE = "tinyshakespeare.txt"


def torch_can_tell() -> bool:
    """Return whether PyTorch is installed, and the machine has cores to spare.

    On one that is busy, the threads of PyTorch wait for each other in a spin: a step was seen to take 4 s, and 1 s of each core,
    and a ratio to it would say nothing.
    """
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if find_spec("torch") and load > cores + 1:
        progress(f"char_lm: nothing is measured of PyTorch, as the load of {load:.0f} is beyond the {cores} cores")
        return False
    return find_spec("torch") is not None


def nanogpt_loss(run: Run) -> Reference | None:
    """Return the validation loss of nanoGPT, trained now on the same text; None where PyTorch cannot tell."""
    if not torch_can_tell():
        return None
    return Reference("nanoGPT in PyTorch", ask("results.nanogpt", _text(run))["loss"])


def _files(run: Run) -> list[Path]:
    """Return the files that char_lm reads."""
    from tallyloop.data import python_sources

    given = [value for name, _, value in (each.partition("=") for each in run.parameters) if name == "text.path"]
    return [Path(each.strip("\"'")) for each in given[-1:] or python_sources()]


@cache
def _text(run: Run) -> Path:
    """Return a file with all that char_lm reads, for processes that have no Tallyloop."""
    together = run.folder.parent / "text"
    together.write_bytes(b"".join(file.read_bytes() for file in _files(run)))
    return together


def loss_on_shakespeare(run: Run) -> float | None:
    """Return the validation loss, if the text is tiny Shakespeare."""
    return last("loss")(run) if [file.name for file in _files(run)] == [_SHAKESPEARE] else None


@cache
def _times(run: Run) -> dict[str, list[float]] | None:
    """Return the seconds per step of each contestant in each round, in processes that take turns.

    None where PyTorch cannot tell.
    """
    if not torch_can_tell():
        return None
    folder, file = run.folder.parent, _text(run)
    lines = {
        who: command("results.char_lm_laps", who, folder / f"laps_{who.replace(' ', '_')}", file, *run.parameters)
        for who in CONTESTANTS
    }
    contestants = {who: LapProcesses(line, [{}], LAP) for who, line in lines.items()}
    times = laps(contestants, _ROUNDS)
    progress(", ".join(f"{who} {duration(median(each))}" for who, each in times.items()))
    return times


def _beside_torch(who: str):
    def measure(run: Run) -> float | None:
        times = _times(run)
        return None if times is None else ratio(times, who, "torch")

    return measure


def tfidf(run: Run) -> Reference:
    """Return the test accuracy of scikit-learn's TF-IDF and logistic regression on the same lines."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from tallyloop.data import labelled_text, standard_packages

    def part(split):
        rows = labelled_text(standard_packages(), split)
        return rows.__getitems__(np.arange(len(rows)))

    train, test = part("train"), part("test")
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000)).fit(train["text"], train["label"])
    return Reference("TF-IDF and logistic regression", float(model.score(test["text"], test["label"])))


CONFIGS = (
    Config(
        "char_lm",
        "a transformer that predicts the next byte of a text",
        """
nanoGPT's setting for a CPU, on any text. Look at it for metrics by token, `finish="exp"` (perplexity), a schedule with warmup,
weight decay of some weights only, clipping, and text in TensorBoard. Ten times as large:
`--gin_param=transformer.width=384 --gin_param=transformer.depth=5`. The reference is nanoGPT's model and training in PyTorch
([nanogpt.py](../benchmarks/results/nanogpt.py)), with the same text, split and number of steps; the times are the medians of
paired ratios of 10 steps, in processes that take turns. For the goal on tiny Shakespeare, give its file:
`python -m benchmarks.results char_lm --gin_param='text.path="tinyshakespeare.txt"'`.
""",
        (
            Figure("loss of the whole validation set", last("loss"), Goal("<=", 1.02, True), nanogpt_loss),
            Figure("the same, of tiny Shakespeare", loss_on_shakespeare, Goal("<=", 1.90)),
            Figure("time of a step / nanoGPT's in PyTorch", _beside_torch("trainer"), Goal("<=", 1.0), digits=2),
            Figure("the same with `jit_compile`", _beside_torch("trainer jit"), Goal("<=", 0.65), digits=2),
        ),
    ),
    Config(
        "text_classifier",
        "which of two packages a line of Python comes from",
        """
A vocabulary learned from the training rows alone, which is a part of the model: the SavedModel takes strings. Look at it for
preprocessing layers that adapt, masks, and a folder of texts for each class.
""",
        (Figure("test accuracy", last("accuracy"), ABOVE, tfidf),),
        curve="accuracy",
    ),
)
