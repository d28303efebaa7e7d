"""Reads a reward program without running it, and refuses what a reward has no use for. It runs nothing.

Everything is refused that is not on a list: of syntax, of names, of attributes, of what modules offer. What is left can
compute a number and has no way to files, to other objects' insides, to the frames that call it, or to a later call. The
jail that it runs in does not trust this.
"""

from __future__ import annotations

import ast
import difflib
import math

FUNCTION, ARGUMENTS = "compute_reward", ("obs", "action", "next_obs", "info")
LONGEST = 20_000  # characters of a program
LONGEST_NAME = 60  # and of the name of a part of a reward


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


BUILTINS = _words(
    """
    abs all any bool dict enumerate filter float frozenset int isinstance len list map max min pow range reversed
    round set sorted str sum tuple zip True False None Exception ValueError ZeroDivisionError
    """
)
MATH = frozenset(name for name in vars(math) if not name.startswith("_"))
NUMPY = _words(
    """
    abs absolute add all allclose any arange arccos arcsin arctan arctan2 argmax argmin argsort array array_equal
    asarray atleast_1d average bool_ cbrt ceil clip concatenate copysign cos cosh cross cumsum deg2rad degrees
    diff divide dot e equal exp expm1 fabs flatnonzero float32 float64 floor full greater greater_equal heaviside
    hypot inf inner int32 int64 interp isclose isfinite isinf isnan less less_equal linspace log log10 log1p log2
    logical_and logical_not logical_or max maximum mean median min minimum mod multiply nan nan_to_num negative
    newaxis not_equal ones ones_like outer pi power prod rad2deg radians ravel reshape round sign sin sinc sinh
    sort sqrt square squeeze stack std subtract sum tan tanh trunc var vstack where zeros zeros_like
    """
)
LINALG = frozenset({"norm"})
TYPING = _words(
    """
    Any Dict List Mapping Optional Sequence Tuple Union
    """
)
MODULES = {"math": MATH, "numpy": NUMPY | {"linalg", "ndarray"}, "numpy.linalg": LINALG, "typing": TYPING}
AT_HAND = {"math": "math", "np": "numpy"}
"""Names that stand for modules also where a program forgot to import them."""
METHODS = _words(
    """
    all any append argmax argmin astype clip copy cumsum dot dtype extend flatten get index insert item items keys
    max mean min ndim pop prod ravel reshape round setdefault shape size sort squeeze std sum T tolist update
    values var
    """
)
ATTRIBUTES = METHODS | MATH | NUMPY | LINALG | TYPING | {"linalg", "ndarray"}

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


def fault_of(program: str) -> str:
    """Why a program cannot be used, with the line and what to do; empty where nothing was found."""
    if len(program) > LONGEST:
        return f"a program of {len(program):,} characters: at most {LONGEST:,}"
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None)
        return f"it is not Python{f' (line {line})' if line else ''}: {getattr(error, 'msg', error)}"
    for node in ast.walk(tree):
        if what := _fault(node):
            line = getattr(node, "lineno", 0)
            return f"line {line}: {what}" if line else what
    return _names(tree) or _function(tree)


def _fault(node: ast.AST) -> str:
    if not isinstance(node, _SYNTAX):
        said = next((instead for kind, instead in _INSTEAD.items() if isinstance(node, kind)), "leave it out")
        return f"{type(node).__name__} has no use in a reward: {said}"
    match node:
        case ast.FunctionDef() if node.decorator_list:
            return "decorators have no use in a reward: leave it out"
        case ast.Import():
            bad = [alias.name for alias in node.names if alias.name not in MODULES]
            return f"{bad[0]} may not be imported: only math and numpy may" if bad else ""
        case ast.ImportFrom():
            return _imported(node)
        case ast.Attribute(attr=name):
            if not isinstance(node.ctx, ast.Load):
                return f".{name} may not be set: a reward keeps nothing between calls"
            return "" if name in ATTRIBUTES else f".{name} is not offered{_near(name, ATTRIBUTES)}"
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


def _imported(node: ast.ImportFrom) -> str:
    if node.level or node.module not in MODULES:
        return f"{node.module or '.'} may not be imported: only math and numpy may"
    offered = MODULES[node.module]
    bad = [alias.name for alias in node.names if alias.name not in offered]
    return f"{node.module}.{bad[0]} is not offered{_near(bad[0], offered)}" if bad else ""


def _names(tree: ast.Module) -> str:
    """Names that nothing binds: they would be found only when they are reached."""
    bound = {*BUILTINS, *AT_HAND}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.FunctionDef(name=name) | ast.arg(arg=name):
                bound.add(name)
            case ast.alias():
                bound.add(node.asname or node.name.partition(".")[0])
            case ast.ExceptHandler(name=str(name)):
                bound.add(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in bound:
            return f"line {node.lineno}: there is no {node.id}"
    return ""


def _function(tree: ast.Module) -> str:
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == FUNCTION]
    if not found:
        return f"it defines no function {FUNCTION} at its top"
    arguments = found[-1].args
    names = [each.arg for each in [*arguments.posonlyargs, *arguments.args]]
    needed = len(names) - len(arguments.defaults)
    if (
        len(names) < len(ARGUMENTS)
        or needed > len(ARGUMENTS)
        or arguments.vararg
        or any(default is None for default in arguments.kw_defaults)
    ):
        return f"{FUNCTION} takes ({', '.join(names)}), and ({', '.join(ARGUMENTS)}) is wanted"
    loose = [node for node in tree.body if not isinstance(node, _TOP) and not _is_text(node)]
    return f"line {loose[0].lineno}: what stands outside functions may only name constants" if loose else ""


_TOP = (ast.FunctionDef, ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _near(name: str, offered: frozenset[str]) -> str:
    close = difflib.get_close_matches(name, sorted(offered), n=1)
    return f"; did you mean {close[0]}?" if close else ""
