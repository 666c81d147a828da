"""Loads a config: files, overrides, checks, and then gin."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...metrics.errors import UsageError
from . import checks, engine
from .config import Binding, Config
from .lookup import Lookup
from .reading import Reader, read_param
from .values import render

_latest: list[Config] = []  # gin's config is one for the process, and so is what describes it


def load(
    gin_files: Sequence[str] = (),
    gin_params: Sequence[str] = (),
    search_paths: Sequence[str] = (),
    *,
    scopes: Collection[str] = (),
) -> Config:
    """Reads and checks a config, gives it to gin in place of the one before, and locks it.

    Later files win over earlier ones, and `gin_params` over all files. A config with a mistake leaves gin as
    it was, except that the modules it imports have been imported.

    Args:
        gin_files: config files, searched in the working folder, `search_paths`, then the bundled configs. An
            `include` is also searched beside the file that includes it, first.
        gin_params: overrides such as `Trainer.train_steps=500`. A string needs no quotes where only a string
            can stand.
        search_paths: further folders with configs.
        scopes: gin scopes that code enters, such as `eval`; references in the config need not enter them.

    Raises:
        UsageError: it lists every mistake with its file and line, or its `--gin_param`.
    """
    reader = Reader(search_paths)
    for name in gin_files:
        reader.file(name)
    written = [*reader.written, *map(read_param, gin_params)]
    lookup = Lookup()
    bindings = lookup.bindings(written)
    warnings = (*lookup.warnings, *checks.duplicates(bindings))
    imports = tuple({statement.format(): statement for statement in reader.imports}.values())
    config = Config(tuple(bindings), imports, warnings, tuple(scopes))
    _refuse([*lookup.problems, *checks.problems(config, written)])
    engine.feed(config.imports, map(_line, config.effective.values()))
    _latest[:] = [config]
    return config


def latest() -> Config | None:
    """Returns the config that was loaded last."""
    return _latest[0] if _latest else None


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
