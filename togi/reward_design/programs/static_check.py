"""Reads a reward program without running it, and refuses what a reward has no use for. It runs nothing.

Everything is refused that is not on a list: of syntax, of names, of attributes, of what modules offer. What is left can
compute a number and has no way to files, to other objects' insides, to the frames that call it, or to a later call. The
jail that it runs in does not trust this.
"""

from __future__ import annotations

import ast
import difflib

from togi.reward_design.programs.dialects import Dialect

LONGEST = 20_000  # characters of a program
LONGEST_NAME = 60  # and of the name of a part of a reward

_SYNTAX: tuple[type[ast.AST], ...] = (
    ast.Module, ast.FunctionDef, ast.arguments, ast.arg, ast.Return, ast.Assign, ast.AnnAssign, ast.AugAssign, ast.For,
    ast.While, ast.If, ast.Import, ast.ImportFrom, ast.alias, ast.Expr, ast.Pass, ast.Break, ast.Continue, ast.BoolOp,
    ast.NamedExpr, ast.BinOp, ast.UnaryOp, ast.Lambda, ast.IfExp, ast.Dict, ast.Set, ast.ListComp, ast.SetComp,
    ast.DictComp, ast.GeneratorExp, ast.comprehension, ast.Compare, ast.Call, ast.keyword, ast.FormattedValue,
    ast.JoinedStr, ast.Constant, ast.Attribute, ast.Subscript, ast.Slice, ast.Starred, ast.Name, ast.List, ast.Tuple,
    ast.Try, ast.ExceptHandler, ast.Raise, ast.Assert, ast.expr_context, ast.boolop, ast.operator, ast.unaryop,
    ast.cmpop,
)  # fmt: skip
_INSTEAD = {
    ast.Global: "a reward keeps nothing between calls",
    ast.Nonlocal: "a reward keeps nothing between calls",
    ast.ClassDef: "write functions",
    ast.Delete: "nothing needs to be deleted",
    ast.With: "a reward opens nothing",
    ast.AsyncFunctionDef: "write plain functions",
    ast.Yield: "return the reward",
    ast.Await: "write plain functions",
}


def fault_of(program: str, dialect: Dialect) -> str:
    """Why a program cannot be used, with the line and what to do; empty where nothing was found."""
    if len(program) > LONGEST:
        return f"a program of {len(program):,} characters: at most {LONGEST:,}"
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        return f"it is not Python{f' (line {line})' if line else ''}: {getattr(error, 'msg', error)}"
    for node in ast.walk(tree):
        if what := _fault(node, dialect):
            line = getattr(node, "lineno", 0)
            return f"line {line}: {what}" if line else what
    return _names(tree, dialect) or _function(tree, dialect)


def with_imports(program: str, dialect: Dialect) -> str:
    """The program with imports that it forgot of what is at hand; as it is where it cannot be read."""
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return program
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} - _bound(tree)
    missing = [(name, module) for name, module in dialect.at_hand.items() if name in used]
    lines = [f"import {module}" + (f" as {name}" if name != module else "") for name, module in missing]
    return "\n".join([*lines, "", "", program]) if lines else program


def _fault(node: ast.AST, dialect: Dialect) -> str:
    if not isinstance(node, _SYNTAX):
        said = next((instead for kind, instead in _INSTEAD.items() if isinstance(node, kind)), "leave it out")
        return f"{type(node).__name__} has no use in a reward: {said}"
    match node:
        case ast.FunctionDef() if node.decorator_list:
            return "decorators have no use in a reward: leave it out"
        case ast.Import():
            bad = [alias.name for alias in node.names if alias.name not in dialect.modules]
            return _no_module(bad[0], dialect) if bad else ""
        case ast.ImportFrom():
            return _imported(node, dialect)
        case ast.Attribute(attr=name):
            if not isinstance(node.ctx, ast.Load):
                return f".{name} may not be set: a reward keeps nothing between calls"
            return "" if name in dialect.attributes else f".{name} is not offered{_near(name, dialect.attributes)}"
        case ast.Name(id=name) | ast.arg(arg=name) | ast.FunctionDef(name=name) if name.startswith("__"):
            return f"{name} is not offered"
        case ast.arguments() if any(not isinstance(each, ast.Constant) for each in _defaults(node)):
            return "a default is a plain number or text: another would be kept between calls"
        case ast.keyword(arg="where"):
            return "where= leaves numbers that another call left in memory: write np.where(condition, one, other)"
        case ast.Call(keywords=named) if any(each.arg is None for each in named):
            return "name each argument of a call: ** has no use in a reward"
        case ast.Constant(value=str(text)) if len(text) > LONGEST:
            return "the text is too long"
    return ""


