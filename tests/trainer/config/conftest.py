"""Configurables to configure, and a loader of configs that are written in a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import gin
import pytest
from tallyloop.metrics.errors import UsageError
from tallyloop.trainer import config
from tallyloop.trainer.config import Config

if TYPE_CHECKING:
    from nowhere import OnlyForCheckers

MODULE = "tests_config"


@gin.register(module=MODULE)
class TestsTask:
    """A task for tests.

    It says more here.
    """

    __test__ = False

    def __init__(self, width: int, depth: int = 2):
        self.width = width
        self.depth = depth


@gin.register(module=MODULE, denylist=["secret"])
class TestsTrainer:
    __test__ = False

    def __init__(
        self,
        task: TestsTask,
        data=None,
        evals: Mapping[str, object] | None = None,
        train_steps: int = 10,
        rate: float = 0.5,
        model_dir: str | None = None,
        strategy: OnlyForCheckers | None = None,
        make: Callable[[int], int] | None = None,
        secret=None,
    ):
        self.task = task
        self.data = data
        self.train_steps = train_steps
        self.rate = rate


@gin.register("tests_input", module=MODULE)
def fake_input(
    path: str = "",
    batch: int = 4,
    shuffle: bool = False,
    names: Sequence[str] = (),
    shape: tuple[int, ...] = (),
    options: dict[str, float] | None = None,
    oddity: int = None,  # noqa: RUF013 (what users write)
    free=None,
    decay=0.1,
):
    return {"path": path, "batch": batch, "shuffle": shuffle, "free": free}


@gin.register("tests_choices", module=MODULE)
def fake_choices(
    on_error: Literal["halt", "skip", "rollback"] = "halt",
    best: Literal["max", "min"] | None = None,
    loop: int | Literal["auto"] = "auto",
    parts: Sequence[Literal["encoder", "decoder"]] = (),
    level: Literal[0, 1] = 0,
):
    return on_error, best, loop, parts, level


@gin.register("tests_open", module=MODULE)
def fake_open(known_name=1, **kwargs):
    return {"known_name": known_name, **kwargs}


@gin.register("tests_twin", module="tests_config.one")
def twin_one(x=1):
    return x


@gin.register("tests_twin", module="tests_config.two")
def twin_two(x=2):
    return x


@gin.register("tests_required", module=MODULE)
def fake_required(x=gin.REQUIRED):
    return x


@gin.register("tests_broken", module=MODULE)
def fake_broken(x=1):
    def inner(needed):
        return needed

    return inner()


@pytest.fixture(autouse=True)
def clean_gin():
    gin.clear_config()
    yield
    gin.clear_config()


@pytest.fixture
def load(tmp_path, monkeypatch) -> Callable[..., Config]:
    """load(text, ..., params=[...]) -> Config: the texts become a.gin, b.gin, ... in the working folder."""
    monkeypatch.chdir(tmp_path)

    def write_and_load(*texts: str, params: Sequence[str] = ()) -> Config:
        names = [f"{letter}.gin" for letter, _ in zip("abcd", texts, strict=False)]
        for name, text in zip(names, texts, strict=True):
            (tmp_path / name).write_text(text)
        return config.load(names, params)

    return write_and_load


@pytest.fixture
def refused(load) -> Callable[..., str]:
    """refused(text, ..., params=[...]) -> the message of the UsageError that `load` raises."""

    def load_and_fail(*texts: str, params: Sequence[str] = ()) -> str:
        with pytest.raises(UsageError) as caught:
            load(*texts, params=params)
        return str(caught.value)

    return load_and_fail
