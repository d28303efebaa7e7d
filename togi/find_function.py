"""Finds a Python function named by text, "module:function" or "file.py:function"; it does not know what it is for."""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Set
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any


def absolute(reference: str, base: Path) -> str:
    """The reference with a file's path made absolute from ``base``; a module's name stays as it is.

    A file is read (never run) here, so that a missing file, a syntax error or a misspelt function is refused where
    the reference was written. Raises ValueError.
    """
    place, function = _split(reference)
    if not place.endswith(".py"):
        return reference
    path = (base / place).resolve()
    if not path.is_file():
        raise ValueError(f'"{reference}": there is no file {path}')
    try:
        names = _bound_names(path.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise ValueError(f'"{reference}": {path} is not valid Python: {error}') from error
    if function not in names and "*" not in names:
        raise ValueError(f'"{reference}": {path} has no function "{function}"{_near(function, names)}')
    return f"{path}:{function}"


def resolve(reference: str, base: Path) -> Callable[..., Any]:
    """Import the function, as ``imported`` does. Raises ValueError for what cannot be called as well."""
    function = imported(reference, base)
    if not callable(function):
        raise ValueError(f'"{reference}" is {type(function).__name__}, and a function was wanted')
    return function  # type: ignore[no-any-return]


def imported(reference: str, base: Path) -> Any:
    """Whatever a file or module calls by this name. ``base`` is the folder that a file's path is relative to.

    The file's own folder is importable while the file loads, so that it may import its neighbours. A module must be
    installed or on Python's path. Raises ValueError, also for whatever the imported code raises, with its line.
    """
    reference = absolute(reference, base)
    place, name = _split(reference)
    module = _load_file(Path(place), reference) if place.endswith(".py") else _load_module(place, reference)
    if name not in vars(module):
        raise ValueError(f'"{reference}": {place} has no function "{name}"{_near(name, set(vars(module)))}')
    return vars(module)[name]


def files_of(reference: str) -> tuple[Path, ...]:
    """The files that "/absolute/file.py:function" is made of; none for a module's function."""
    place = reference.rpartition(":")[0]
    return with_imports(Path(place)) if place.endswith(".py") else ()


def with_imports(path: Path) -> tuple[Path, ...]:
    """A Python file and those of its folder that it imports, by way of one another too; all of a package's count.

    What cannot be parsed imports nothing: it is refused where it is used.
    """
    found = [path]
    for file in found:  # it grows meanwhile
        found += [new for name in sorted(_imported(file)) for new in _beside(path.parent, name) if new not in found]
    return tuple(found)


def _imported(path: Path) -> set[str]:
    """The first part of the name of every module that a file imports."""
    try:
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
    except (OSError, SyntaxError, ValueError):
        return set()
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 0]
    return {name.partition(".")[0] for name in names}


def _beside(folder: Path, module: str) -> list[Path]:
    file = folder / f"{module}.py"
    return [file] if file.is_file() else sorted((folder / module).rglob("*.py")) if module else []


def _split(reference: str) -> tuple[str, str]:
    place, colon, function = reference.rpartition(":")
    if not colon or not place or not function.isidentifier():
        raise ValueError(f'"{reference}" names no function; write "module:function" or "file.py:function"')
    return place, function


@lru_cache(maxsize=64)
def _bound_names(source: bytes) -> frozenset[str]:
    # Kept, since workers look the same function up for every answer they grade.
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add(node.asname or node.name)
    return frozenset(names)


def _near(name: str, names: Set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(names), n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def _load_module(name: str, reference: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failed(reference, error) from error  # the module is there; something it imports is not
        raise ValueError(
            f'"{reference}": there is no installed module "{error.name}"; a file is named "path/to/file.py:function"'
        ) from error
    except Exception as error:
        raise _failed(reference, error) from error


def _failed(reference: str, error: Exception) -> ValueError:
    """What the user's own code raised while it was imported, and where."""
    *_, last = traceback.extract_tb(error.__traceback__)
    return ValueError(
        f'"{reference}" cannot be imported: {type(error).__name__}: {error} ({last.filename}, line {last.lineno})'
    )


def _load_file(path: Path, reference: str) -> ModuleType:
    # The name holds the contents' digest: an edited file is a new module, an unchanged one is loaded once.
    name = "togi_file_" + hashlib.sha256(str(path).encode() + b"\0" + path.read_bytes()).hexdigest()[:16]
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        raise _failed(reference, error) from error
    finally:
        sys.path.remove(str(path.parent))
    return module