def _defaults(node: ast.arguments) -> list[ast.expr]:
    found = [*node.defaults, *(each for each in node.kw_defaults if each is not None)]
    return [each.operand if isinstance(each, ast.UnaryOp) else each for each in found]


def _no_module(name: str, dialect: Dialect) -> str:
    *others, last = [each for each in dialect.modules if "." not in each and each != "typing"]
    return f"{name} may not be imported: only {', '.join(others)} and {last} may"


def _imported(node: ast.ImportFrom, dialect: Dialect) -> str:
    name = "." if node.level else str(node.module)
    if name not in dialect.modules:
        return _no_module(name, dialect)
    offered = dialect.modules[name]
    bad = [alias.name for alias in node.names if alias.name not in offered]
    return f"{name}.{bad[0]} is not offered{_near(bad[0], offered)}" if bad else ""


def _names(tree: ast.Module, dialect: Dialect) -> str:
    """Names that nothing binds: they would be found only when they are reached."""
    bound = _bound(tree) | dialect.builtins | dialect.at_hand.keys()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in bound:
            return f"line {node.lineno}: there is no {node.id}"
    return ""


def _bound(tree: ast.Module) -> set[str]:
    """The names that a program binds somewhere."""
    bound = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.FunctionDef(name=name) | ast.arg(arg=name):
                bound.add(name)
            case ast.alias():
                bound.add(node.asname or node.name.partition(".")[0])
            case ast.ExceptHandler(name=str(name)):
                bound.add(name)
    return bound


def _function(tree: ast.Module, dialect: Dialect) -> str:
    wanted = dialect.arguments
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == dialect.function]
    if not found:
        return f"it defines no function {dialect.function} at its top"
    arguments = found[-1].args
    names = [each.arg for each in [*arguments.posonlyargs, *arguments.args]]
    needed = len(names) - len(arguments.defaults)
    if (
        len(names) < len(wanted)
        or needed > len(wanted)
        or arguments.vararg
        or any(default is None for default in arguments.kw_defaults)
        or (dialect.as_module and not set(wanted) <= set(names))
    ):
        return f"{dialect.function} takes ({', '.join(names)}), and ({', '.join(wanted)}) is wanted"
    for node in tree.body:
        if not isinstance(node, _TOP) and not _is_text(node):
            return f"line {node.lineno}: what stands outside functions may only name constants"
        if dialect.as_module and isinstance(node, ast.Assign | ast.AnnAssign) and not _is_constant(node.value):
            return (
                f"line {node.lineno}: a constant outside functions is a number, a text or a tuple of these: another "
                "would be kept between calls"
            )
    return ""


_TOP = (ast.FunctionDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)


def _is_constant(node: ast.expr | None) -> bool:
    """Whether nothing can be kept in a value: numbers, texts, tuples of these, and patterns made of them."""
    match node:
        case None | ast.Constant():
            return True
        case ast.Tuple(elts=parts):
            return all(map(_is_constant, parts))
        case ast.UnaryOp(operand=operand):
            return _is_constant(operand)
        case ast.BinOp(left=left, right=right):
            return _is_constant(left) and _is_constant(right)
        case ast.Attribute(value=ast.Name(id="re" | "math" | "string")):
            return True
        case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr="compile"), args=args, keywords=[]):
            return all(map(_is_constant, args))
    return False


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _near(name: str, offered: frozenset[str]) -> str:
    close = difflib.get_close_matches(name, sorted(offered), n=1)
    return f"; did you mean {close[0]}?" if close else ""
