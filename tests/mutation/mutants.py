"""Mutants of a module: its source with one small change each, made by mutmut's operators.

mutmut's own runner does not fit here. It runs the tests once before it forks, which TensorFlow's threads do not survive; it
leaves out decorated functions and the lambdas of `FINISHERS`; and it puts a frame between a function and its caller, which
`metrics/recording/call_stack.py` and AutoGraph see.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator

import libcst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_string

OPERATORS = [(kind, operator) for kind, operator in mutation_operators if operator is not operator_string]


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A changed source.

    Attributes:
      source: the whole module.
      line: the number of the line where the change starts.
      change: the lines that differ, each with "- " or "+ " in front.
    """

    source: str
    line: int
    change: str


def mutants_of(source: str) -> list[Mutant]:
    """Return all mutants in the order of the source; without those of strings, annotations and those that do not compile."""
    wrapper = MetadataWrapper(libcst.parse_module(source))
    visitor = _Nodes(wrapper.resolve(PositionProvider))
    wrapper.module.visit(visitor)
    found = {}
    for line, node in sorted(visitor.nodes, key=lambda each: each[0]):
        for changed in _changes(node):
            text = wrapper.module.deep_replace(node, changed).code
            if text != source and _compiles(text):
                found.setdefault(text, Mutant(text, line, _difference(source, text)))
    return list(found.values())


class _Nodes(libcst.CSTVisitor):
    """Collects the nodes that are executed: annotations are not, under `from __future__ import annotations`."""

    def __init__(self, positions):
        self.nodes = []
        self._positions = positions

    def on_visit(self, node):
        if isinstance(node, libcst.Annotation | libcst.ImportFrom | libcst.Import):
            return False
        if node in self._positions:
            self.nodes.append((self._positions[node].start.line, node))
        return True


def _changes(node: libcst.CSTNode) -> Iterator[libcst.CSTNode]:
    for kind, operator in OPERATORS:
        if isinstance(node, kind):
            yield from operator(node)


def _compiles(text: str) -> bool:
    try:
        compile(text, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def _difference(old: str, new: str) -> str:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm="")
    return "\n".join(f"{line[0]} {line[1:].strip()}" for line in list(lines)[2:] if line[0] in "+-")
