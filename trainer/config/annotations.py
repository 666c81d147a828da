"""Compares a value with an annotation: strictly where that is clear, and not at all where it is not."""

from __future__ import annotations

import ast
import collections.abc
import inspect
import os
import re
import types
import typing
from collections.abc import Iterator
from typing import Any

from . import engine, names, values
from .signatures import Unresolved
from .values import Macro, Ref


class Anything:
    """Stands for a value that is known when the run is under way: it fits every annotation."""


def concrete(value: Any) -> Any:
    """Replaces references by what they mean: the registered function or class, or `Anything` when called.

    The value's macros have been replaced already; those that are left are constants.
    """

    def change(leaf: Any) -> Any:
        if isinstance(leaf, Macro):
            return Anything()
        if isinstance(leaf, Ref):
            return Anything() if leaf.evaluate else engine.configurables()[leaf.selector].wrapped
        return leaf

    return values.replace(value, change)


def fits(value: Any, wanted: Any) -> bool:
    """Tells whether a concrete value may be given to a parameter annotated `wanted`."""
    if isinstance(value, Anything) or wanted in (Any, object):
        return True
    if isinstance(wanted, Unresolved | typing.TypeVar):
        return True
    if wanted is None or wanted is types.NoneType:
        return value is None
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, choice) for choice in arguments)
    if origin is typing.Literal:
        return any(value == choice and type(value) is type(choice) for choice in arguments)
    if isinstance(wanted, typing.NewType):
        return fits(value, wanted.__supertype__)
    if origin is not None and not isinstance(origin, type):
        return True  # a form of typing's that says nothing about a config value
    return _is_a(value, origin or wanted) and _items_fit(value, arguments)


def _is_a(value: Any, kind: Any) -> bool:
    if not isinstance(kind, type):
        return True
    if kind in (int, float, complex):
        wider = {int: int, float: int | float, complex: int | float | complex}[kind]
        return isinstance(value, wider) and not isinstance(value, bool)
    if isinstance(value, str) and issubclass(kind, os.PathLike):
        return True  # a config cannot write a path in any other way
    if isinstance(value, str | bytes) and kind not in (str, bytes) and issubclass(kind, collections.abc.Iterable):
        return False  # a str is a sequence of str, and nobody means it
    if typing.is_typeddict(kind):
        return isinstance(value, dict)
    try:
        return isinstance(value, kind)
    except TypeError:  # a protocol that is not for run time
        return True


def _items_fit(value: Any, arguments: tuple[Any, ...]) -> bool:
    if isinstance(value, dict) and len(arguments) == 2:
        return all(fits(k, arguments[0]) and fits(v, arguments[1]) for k, v in value.items())
    if isinstance(value, tuple) and arguments and arguments[-1] is not Ellipsis and len(arguments) > 1:
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    if isinstance(value, list | tuple) and arguments:
        return all(fits(item, arguments[0]) for item in value)
    return True


def admits_word(text: str, wanted: Any) -> bool:
    """Tells whether a bare word is a string for a parameter annotated `wanted`."""
    if isinstance(wanted, Unresolved):
        return re.search(r"\b(str|Any|object|Path|PathLike)\b", wanted.text) is not None
    return fits(text, wanted)


def choices(wanted: Any) -> list[str]:
    """Returns the strings that the `Literal`s of an annotation list."""
    arguments = typing.get_args(wanted)
    if typing.get_origin(wanted) is typing.Literal:
        return [choice for choice in arguments if isinstance(choice, str)]
    return [choice for argument in arguments for choice in choices(argument)]


def describe(wanted: Any) -> str:
    """Returns an annotation in words: `int`, `str or None`, `one of 'a', 'b'`, `int or 'a'`."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if wanted in (None, types.NoneType):
        return "None"
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(describe, arguments))
    if origin is typing.Literal:
        return ("one of " if len(arguments) > 1 else "") + ", ".join(map(repr, arguments))
    if isinstance(wanted, list):  # the parameters of a Callable
        return f"[{', '.join(map(describe, wanted))}]"
    if isinstance(wanted, Unresolved):
        return wanted.text
    if wanted is Ellipsis:
        return "..."
    if arguments:
        return f"{describe(origin)}[{', '.join(map(describe, arguments))}]"
    return getattr(wanted, "__qualname__", None) or inspect.formatannotation(wanted).replace("typing.", "")


def correction(value: Any, wanted: Any) -> str | None:
    """Returns the text of the value that was probably meant, if there is one that fits."""
    for candidate in _candidates(value):
        if fits(concrete(candidate), wanted):
            return values.render(candidate, names.short)
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
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        yield words[text.lower()]
        return
    try:
        literal = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return
    yield literal
    if isinstance(literal, float) and literal.is_integer():
        yield int(literal)
