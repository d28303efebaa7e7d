"""The tools of an MCP server (Model Context Protocol), which is started by a command and asked over its standard input
and output. One server answers all attempts; it is started again when it has died.
"""

from __future__ import annotations

import asyncio
import atexit
import tempfile
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from togi.extras import lacking
from togi.tools.tool import Description, Kept, Result

T = TypeVar("T")
STARTING = 60.0  # seconds that a server may take to start


class Server:
    """One server process, and the thread that talks with it."""

    def __init__(self, command: Sequence[str], folder: Path, seconds: float) -> None:
        self.command, self.folder, self.seconds = tuple(command), folder, seconds
        self._loop = asyncio.new_event_loop()
        self._client: Any = None
        self._stop: asyncio.Event | None = None
        self._serving: Future[None] | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the server
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        atexit.register(self.close)

    def ask(self, question: Callable[[Any], Awaitable[T]]) -> T:
        """What the server answers; it is started first where it does not run. Raises whatever goes wrong, and
        TimeoutError."""
        if self._serving is None or self._serving.done():
            self._start()

        async def asked() -> T:
            return await question(self._client)

        return asyncio.run_coroutine_threadsafe(asked(), self._loop).result(self.seconds)

    def _start(self) -> None:
        ready: Future[Any] = Future()
        self._serving = asyncio.run_coroutine_threadsafe(self._serve(ready), self._loop)

        def ended(serving: Future[None]) -> None:
            if not ready.done():
                ready.set_exception(_first(serving.exception() or RuntimeError("it ended")))

        self._serving.add_done_callback(ended)
        self._client = ready.result(STARTING)

    async def _serve(self, ready: Future[Any]) -> None:
        from mcp import Client, StdioServerParameters
        from mcp.client.stdio import stdio_client

        program, *arguments = self.command
        how = StdioServerParameters(command=program, args=arguments, cwd=self.folder)
        self._stop = asyncio.Event()
        # Longer than any wait here, so that it is always ours which ends first and says so.
        late = STARTING + self.seconds
        async with Client(stdio_client(how, errlog=self._log), read_timeout_seconds=late) as client:  # type: ignore[arg-type]
            ready.set_result(client)
            await self._stop.wait()

    def close(self) -> None:
        """End the server. A later question starts it again."""
        if self._serving is not None and not self._serving.done() and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            try:
                self._serving.result(5.0)
            except Exception:  # it is gone either way
                self._serving.cancel()
        self._serving = None

    @property
    def said(self) -> str:
        """The last line that it wrote to its standard error."""
        self._log.seek(0)
        return self._log.read()[-2000:].decode(errors="replace").strip().rpartition("\n")[2]


def _first(error: BaseException) -> BaseException:
    """What stands behind a group of errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@dataclass(frozen=True, kw_only=True)
class ServerTool:
    """One of a server's tools. ``files`` are those that its command names."""

    server: Server = field(compare=False, repr=False)
    description: Description
    files: tuple[Path, ...] = ()

    def call(self, arguments: Mapping[str, Any], kept: Kept) -> Result:
        async def question(client: Any) -> Any:
            return await client.call_tool(self.description.name, dict(arguments))

        try:
            answer = self.server.ask(question)
        except TimeoutError:
            self.server.close()
            return Result(text=f"took longer than {self.server.seconds:g} s", failed=True)
        except Exception as error:  # a server is foreign code: whatever it does is told
            self.server.close()
            return Result(text=f"the tool's server failed: {str(error) or type(error).__name__}", failed=True)
        return Result(text="\n".join(map(_text, answer.content)), failed=bool(answer.is_error))


def _text(block: Any) -> str:
    return str(block.text) if block.type == "text" else f"[{block.type}]"


def server_tools(command: Sequence[str], folder: Path, seconds: float) -> list[ServerTool]:
    """The tools that the server names. Raises ValueError for a command that starts no server, and one without tools."""
    if isinstance(command, str) or not command or not all(isinstance(part, str) for part in command):
        raise ValueError(f'mcp: command = {command!r:.200}, wanted its parts, such as ["python", "server.py"]')
    if find_spec("mcp") is None:
        raise ValueError(lacking("a tool from an MCP server", "mcp"))
    server = Server(command, folder, seconds)

    async def question(client: Any) -> list[Any]:
        found, cursor = [], None
        while True:
            page = await client.list_tools(cursor=cursor)
            found += page.tools
            cursor = page.next_cursor
            if not cursor:
                return found

    try:
        found = server.ask(question)
    except Exception as error:
        why = server.said or str(error) or type(error).__name__
        raise ValueError(f"mcp: {' '.join(command)} is no server that answers: {why}") from error
    if not found:
        raise ValueError(f"mcp: the server {' '.join(command)} has no tools")
    files = tuple(folder / part for part in command if not Path(part).is_absolute() and (folder / part).is_file())
    return [
        ServerTool(
            server=server,
            files=files,
            description=Description(name=tool.name, text=tool.description or "", parameters=tool.input_schema),
        )
        for tool in found
    ]
