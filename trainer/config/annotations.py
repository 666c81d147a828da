"""Compares a value with an annotation: strictly where the annotation is clear, and not at all where it is not."""

from __future__ import annotations

import ast
import collections.abc
import inspect
import re
import types
import typing
from collections.abc import Iterable, Iterator
from typing import Any

from . import engine, names
from .signatures import Unresolved
from .syntax import PYTHON_NAMES, Macro, Ref, render, replace


class Anything:
    """Stands for a value that is known only when the run is under way: it fits every annotation."""


def concrete(value: Any) -> Any:
    """Replace references by what they stand for: the registered function or class, or `Anything` if called.

    Macros have been replaced before; what is left of them are constants.
    """

    def change(leaf: Any) -> Any:
        if isinstance(leaf, Macro):
            return Anything()
        if isinstance(leaf, Ref):
            return Anything() if leaf.evaluate else engine.configurables()[leaf.selector].wrapped
        return leaf

    return replace(value, change)


def fits(value: Any, annotation: Any) -> bool:
    """Return whether a concrete value can be passed to a parameter with this annotation."""
    if isinstance(value, Anything) or annotation in (Any, object):
        return True
    if isinstance(annotation, Unresolved | typing.TypeVar):
        return True
    if annotation is None or annotation is types.NoneType:
        return value is None
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, alternative) for alternative in arguments)
    if origin is typing.Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    if isinstance(annotation, typing.NewType):
        return fits(value, annotation.__supertype__)
    if origin is not None and not isinstance(origin, type):
        return True  # a form of typing's that says nothing about a config value
    return _is_a(value, origin or annotation) and _items_fit(value, arguments)


def _is_a(value: Any, kind: Any) -> bool:
    if not isinstance(kind, type):
        return True
    if kind in (int, float, complex):
        wider = {int: int, float: int | float, complex: int | float | complex}[kind]
        return isinstance(value, wider) and not isinstance(value, bool)
    if isinstance(value, str) and hasattr(kind, "__fspath__"):
        return True  # a config has no other way to write a path
    if isinstance(value, str | bytes) and kind not in (str, bytes) and issubclass(kind, collections.abc.Iterable):
        return False  # a str is a sequence of str, but nobody means that
    if typing.is_typeddict(kind):
        return isinstance(value, dict)
    try:
        return isinstance(value, kind)
    except TypeError:  # a protocol without @runtime_checkable
        return True


def _items_fit(value: Any, arguments: tuple[Any, ...]) -> bool:
    if isinstance(value, dict) and len(arguments) == 2:
        return all(fits(k, arguments[0]) and fits(v, arguments[1]) for k, v in value.items())
    if isinstance(value, tuple) and arguments and arguments[-1] is not Ellipsis and len(arguments) > 1:
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    if isinstance(value, list | tuple) and arguments:
        return all(fits(item, arguments[0]) for item in value)
    return True


def admits_word(text: str, annotation: Any) -> bool:
    """Return whether a bare word is a string for a parameter with this annotation."""
    if isinstance(annotation, Unresolved):
        return re.search(r"\b(str|Any|object|Path|PathLike)\b", annotation.text) is not None
    return fits(text, annotation)


def choices(annotation: Any) -> list[str]:
    """Return the strings in the `Literal`s of an annotation."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return [choice for choice in arguments if isinstance(choice, str)]
    return [choice for argument in arguments for choice in choices(argument)]


def describe(annotation: Any) -> str:
    """Return an annotation in words: `int`, `str or None`, `one of 'a', 'b'`, `int or 'a'`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in (None, types.NoneType):
        return "None"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(describe, arguments))
    if origin is typing.Literal:
        return ("one of " if len(arguments) > 1 else "") + ", ".join(map(repr, arguments))
    if isinstance(annotation, list):  # the parameters of a Callable
        return f"[{', '.join(map(describe, annotation))}]"
    if isinstance(annotation, Unresolved):
        return annotation.text
    if annotation is Ellipsis:
        return "..."
    if arguments:
        return f"{describe(origin)}[{', '.join(map(describe, arguments))}]"
    return getattr(annotation, "__qualname__", None) or inspect.formatannotation(annotation).replace("typing.", "")


def kind_of(value: Any) -> str:
    """Return the type of a config value in words: `int`, `None`, `list[str]`, `the class itself`."""
    if value is None:
        return "None"
    if isinstance(value, Ref):
        is_class = inspect.isclass(engine.configurables()[value.selector].wrapped)
        return f"the {'class' if is_class else 'function'} itself"
    name = type(value).__name__
    if not value or not isinstance(value, dict | list | tuple):
        return name
    parts = [value.keys(), value.values()] if isinstance(value, dict) else [value]
    return f"{name}[{', '.join(map(_kinds, parts))}]"


def _kinds(items: Iterable[Any]) -> str:
    return " | ".join(dict.fromkeys("object" if isinstance(item, Ref | Macro) else kind_of(item) for item in items))


def correction(value: Any, annotation: Any) -> str | None:
    """Return the text of the value that was probably meant, if one of the likely ones fits."""
    for candidate in _candidates(value):
        if fits(concrete(candidate), annotation):
            return render(candidate, names.short)
    return None


def _candidates(value: Any) -> Iterator[Any]:
    if isinstance(value, Ref):
        yield Ref(value.scope, value.selector, evaluate=True)
        return
    if isinstance(value, float) and value.is_integer():
        yield int(value)
    if value in (0, 1) and isinstance(value, int):
        yield bool(value)
    if isinstance(value, str):
        yield from _unquoted(value)
    if isinstance(value, list):
        yield tuple(value)
    if isinstance(value, tuple):
        yield list(value)
    if isinstance(value, bool | int | float | str):
        yield from ([value], (value,), str(value))


def _unquoted(text: str) -> Iterator[Any]:
    if text.lower() in PYTHON_NAMES:
        yield PYTHON_NAMES[text.lower()]
        return
    try:
        literal = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return
    yield literal
    if isinstance(literal, float) and literal.is_integer():
        yield int(literal)
