"""What HTTP reaches: who may ask, how much, and for how long. An ASGI application; it loads no model.

Every request is looked at from outside to inside: its Host (a page of the web that points its own name at this
machine is turned away), its key, its size, its JSON, its parameters, its length in tokens. No header lets other
sites' pages read answers, and there are no cookies.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from togi.rewards.judge.openai_client import is_local
from togi.serving.answer_queue import AnswerQueue, Asked, Ended, Event, Failed, Piece, QueueFull
from togi.serving.read_request import Refusal, Request, read_bare, read_chat
from togi.serving.replies import Layout, as_json, error_body, model_list
from togi.tokenization import Chat
from togi.types import Ids, Message, Prompt, Task, Turn

LARGEST_BODY = 1 << 20
BODY_SECONDS = 30.0

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Drawn = list[tuple[str, float]]


@dataclass(frozen=True, kw_only=True)
class Served:
    """What is served, to whom. ``opening`` is a run's own system message, ``host`` the address that is listened at."""

    model: str
    fingerprint: str
    chat: Chat
    context: int
    opening: tuple[Message, ...]
    host: str
    key: str
    most_tokens: int
    seconds: float
    since: int = field(default_factory=lambda: int(time.time()))


class Endpoint:
    """The application. ``served.chat`` is read with in one thread only, and needs a tokenizer that nobody else uses:
    whether control tokens are read as such is a state of the tokenizer."""

    def __init__(self, served: Served, queue: AnswerQueue) -> None:
        self._served, self._queue = served, queue
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="reader")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        began = False

        async def told(message: MutableMapping[str, Any]) -> None:
            nonlocal began
            began = True
            await send(message)

        try:
            async with asyncio.timeout(self._served.seconds):
                await self._answer(scope, receive, told)
        except TimeoutError:
            refusal = Refusal(f"no answer within {self._served.seconds:g} seconds", status=504, code="timeout")
            await self._refuse(refusal, send, began)
        except Refusal as error:
            await self._refuse(error, send, began)
        except asyncio.CancelledError:  # the process was told to end, and does not wait for this answer
            await self._refuse(Refusal("the server is stopping", status=503, code="stopping"), send, began)

    async def _refuse(self, refusal: Refusal, send: Send, began: bool) -> None:
        body = as_json(error_body(refusal))
        if began:  # a stream is under way: its status was sent long ago
            await send({"type": "http.response.body", "body": b"data: " + body + b"\n\n"})
            return
        await _reply(send, refusal.status, body)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        self._check_host(headers.get(b"host", ""))
        method, path = scope["method"], scope["path"]
        known = {
            "/health": "GET",
            "/v1/models": "GET",
            "/v1/chat/completions": "POST",
            "/v1/completions": "POST",
        }
        if path not in known:
            raise Refusal(f"there is only {', '.join(known)}", status=404, code="not_found")
        if method != known[path]:
            raise Refusal(f"{path} takes {known[path]}", status=405, code="method_not_allowed")
        if path == "/health":
            return await _reply(send, 200, as_json({"status": "ok"}))
        self._check_key(headers.get(b"authorization", ""))
        if path == "/v1/models":
            return await _reply(send, 200, as_json(model_list(self._served.model, self._served.since)))
        body = await _read(receive, headers.get(b"content-length", "0"))
        read = read_chat if path == "/v1/chat/completions" else read_bare
        request = read(body, self._served.model, self._served.most_tokens)
        return await self._complete(request, receive, send)

    def _check_host(self, given: str) -> None:
        """A name stands for whatever address its owner likes: only this machine's own and plain addresses may ask."""
        host = given.rpartition(":")[0] if given.rpartition(":")[2].isdigit() else given
        host = host.removeprefix("[").removesuffix("]").lower()
        allowed = is_local(host) or (not is_local(self._served.host) and (host == self._served.host or _address(host)))
        if not allowed:
            raise Refusal("this server is not known under that Host", status=421, code="wrong_host")

    def _check_key(self, given: str) -> None:
        kind, _, key = given.partition(" ")
        same = hmac.compare_digest(key.strip().encode("utf-8"), self._served.key.encode("utf-8"))
        if kind.lower() != "bearer" or not same:
            raise Refusal(
                "a request needs the header Authorization: Bearer KEY, with the key of this server",
                status=401,
                code="invalid_api_key",
            )

    async def _complete(self, request: Request, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        ids = await loop.run_in_executor(self._reader, self._ids, request)
        room = self._served.context - len(ids)
        if room < 1:
            raise Refusal(
                f"the prompt has {len(ids)} tokens, and the model sees {self._served.context} of prompt and answer",
                param="messages" if request.chat else "prompt",
                code="context_length_exceeded",
            )
        layout = Layout(
            request=request,
            model=self._served.model,
            fingerprint=self._served.fingerprint,
            opening=self._served.chat.opening(request.messages),
        )
        seed = secrets.randbits(32) if request.seed is None else request.seed
        seeds = tuple(seed + choice for choice in range(request.choices))
        async with self._asked(request, Prompt(ids=ids, seeds=seeds), receive) as events:
            if request.stream:
                await _stream(layout, events, len(ids), send)
            else:
                await _whole(layout, events, len(ids), send)

    def _ids(self, request: Request) -> Ids:
        messages = request.messages
        if messages[0].role not in ("system", "developer", "text"):
            messages = (*self._served.opening, *messages)
        try:
            asked = Task(id="", prompt=tuple(messages), tools=request.tools)
            return self._served.chat.of(asked).prompt(messages)
        except ValueError as error:
            raise Refusal(str(error), param="messages" if request.chat else "prompt") from None

    @asynccontextmanager
    async def _asked(self, request: Request, prompt: Prompt, receive: Receive) -> AsyncIterator[AsyncIterator[Event]]:
        """What the engine tells of a question until it is answered; it stops when the client leaves, and so on leaving
        the block."""
        loop = asyncio.get_running_loop()
        told = asyncio.Queue[Event | None]()

        def tell(event: Event | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody listens
                loop.call_soon_threadsafe(told.put_nowait, event)

        asked = Asked(
            prompt=prompt,
            sampling=request.sampling,
            pieces=request.stream,
            logprobs=request.logprobs,
            tell=tell,
        )
        try:
            self._queue.ask(asked)
        except QueueFull:
            raise Refusal("too many questions wait already: ask again later", status=429, code="queue_full") from None

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            asked.left.set()
            tell(None)

        async def events() -> AsyncIterator[Event]:
            open_choices = len(prompt.seeds)
            while open_choices:
                event = await told.get()
                if event is None:
                    raise _Left
                if isinstance(event, Failed):
                    raise Refusal(f"the model failed: {event.reason}", status=500, code="engine_failed")
                open_choices -= isinstance(event, Ended)
                yield event

        watching = asyncio.create_task(watch())
        try:
            yield events()
        except _Left:
            return
        finally:
            asked.left.set()
            watching.cancel()


class _Left(Exception):
    """The client is gone."""


async def _whole(layout: Layout, events: AsyncIterator[Event], prompt_tokens: int, send: Send) -> None:
    choices = range(layout.request.choices)
    drawn: list[Drawn] = [[] for _ in choices]
    turns: dict[int, Turn] = {}
    async for event in events:
        if isinstance(event, Piece):
            drawn[event.choice] += event.drawn
        elif isinstance(event, Ended):
            turns[event.choice] = event.turn
    answer = layout.whole([turns[choice] for choice in choices], drawn, prompt_tokens)
    await _reply(send, 200, as_json(answer))


async def _stream(layout: Layout, events: AsyncIterator[Event], prompt_tokens: int, send: Send) -> None:
    """Server-sent events, each one line of ASCII, so that no character is ever cut in two."""
    await _start(send, 200, [(b"content-type", b"text/event-stream; charset=utf-8")])

    async def say(value: Any) -> None:
        data = value if isinstance(value, bytes) else as_json(value)
        await send({"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": True})

    for choice in range(layout.request.choices):
        await say(layout.first(choice))
    turns: list[Turn] = []
    async for event in events:
        if isinstance(event, Piece):
            await say(layout.piece(event.choice, event.text, event.drawn))
        elif isinstance(event, Ended):
            turns.append(event.turn)
            await say(layout.last(event.choice, event.turn))
    if layout.request.usage:
        await say(layout.counts(turns, prompt_tokens))
    await say(b"[DONE]")
    await send({"type": "http.response.body", "body": b""})


async def _read(receive: Receive, length: str) -> bytes:
    """The body, of at most LARGEST_BODY bytes, in at most BODY_SECONDS."""
    too_large = Refusal(f"a body has at most {LARGEST_BODY:,} bytes", status=413, code="body_too_large")
    if not length.isdigit() or len(length) > 12 or int(length) > LARGEST_BODY:
        raise too_large
    parts, size = list[bytes](), 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise Refusal("the client left before its body was whole")
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > LARGEST_BODY:
                    raise too_large
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise Refusal(f"the body took more than {BODY_SECONDS:g} seconds", status=408, code="timeout") from None


async def _reply(send: Send, status: int, body: bytes) -> None:
    more: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if status == 429:
        more.append((b"retry-after", b"1"))
    if status == 401:
        more.append((b"www-authenticate", b"Bearer"))
    await _start(send, status, more)
    await send({"type": "http.response.body", "body": body})


async def _start(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
    safe = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *safe]})


def _address(host: str) -> bool:
    with suppress(ValueError):
        return bool(ipaddress.ip_address(host))
    return False
