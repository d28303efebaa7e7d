"""What HTTP reaches: who may ask, how much, and for how long. An ASGI application; it loads no model.

Every request is looked at from outside to inside: its Host, its key, its size, its JSON, its parameters, its length in
tokens.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from togi.chat_protocol.http_door import (
    Receive,
    Scope,
    Send,
    begin_reply,
    check_host,
    check_key,
    check_method,
    headers_of,
    read_body,
    refuse,
    reply,
)
from togi.chat_protocol.read_request import Refusal, Request, read_bare, read_chat
from togi.chat_protocol.replies import Layout, as_json, error_body, model_list
from togi.serving.answer_queue import AnswerQueue, Asked, Ended, Event, Failed, Piece, QueueFull
from togi.tokenization import Chat
from togi.types import Ids, Message, Prompt, Task, Turn

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
        if began:  # a stream is under way: its status was sent long ago
            body = as_json(error_body(refusal))
            await send({"type": "http.response.body", "body": b"data: " + body + b"\n\n"})
            return
        await refuse(refusal, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        check_host(headers.get(b"host", ""), self._served.host)
        method, path = scope["method"], scope["path"]
        known = {
            "/health": "GET",
            "/v1/models": "GET",
            "/v1/chat/completions": "POST",
            "/v1/completions": "POST",
        }
        check_method(method, path, known)
        if path == "/health":
            return await reply(send, 200, as_json({"status": "ok"}))
        check_key(headers.get(b"authorization", ""), self._served.key)
        if path == "/v1/models":
            return await reply(send, 200, as_json(model_list(self._served.model, self._served.since)))
        body = await read_body(receive, headers.get(b"content-length", "0"))
        read = read_chat if path == "/v1/chat/completions" else read_bare
        request = read(body, self._served.model, self._served.most_tokens)
        return await self._complete(request, receive, send)

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
    await reply(send, 200, as_json(answer))


async def _stream(layout: Layout, events: AsyncIterator[Event], prompt_tokens: int, send: Send) -> None:
    """Server-sent events, each one line of ASCII, so that no character is ever cut in two."""
    await begin_reply(send, 200, [(b"content-type", b"text/event-stream; charset=utf-8")])

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
