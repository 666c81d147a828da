"""Trains some runs and writes what TensorBoard shows of them to docs/images: `python -m benchmarks.dashboard`.

It needs Chromium or Chrome. Of existing runs: `python -m benchmarks.dashboard --runs=FOLDER --images=FOLDER`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from .browser import Browser, find
from .server import TensorBoard

_IMAGES = Path(__file__).parents[2] / "docs/images"
_COLORS = 128  # of a picture, which is then small
_SETTLED = 4.0  # seconds after which the charts no longer move
_SWEEP = {"Adam.learning_rate": ("1e-2", "1e-3", "1e-4"), "mlp.hidden": ("(32,)", "(512,)")}
_ACTIONS = ("Trainer.actions=[@WriteExamples()]", "Trainer.summary_interval=20", "Trainer.eval_interval=40")
_SHOWN = ("1e-3", "(32,)")  # whose examples are shown: some are wrong


def _name(rate: str, hidden: str) -> str:
    return f"rate_{rate}_width_{hidden[1:-2]}"


def train(folder: Path) -> None:
    """Train a sweep over the digits, and an autoencoder."""
    for values in itertools.product(*_SWEEP.values()):
        params = [f"{name}={value}" for name, value in zip(_SWEEP, values, strict=True)]
        _tallyloop(folder / "digits" / _name(*values), "digits.gin", "Trainer.train_steps=200", *_ACTIONS, *params)
    _tallyloop(folder / "autoencoder", "autoencoder.gin", "Trainer.train_steps=400", *_ACTIONS)


def _tallyloop(model_dir: Path, gin_file: str, *params: str) -> None:
    print(f"training {model_dir.name} ...", flush=True)
    flags = [f"--gin_file={gin_file}", f"--model_dir={model_dir}", *(f"--gin_param={each}" for each in params)]
    subprocess.run([sys.executable, "-m", "tallyloop.trainer", *flags], check=True, stdout=subprocess.DEVNULL)


def show(runs: Path, images: Path, browser: str) -> None:
    """Write the pictures."""
    images.mkdir(parents=True, exist_ok=True)
    with Browser(browser, 1280, 720) as page:
        with TensorBoard(runs / "digits") as board:
            time.sleep(_SETTLED)
            page.open(board.url + "#hparams")
            page.wait_for("Trial ID", seconds=60)
            page.click("PARALLEL COORDINATES VIEW")
            time.sleep(_SETTLED)
            _save(page, images / "hparams.png")
        with _alone(runs / "digits" / _name(*_SHOWN)) as board:
            time.sleep(_SETTLED)
            page.open(board.url + "#images")
            page.wait_for("examples/wrong", seconds=60)
            time.sleep(_SETTLED)
            _save(page, images / "examples.png")
        with _alone(runs / "autoencoder") as board:
            time.sleep(_SETTLED)
            page.open(board.url + "#custom_scalars")
            page.wait_for("loss and its parts", seconds=60)
            time.sleep(_SETTLED)
            _save(page, images / "custom_scalars.png")


@contextlib.contextmanager
def _alone(run: Path) -> Iterator[TensorBoard]:
    """Serve a folder with one run in it: with that of the run itself, TensorBoard would not know its name."""
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder) / "runs"
        shutil.copytree(run, runs / run.name, ignore=shutil.ignore_patterns("checkpoints"))
        with TensorBoard(runs) as board:
            yield board


def _save(page: Browser, path: Path) -> None:
    page.screenshot(path)
    with Image.open(path) as image:
        small = image.convert("RGB").quantize(_COLORS)
    small.save(path, optimize=True)
    print(f"{path}: {path.stat().st_size // 1024} KB")


def main() -> None:
    """Parse the flags, train what is to be shown, and show it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, help="show the runs in this folder instead of training some")
    parser.add_argument("--images", type=Path, default=_IMAGES, help="where the pictures go")
    options = parser.parse_args()
    if (browser := find()) is None:
        sys.exit("python -m benchmarks.dashboard: expected Chromium or Chrome on the PATH, found none.")
    with tempfile.TemporaryDirectory() as made:
        if options.runs is None:
            train(Path(made))
        show(options.runs or Path(made), options.images, browser)


if __name__ == "__main__":
    main()
