"""Finds the errors and warnings in the code, and compares them with docs/errors.md.

python docs/error_messages.py    # prints the messages that the page lacks, and its rows that no message fits

A message is written as a pattern, with … for what differs. A row of the page names one or more patterns.
"""

from __future__ import annotations

import ast
import functools
import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "errors.md"
PACKAGES = ("trainer", "metrics", "data", "models")
HOLE = "…"
_ERRORS = re.compile(
    r"(\w+\.)?(Usage|BadRange|Data|Output|Checkpoint|UnreadableCheckpoint|Cluster|NonFinite|Preempted|Runtime|NotImplemented"
    r"|Value|Type)Error"
)
# Their ValueErrors are caught, or tell of a mistake of our own.
_INTERNAL = ("trainer/distribution/membership.py", "metrics/writers/composed.py")
_TELLERS = ("self._fail", "self._report")  # methods that put their last argument into what they tell
# What these return or yield, in trainer/config, are the mistakes of a config, which are told together.
CONFIG_PROBLEMS = (
    "_undefined_macros",
    "_unused_macros",
    "_dead_scopes",
    "_wrong_type",
    "_left_required",
    "_left_ranges",
    "_cycle_message",
    "_required",
    "_duplicate",
)
_WARNINGS = ("logging.warning", "warnings.warn", "self.warnings.append")
_FORMAT = re.compile(r"%(?:%|[-+ #0]*\d*(?:\.\d+)?[srdgfi])")
_LEAST_LETTERS = 8  # of a message that tells what it is about; with fewer, what is put into it is looked at
_LEAST_OF_ROW = 14  # letters of a pattern that tells its message from others
_MOST_PATTERNS = 40  # of one message
_DEPTH = 4
_HEADER = "| message | cause | fix |"
_CODE = re.compile(r"`(.+?)`(?=<br>|$)")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Message:
    """What a user may read.

    Attributes:
      place: `file:line`.
      pattern: the text, with … for what differs.
    """

    place: str
    pattern: str


@dataclass(frozen=True)
class Row:
    """A row of the page.

    Attributes:
      line: its number.
      patterns: those that it names.
      cause: why the message comes.
      fix: what to do.
    """

    line: int
    patterns: tuple[str, ...]
    cause: str
    fix: str


def messages(root: Path = ROOT) -> list[Message]:
    """Return the messages of all errors and warnings of the packages, except for those that only pass another one on."""
    paths = [path for name in PACKAGES for path in sorted((root / name).rglob("*.py"))]
    modules = [_Module(path, path.relative_to(root)) for path in paths]
    return list(dict.fromkeys(each for module in modules for each in _Reader(module, modules).messages()))


def rows(text: str) -> list[Row]:
    """Return the rows of the page's tables of messages: | `PATTERN`<br>`PATTERN` | cause | fix |."""
    found, inside = [], False
    for number, line in enumerate(text.splitlines(), 1):
        inside = line == _HEADER or (inside and line.startswith("|"))
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if inside and cells[0].startswith("`"):
            found.append(Row(number, tuple(_CODE.findall(cells[0])), *cells[1:]))
    return found


def fits(pattern: str, message: str) -> bool:
    """Return whether a message begins as a pattern of the page says; `…` is any text.

    A pattern that begins with … and says little more, such as `… = …: expected …`, fits messages alone that say little more.
    """
    general = pattern.startswith(HOLE) and letters(pattern) < _LEAST_OF_ROW
    if general and letters(message) > letters(pattern) + _LEAST_OF_ROW:
        return False
    begin, *others = pattern.split(HOLE)
    place = len(begin) if message.startswith(begin) else -1
    for part in others:  # not by a regular expression, which takes ten times as long
        found = message.find(part, place) if place >= 0 else -1
        place = found + len(part) if found >= 0 else -1
    return place >= 0


def missing(found: Iterable[Message], known: Sequence[Row]) -> list[Message]:
    """Return the messages that no row names."""
    patterns = [pattern for row in known for pattern in row.patterns]
    return [message for message in found if not any(fits(pattern, message.pattern) for pattern in patterns)]


