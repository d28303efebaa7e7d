"""The tools that a recipe names, by text or with settings: Togi's own, and functions of the user's. It calls none."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from togi.sandbox.workers.pool import Pool
from togi.tools.function_tool import FunctionTool, function_tool
from togi.tools.mcp_server import server_tools
from togi.tools.notebook import Recall, Remember
from togi.tools.python_program import PythonProgram
from togi.tools.search import search
from togi.tools.shell import Shell
from togi.tools.tool import Tool

CALCULATOR = "togi.tools.calculator:calculator"


def calculator(*, pool: Pool) -> FunctionTool:
    return function_tool(CALCULATOR, Path(), pool)


def python(*, pool: Pool, seconds: float = 5.0) -> PythonProgram:
    if not 0 < seconds <= 600:
        raise ValueError(f"python: seconds = {seconds:g}, wanted above 0 and at most 600")
    return PythonProgram(seconds=seconds, tier=pool.asked)


def shell(*, pool: Pool, seconds: float = 10.0) -> Shell:
    if not 0 < seconds <= 600:
        raise ValueError(f"shell: seconds = {seconds:g}, wanted above 0 and at most 600")
    tool = Shell(seconds=seconds, tier=pool.asked)
    tool.open()  # a machine without a jail is told now, and not by every call
    return tool


def search_in(*, base: Path, corpus: str, results: int = 3, about: str = "") -> Tool:
    return search(base / Path(corpus).expanduser(), results, about)


def mcp(*, base: Path, command: Sequence[str], seconds: float = 30.0) -> Sequence[Tool]:
    if not 0 < seconds <= 600:
        raise ValueError(f"mcp: seconds = {seconds:g}, wanted above 0 and at most 600")
    return server_tools(command, base, seconds)


OWN: Mapping[str, Callable[..., Tool | Sequence[Tool]]] = {
    "calculator": calculator,
    "python": python,
    "shell": shell,
    "notebook": lambda: [Remember(), Recall()],
    "search": search_in,
    "mcp": mcp,
}


def open_tools(named: Sequence[str | Mapping[str, Any]], base: Path, pool: Pool) -> list[Tool]:
    """The tools of a list such as ``["calculator", "shop.py:price", {use = "search", corpus = "facts.jsonl"}]``.

    Raises ValueError for a name that is no tool, settings that it does not take, and two tools of one name.
    """
    if isinstance(named, str) or not isinstance(named, Sequence) or not named:
        raise ValueError(f'tools: got {named!r:.200}, wanted a list such as ["calculator", "shop.py:price"]')
    found: list[Tool] = []
    for entry in named:
        made = _opened(entry, base, pool)
        found += made if isinstance(made, Sequence) else [made]
    names = Counter(tool.description.name for tool in found)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"two tools are called {twice[0]!r}: rename a function, so that the model can tell them apart")
    return found


def _opened(entry: object, base: Path, pool: Pool) -> Tool | Sequence[Tool]:
    settings = dict(entry) if isinstance(entry, Mapping) else {"use": entry}
    use = settings.pop("use", None)
    if not isinstance(use, str):
        raise ValueError(f'tools: got {entry!r:.200}, wanted a name, or a table such as {{ use = "search", … }}')
    if ":" in use:
        if settings:
            raise ValueError(f"the tool {use} takes no settings in a recipe; got {', '.join(settings)}")
        return function_tool(use, base, pool)
    if use not in OWN:
        raise ValueError(f'{use!r} is no tool: there are {", ".join(OWN)}, and functions as "file.py:function"')
    given = {"base": base, "pool": pool}
    wanted = inspect.signature(OWN[use]).parameters
    try:
        return OWN[use](**{name: value for name, value in given.items() if name in wanted}, **settings)
    except TypeError as error:
        takes = ", ".join(name for name in wanted if name not in given) or "none"
        raise ValueError(f"the tool {use} takes these settings: {takes}; got {settings!r:.200}") from error
