"""The code of a skill: from what a model wrote to one function that needs nothing around it. It is read here, and never
run."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Sequence
from dataclasses import dataclass

from togi.askers.asker import Reply
from togi.writer import code_blocks

LONGEST = 20_000
"""Characters of a skill."""
LONGEST_NAME = 60
"""Bytes of a name, which is also that of a file."""


@dataclass(frozen=True, kw_only=True)
class Code:
    """One function without arguments, by its name, and the other names that it calls."""

    name: str
    source: str
    called: tuple[str, ...]


class CodeFault(ValueError):
    """Why a text is no skill, in words for whoever wrote it."""


def code_of(reply: Reply, calls: Sequence[str]) -> Code:
    """The skill in a reply. ``calls`` are the world's, which no skill may be named after. Raises CodeFault."""
    if reply.status != "ok":
        raise CodeFault(f"no answer: {reply.note or reply.status}")
    found = [block for block in code_blocks(reply.text) if "def " in block]
    if not found:
        cut = " before it was cut off" if reply.cut else ""
        raise CodeFault(f"the answer has no code block with a function{cut}")
    return code_from(found[-1], calls)


def code_from(text: str, calls: Sequence[str]) -> Code:
    """The last function without arguments, with what else stands beside it moved inside: a library of such functions
    has no names that one skill could take from another. Raises CodeFault."""
    if len(text) > LONGEST:
        raise CodeFault(f"it has {len(text)} characters: at most {LONGEST}")
    try:
        body = ast.parse(text).body
        functions = [each for each in body if isinstance(each, ast.FunctionDef)]
        main = next((each for each in reversed(functions) if _takes_nothing(each)), None)
        if main is None:
            raise CodeFault("it has no function without arguments, as in def get_wood():")
        if main.name in calls or hasattr(builtins, main.name) or len(main.name.encode()) > LONGEST_NAME:
            raise CodeFault(
                f"a skill cannot be called {main.name:.60}: the world or Python has that name, or it is too long"
            )
        if main.decorator_list:
            raise CodeFault("a skill has no decorators")
        if any(not _plain(each) for each in (*main.args.defaults, *main.args.kw_defaults)):
            raise CodeFault("a default is a plain number or text: another would run before the skill is called")
        if shadowed := sorted({each.name for each in functions} & set(calls)):
            raise CodeFault(f"{shadowed[0]} is a call of the world: do not write it again")
        beside = [each for each in body if each is not main and _harmless(each)]
        source = _together(text, main, beside)
        named = {
            each.func.id for each in ast.walk(main) if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)
        }
    except CodeFault:
        raise
    except SyntaxError as error:
        raise CodeFault(f"line {error.lineno}: {error.msg}") from None
    except (MemoryError, RecursionError, ValueError) as error:
        raise CodeFault(f"it cannot be read: {type(error).__name__}: {error}") from None
    return Code(name=main.name, source=source, called=tuple(sorted(named - {main.name})))


def _takes_nothing(function: ast.FunctionDef) -> bool:
    taken = function.args
    positional = len(taken.posonlyargs) + len(taken.args) - len(taken.defaults)
    return positional <= 0 and all(default is not None for default in taken.kw_defaults)


def _plain(default: ast.expr | None) -> bool:
    value = default.operand if isinstance(default, ast.UnaryOp) else default
    return value is None or isinstance(value, ast.Constant)


def _harmless(statement: ast.stmt) -> bool:
    """Whether a statement only names something. What does something, such as a trial call below the function, is left
    out: a skill acts when it is called."""
    if isinstance(statement, ast.FunctionDef):
        return not statement.decorator_list
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        return not any(isinstance(each, ast.Call) for each in ast.walk(statement))
    return isinstance(statement, ast.Import | ast.ImportFrom)


def _together(text: str, main: ast.FunctionDef, beside: Sequence[ast.stmt]) -> str:
    """The function as it was written, where it stands alone, so that comments stay."""
    if not beside:
        return (ast.get_source_segment(text, main) or ast.unparse(main)).strip() + "\n"
    main.body[:0] = beside
    return ast.unparse(ast.fix_missing_locations(main)) + "\n"
