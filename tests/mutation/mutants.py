"""Mutants of a module: mutmut's operators, on every function, decorated or not, and on constants of the module.

Left out are operators of which nearly every test dies, so that they raise the share of killed mutants and show nothing:
None in place of an assigned value or of an argument, and the loss of a positional argument that others follow. A number
with a decimal point or exponent is doubled, which is harder to notice than 1 more.
"""

from __future__ import annotations

import difflib
import random
from collections.abc import Iterator
from dataclasses import dataclass

import libcst as cst
from libcst.metadata import MetadataWrapper, ParentNodeProvider, PositionProvider
from mutmut.mutation.mutators import mutation_operators, operator_assignment

# No behaviour of the program: types, decorators (which run at import), what `import *` means.
SKIPPED = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom)


@dataclass(frozen=True)
class Mutant:
    """One change of a module.

    Attributes
    ----------
    module, line
        Where it is; the line counts from 1.
    code
        The whole module, changed.
    before, after
        The lines that differ.
    lines
        Lines one of which a test must run to meet the change; empty where it is met by importing the module.
    """

    module: str
    line: int
    code: str
    before: str
    after: str
    lines: tuple[int, ...]


def sample(module: str, code: str, size: int, seed: int) -> tuple[list[Mutant], int]:
    """Up to ``size`` mutants drawn at random, in the order of lines, and how many there are."""
    wrapper = MetadataWrapper(cst.parse_module(code))
    visitor = _Changes()
    wrapper.visit(visitor)
    changes = visitor.changes
    drawn = sorted(random.Random(f"{seed} {module}").sample(range(len(changes)), min(size, len(changes))))
    mutants = []
    for node, changed, lines in (changes[index] for index in drawn):
        text = wrapper.module.deep_replace(node, changed).code  # type: ignore[union-attr]
        before, after, line = _difference(code, text)
        mutants.append(Mutant(module, line, text, before, after, lines))
    return mutants, len(changes)


class _Changes(cst.CSTVisitor):
    """Collects (node, changed node, lines)."""

    METADATA_DEPENDENCIES = (PositionProvider, ParentNodeProvider)

    def __init__(self) -> None:
        self.changes: list[tuple[cst.CSTNode, cst.CSTNode, tuple[int, ...]]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, SKIPPED) or _is_exports(node):
            return False
        lines = None
        for kind, operator in mutation_operators:
            if isinstance(node, kind) and operator is not operator_assignment:
                for changed in _doubled(node) if isinstance(node, cst.Float) else operator(node):
                    if not _is_deadly(node, changed):
                        lines = self._lines(node) if lines is None else lines
                        self.changes.append((node, changed, lines))
        return True

    def _lines(self, node: cst.CSTNode) -> tuple[int, ...]:
        """Lines of the innermost statement; of a default value, the function's body; none outside functions."""
        position = self.get_metadata(PositionProvider, node)
        own = set(range(position.start.line, position.end.line + 1))
        lines: set[int] | None = None
        while (parent := self.get_metadata(ParentNodeProvider, node, None)) is not None:
            if isinstance(node, cst.SimpleStatementLine | cst.BaseCompoundStatement) and lines is None:
                span = self.get_metadata(PositionProvider, node)
                last = span.end.line if isinstance(node, cst.SimpleStatementLine) else span.start.line
                lines = own | set(range(span.start.line, last + 1))
                if isinstance(node, cst.FunctionDef):
                    lines = set(range(span.start.line, span.end.line + 1))
            if isinstance(node, cst.FunctionDef):
                return tuple(sorted(lines or own))
            node = parent
        return ()


def _doubled(node: cst.Float) -> Iterator[cst.Float]:
    if node.evaluated_value:
        yield node.with_changes(value=repr(2 * node.evaluated_value))


def _is_deadly(node: cst.CSTNode, changed: cst.CSTNode) -> bool:
    if not isinstance(node, cst.Call) or not isinstance(changed, cst.Call):
        return False
    if len(node.args) > len(changed.args):
        kept = {id(argument) for argument in changed.args}
        [lost] = (argument for argument in node.args if id(argument) not in kept)
        return lost.keyword is None and lost is not node.args[-1]
    return any(
        old is not new and isinstance(new.value, cst.Name) and new.value.value == "None"
        for old, new in zip(node.args, changed.args, strict=True)
    )


def _is_exports(node: cst.CSTNode) -> bool:
    return isinstance(node, cst.Assign) and any(
        isinstance(target.target, cst.Name) and target.target.value == "__all__" for target in node.targets
    )


def _difference(code: str, changed: str) -> tuple[str, str, int]:
    """The lines taken away, the lines put in their place, and the first line's number."""
    old, new = code.splitlines(), changed.splitlines()
    before, after, first = [], [], 0
    for tag, start, stop, other_start, other_stop in _opcodes(old, new):
        if tag != "equal":
            before += old[start:stop]
            after += new[other_start:other_stop]
            first = first or start + 1
    return _joined(before), _joined(after), first


def _opcodes(old: list[str], new: list[str]) -> Iterator[tuple[str, int, int, int, int]]:
    yield from difflib.SequenceMatcher(a=old, b=new, autojunk=False).get_opcodes()


def _joined(lines: list[str]) -> str:
    return " ".join(line.strip() for line in lines)