def outdated(found: Sequence[Message], known: Iterable[Row]) -> list[str]:
    """Return `line: pattern` of those of the page that no message fits."""
    return [
        f"{row.line}: {pattern}"
        for row in known
        for pattern in row.patterns
        if not any(fits(pattern, message.pattern) for message in found)
    ]


@functools.cache
def letters(pattern: str) -> int:
    """Return how many letters of a pattern are fixed."""
    return sum(map(str.isalpha, pattern))


class _Module:
    def __init__(self, path: Path, shown: Path):
        self.tree = ast.parse(path.read_text())
        self.shown = shown

    @cached_property
    def functions(self) -> dict[str, list[Function]]:
        """Name -> the functions and methods with it."""
        found: dict[str, list[Function]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                found.setdefault(node.name, []).append(node)
        return found


class _Reader:
    """Reads the messages of a module; those that functions compose it looks up in all modules."""

    def __init__(self, module: _Module, modules: Sequence[_Module]):
        self._module = module
        self._modules = modules

    def messages(self) -> Iterator[Message]:
        yield from self._below(self._module.tree, self._module.tree)

    def _below(self, node: ast.AST, scope: ast.AST) -> Iterator[Message]:
        if isinstance(node, Function):
            scope = node
        for told in self._told_by(node, scope):
            for pattern in self._patterns(told, scope, _DEPTH):
                if letters(pattern) >= _LEAST_LETTERS:
                    yield Message(f"{self._module.shown}:{told.lineno}", _FORMAT.sub(_of_format, pattern))
        for child in ast.iter_child_nodes(node):
            yield from self._below(child, scope)

    def _told_by(self, node: ast.AST, scope: ast.AST) -> list[ast.expr]:
        """Return what a node tells the user: an error, a warning, a line on stderr, or a mistake in a config."""
        if isinstance(node, ast.Return | ast.Yield) and getattr(scope, "name", "") in CONFIG_PROBLEMS:
            return [node.value] if node.value is not None else []
        if not isinstance(node, ast.Call) or not node.args:
            return []
        name, (text, *arguments) = ast.unparse(node.func), node.args
        if name in _TELLERS:
            return [node.args[-1]]
        if name == "ValueError" and str(self._module.shown) in _INTERNAL:
            return []
        if not (_is_to_stderr(node) or self._writes(name) or name in _WARNINGS or _ERRORS.fullmatch(name)):
            return []
        only_passed_on = isinstance(text, ast.Constant) and letters(_FORMAT.sub("", str(text.value))) < _LEAST_LETTERS
        return arguments if only_passed_on else [text]

    def _writes(self, name: str) -> bool:
        """Return whether a function of the module writes what it is given to stderr."""
        found = self._module.functions.get(name, ()) if name.startswith("_") else ()
        return any(_is_to_stderr(node) for function in found for node in ast.walk(function))

    def _patterns(self, node: ast.AST, scope: ast.AST, depth: int) -> list[str]:
        """Return what an expression may give, with … for what is not known."""
        own = self._own(node, scope, depth)
        if depth and any(letters(pattern) < _LEAST_LETTERS for pattern in own):
            own = self._composed(node, scope, depth)
        return list(dict.fromkeys(own))[:_MOST_PATTERNS]

    def _own(self, node: ast.AST, scope: ast.AST, depth: int) -> list[str]:
        match node:
            case ast.Constant(value=str() as text):
                return [text]
            case ast.JoinedStr(values=values):
                return ["".join(part.value if isinstance(part, ast.Constant) else HOLE for part in values)]
            case ast.BinOp(op=ast.Add()):
                return self._product([node.left, node.right], scope, depth)
            case ast.IfExp():
                return self._either([node.body, node.orelse], scope, depth)
            case ast.BoolOp():
                return self._either(node.values, scope, depth)
            case _:
                return [HOLE]

    def _composed(self, node: ast.AST, scope: ast.AST, depth: int) -> list[str]:
        match node:
            case ast.JoinedStr(values=values):
                return self._product(values, scope, depth)
            case ast.FormattedValue(value=value) | ast.Subscript(value=value):
                return self._patterns(value, scope, depth - 1)
            case ast.Name(id=name):
                return self._either(self._assigned(name, scope), scope, depth - 1)
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Dict(values=parts):
                return self._either(parts, scope, depth)
            case ast.Call():
                return self._called(node, scope, depth - 1)
            case _:
                return self._own(node, scope, depth)

    def _called(self, node: ast.Call, scope: ast.AST, depth: int) -> list[str]:
        """Return what a function returns; if that says little, what it is given."""
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        defining = [self._module] if name in self._module.functions else self._modules
        for module, function in ((each, found) for each in defining for found in each.functions.get(name, ())):
            reader = _Reader(module, self._modules)
            returned = [
                each.value for each in ast.walk(function) if isinstance(each, ast.Return | ast.Yield) and each.value
            ]
            found = [text for each in returned for text in reader._patterns(each, function, depth)]
            if any(letters(text) >= _LEAST_LETTERS for text in found):
                return found
        return self._either(node.args, scope, depth)

    def _assigned(self, name: str, scope: ast.AST) -> list[ast.AST]:
        """Return the values of a variable of the function, or else of the module; those of a parameter are not known."""
        if isinstance(scope, Function) and name in {
            each.arg for each in ast.walk(scope.args) if isinstance(each, ast.arg)
        }:
            return []
        for place in (scope, self._module.tree):
            found = [value for node in ast.walk(place) for value in _values(node, name)]
            if found:
                return found
        imported = [module for module in self._modules if name.isupper() and name[0] != "_"]
        return [value for module in imported for node in module.tree.body for value in _values(node, name)]

    def _either(self, nodes: Sequence[ast.AST], scope: ast.AST, depth: int) -> list[str]:
        return [text for node in nodes for text in self._patterns(node, scope, max(depth, 0))] or [HOLE]

    def _product(self, nodes: Sequence[ast.AST], scope: ast.AST, depth: int) -> list[str]:
        parts = [self._own_or_composed(node, scope, depth) for node in nodes]
        return ["".join(each) for each in itertools.islice(itertools.product(*parts), _MOST_PATTERNS)]

    def _own_or_composed(self, node: ast.AST, scope: ast.AST, depth: int) -> list[str]:
        if isinstance(node, ast.Constant):
            return [node.value if isinstance(node.value, str) else HOLE]
        return self._patterns(node, scope, depth)


def _values(node: ast.AST, name: str) -> list[ast.AST]:
    match node:
        case ast.Assign(targets=targets, value=value) if any(_is(each, name) for each in targets):
            return [value]
        case ast.AnnAssign(target=target, value=value) if _is(target, name) and value is not None:
            return [value]
        case ast.AugAssign(target=target, value=value) if _is(target, name):
            return [value]
        case ast.NamedExpr(target=target, value=value) if _is(target, name):
            return [value]
        case _:
            return []


def _is(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _is_to_stderr(node: ast.AST) -> bool:
    """Return whether a node writes to stderr, by a call."""
    if not isinstance(node, ast.Call):
        return False
    name = ast.unparse(node.func)
    files = [ast.unparse(each.value) for each in node.keywords if each.arg == "file"]
    return name == "sys.stderr.write" or (name == "print" and "sys.stderr" in files)


def _of_format(match: re.Match[str]) -> str:
    return "%" if match[0] == "%%" else HOLE


def main() -> int:
    """Print what is missing and what is outdated; the exit code tells whether anything is."""
    found = messages()
    known = rows(PAGE.read_text()) if PAGE.exists() else []
    lacks, old = missing(found, known), outdated(found, known)
    for message in lacks:
        print(f"{message.place}: `{message.pattern}`")
    for row in old:
        print(f"{PAGE.name}:{row} fits no message")
    return bool(lacks or old)


if __name__ == "__main__":
    sys.exit(main())
