"""`--study`: what a request asks of a study, and the command of each of its trials. TensorFlow is not loaded here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ...metrics.errors import UsageError
from ..study import study
from ..study.book import Book
from ..study.grid import FILE as GRID_FILE
from ..study.grid import Grid, points
from ..study.search import FILE as SEARCH_FILE
from ..study.search import Search
from ..study.space import check_ranges, read
from .request import Request


def run(request: Request, command: Sequence[str]) -> int:
    """Run a study to its end, or until a signal; return the exit code.

    Args:
      request: what is asked for.
      command: runs this program, without its arguments.

    Raises:
      UsageError: the config has nothing to vary, does not say which metric judges, or the folder is of another study.
    """
    name = str(request.study)
    folder = Path(str(request.model_dir)) / name
    space = read(request.gin_file, request.gin_param, request.gin_search_path)
    check_ranges(space, is_grid=bool(request.grid))
    combinations = points(request.grid) if request.grid else []
    _check_kind(folder, request)
    jobs = request.jobs or 1

    def book() -> Book:
        if combinations:
            return Grid(folder, combinations)
        return Search(folder, name, space, request.trials or 0, request.prune, in_parallel=jobs > 1)

    return study.run(
        name, folder, space, book, lambda trial, bindings: [*command, *_arguments(request, trial, bindings)], jobs
    )


def _arguments(request: Request, folder: Path, bindings: Sequence[str]) -> list[str]:
    trial = dataclasses.replace(
        request,
        model_dir=str(folder),
        gin_param=[*request.gin_param, *bindings],
        study=None,
        trials=None,
        jobs=None,
        grid=(),
        prune=True,
    )
    return trial.arguments()


def _check_kind(folder: Path, request: Request) -> None:
    """Check that a folder that a search has begun is not continued by a grid, nor the other way round."""
    other, kind = (SEARCH_FILE, "a search of ranges") if request.grid else (GRID_FILE, "a grid")
    if (folder / other).exists():
        raise UsageError(
            f"--study={request.study}: expected a new folder, or one of the same kind of study, got {folder} of {kind}; choose "
            "another name."
        )
