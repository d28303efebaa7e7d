"""The terms of a reward as recipes write it: which pay for form alone, and the reward without one of its parts.

It reads the text as Python's grammar and writes it again; it makes no reward and runs nothing.
"""

from __future__ import annotations

import ast


def form_terms(expression: str) -> list[str]:
    """Every call of ``form`` in a reward, each once, in order."""
    calls = [node for node in ast.walk(ast.parse(expression.strip(), mode="eval")) if _is_call(node, "form")]
    return list(dict.fromkeys(ast.unparse(call) for call in calls))


def part_names(expression: str) -> list[str]:
    """What can be taken out of a reward: its calls but gate and clip, by their ``name``, or what is called."""
    tree = ast.parse(expression.strip(), mode="eval")
    found = [name for node in ast.walk(tree) if (name := _name(node)) and name not in ("gate", "clip")]
    return list(dict.fromkeys(found))


def without(expression: str, part: str) -> str | None:
    """The reward without a part: without that term of a sum, without that gate. None where nothing would be left."""
    left = _without(ast.parse(expression.strip(), mode="eval").body, part)
    return None if left is None else ast.unparse(left)


def _without(node: ast.expr, part: str) -> ast.expr | None:
    if _name(node) == part:
        return None
    match node:
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
            kept = [_without(left, part), _without(right, part)]
            if kept[0] is not None and kept[1] is not None:
                return ast.BinOp(left=kept[0], op=op, right=kept[1])
            if kept[0] is None and kept[1] is not None and isinstance(op, ast.Sub):
                return ast.UnaryOp(op=ast.USub(), operand=kept[1])
            return kept[0] if kept[1] is None else kept[1]
        case ast.BinOp(left=left, op=ast.Mult() as op, right=right):
            factors = [_without(left, part), _without(right, part)]
            if factors[0] is None or factors[1] is None:
                return None
            return ast.BinOp(left=factors[0], op=op, right=factors[1])
        case ast.UnaryOp(op=op, operand=operand):
            inner = _without(operand, part)
            return None if inner is None else ast.UnaryOp(op=op, operand=inner)
        case ast.Call(func=ast.Name(id="gate")):
            reward, by = _arguments(node, ("reward", "by"))
            paid = _without(reward, part)
            if paid is None:
                return None
            opened = _without(by, part)
            return (
                paid
                if opened is None
                else ast.Call(func=node.func, args=[paid], keywords=[ast.keyword(arg="by", value=opened)])
            )
        case ast.Call(func=ast.Name(id="clip"), args=[reward, *bounds], keywords=keywords):
            inner = _without(reward, part)
            return None if inner is None else ast.Call(func=node.func, args=[inner, *bounds], keywords=keywords)
    return node


def _arguments(call: ast.Call, names: tuple[str, str]) -> tuple[ast.expr, ast.expr]:
    given = dict(zip(names, call.args, strict=False)) | {str(each.arg): each.value for each in call.keywords}
    return given[names[0]], given[names[1]]


def _is_call(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _name(node: ast.AST) -> str | None:
    """What a call's part is named."""
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
        return None
    named = (each.value for each in node.keywords if each.arg == "name")
    own = next((value.value for value in named if isinstance(value, ast.Constant)), None)
    return str(own) if own else node.func.id
