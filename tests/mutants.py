"""Mutants of a source file: one operator, comparison, number, sign, bound or call of it is changed. Runs no test."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

OPERATORS: dict[type[ast.AST], list[type[ast.AST]]] = {
    ast.Lt: [ast.LtE, ast.GtE],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Gt: [ast.GtE, ast.LtE],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Mult],
    ast.Mod: [ast.Mult],
    ast.Pow: [ast.Mult],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
}
_PAIRS = ("min max", "any all", "minimum maximum", "amin amax", "argmin argmax", "sum mean")
NAMES = {a: b for pair in _PAIRS for a, b in (pair.split(), pair.split()[::-1])}
DROPPED = {"abs", "clamp", "detach", "exp", "float", "flip", "log", "round", "sorted", "sqrt", "strip"}
"""Calls that are left out: what they are called on, or with, stands in their place."""
UNTOUCHED = (ast.Raise, ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom, ast.expr_context)
_FIELDS = {"annotation", "returns", "decorator_list", "bases"}


@dataclass(frozen=True, eq=False)
class Mutant:
    """``old`` of ``parent`` gives way to ``new``; ``function`` is the outermost function around it, if there is one."""

    name: str
    parent: ast.AST
    field: str
    at: int | None
    new: ast.AST
    function: ast.FunctionDef | None

    def apply(self) -> None:
        if self.at is None:
            setattr(self.parent, self.field, self.new)
        else:
            getattr(self.parent, self.field)[self.at] = self.new


def changed(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in the place of a node."""
    yield from (other() for other in OPERATORS.get(type(node), []))
    match node:
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            yield ast.Constant(value * 2 or 1.0)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1)):
            return  # the last axis or place, which is the first but one in most tensors here
        case ast.UnaryOp(operand=operand):
            yield operand
        case ast.Name(id=name) if name in NAMES:
            yield ast.Name(NAMES[name], ast.Load())
        case ast.Attribute(value=value, attr=name) if name in NAMES:
            yield ast.Attribute(value, NAMES[name], ast.Load())
        case ast.Call(func=ast.Attribute(value=value, attr=name)) if name in DROPPED and not _module(value):
            yield value
        case ast.Call(func=ast.Attribute(attr=name) | ast.Name(id=name), args=[value, *_]) if name in DROPPED:
            yield value
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Continue():
            yield ast.Break()
        case ast.Slice(lower=lower, upper=upper, step=step):
            if lower and not isinstance(lower, ast.Constant):
                yield ast.Slice(ast.BinOp(lower, ast.Add(), ast.Constant(1)), upper, step)
            if upper and not isinstance(upper, ast.Constant):
                yield ast.Slice(lower, ast.BinOp(upper, ast.Add(), ast.Constant(1)), step)


def _unseen(node: ast.AST) -> bool:
    """What only type checkers run."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _module(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("np", "torch", "math")


def mutants(source: str, tree: ast.Module) -> list[Mutant]:
    lines, seen, found = source.splitlines(), Counter[str](), list[Mutant]()

    def walk(node: ast.AST, outer: ast.FunctionDef | None, line: int) -> None:
        for field, value in ast.iter_fields(node):
            if field in _FIELDS or (isinstance(node, ast.keyword) and node.arg == "strict"):
                continue
            own = outer or (node if isinstance(node, ast.FunctionDef) and field == "body" else None)
            for at, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if not isinstance(child, ast.AST) or isinstance(child, UNTOUCHED) or _unseen(child):
                    continue
                here = getattr(child, "lineno", line)
                for new in _tests(node, field, child) if field in ("test", "ifs") else changed(child):
                    name = f"{lines[here - 1].strip()}\t{_said(child)} -> {_said(new)}"
                    seen[name] += 1
                    name += f" #{seen[name]}" if seen[name] > 1 else ""
                    found.append(Mutant(name, node, field, at, new, own))
                walk(child, own, here)

    walk(tree, None, 1)
    return found


def _tests(node: ast.AST, field: str, child: ast.AST) -> Iterator[ast.AST]:
    """A condition that is not a comparison is turned round as a whole."""
    if isinstance(child, ast.Compare | ast.UnaryOp):
        yield from changed(child)
    else:
        assert isinstance(child, ast.expr)
        yield ast.UnaryOp(ast.Not(), child)


def _said(node: ast.AST) -> str:
    return ast.unparse(node) if isinstance(node, ast.expr | ast.stmt) else type(node).__name__
