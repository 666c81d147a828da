"""Loads a config: reads the files and overrides, checks them, and hands them to gin."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence

from ...metrics.errors import UsageError
from . import checks, engine
from .config import Binding, Config
from .lookup import Lookup
from .reading import Reader, read_param
from .syntax import render

_in_use: list[Config] = []  # the last one is gin's


def load(gin_files: Sequence[str] = (), gin_params: Sequence[str] = (), search_paths: Sequence[str] = ()) -> Config:
    """Read and check a config, let it replace gin's, and lock that.

    Later files override earlier ones, and `gin_params` override all files. A config with a mistake leaves gin's as it was,
    except that the modules it imports have been imported.

    Args:
      gin_files: config files, searched in the working folder, `search_paths`, then the bundled configs. An `include` is
        searched beside the including file first.
      gin_params: overrides such as `Trainer.train_steps=500`. A string needs no quotes where only a string is possible.
      search_paths: further folders with configs.

    Raises:
      UsageError: it lists all mistakes, each with its file and line or its `--gin_param`.
    """
    reader = Reader(search_paths)
    for name in gin_files:
        reader.file(name)
    written = [*reader.written, *map(read_param, gin_params)]
    lookup = Lookup()
    bindings = lookup.bindings(written)
    imports = tuple({statement.format(): statement for statement in reader.imports}.values())
    config = Config(tuple(bindings), imports)
    config = dataclasses.replace(config, warnings=(*dict.fromkeys(lookup.warnings), *checks.duplicates(config)))
    _refuse([*lookup.problems, *checks.problems(config, written)])
    _feed(config)
    return config


@contextlib.contextmanager
def in_use(config: Config) -> Iterator[None]:
    """Let gin inject this config inside the context, and no config after it, so that code may register more configurables.

    A config in use before goes on after the context. What was called in an earlier context of the same config counts as used.
    """
    if _in_use and _in_use[-1] is config:
        yield
        return
    if _in_use:
        _in_use[-1].calls.update(engine.used())
    _in_use.append(config)
    _feed(config)
    try:
        yield
    finally:
        config.calls.update(engine.used())
        _in_use.pop()
        if _in_use:
            _feed(_in_use[-1])
        else:
            engine.clear()


def _feed(config: Config) -> None:
    engine.feed(config.imports, map(_line, config.effective.values()))
    engine.remember(config.calls)


def _refuse(problems: Sequence[str]) -> None:
    if len(problems) == 1:
        raise UsageError(problems[0])
    if problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise UsageError(f"{len(problems)} mistakes in the config:\n{listed}")


def _line(binding: Binding) -> str:
    name = binding.scope if binding.is_macro else f"{binding.selector}.{binding.param}"
    if binding.scope and not binding.is_macro:
        name = f"{binding.scope}/{name}"
    return f"{name} = {render(binding.value)}"
