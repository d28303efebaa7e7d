"""What a program asks instead of a provider: OpenAI's chat completions, on this machine only, each episode at an
address and with a key of its own. It knows no model: what is asked waits in the episode's session until it is answered.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from dataclasses import dataclass, field
from typing import Any

from togi.chat_protocol.http_door import (
    Receive,
    Scope,
    Send,
    check_host,
    check_key,
    check_method,
    headers_of,
    read_body,
    refuse,
    reply,
    uvicorn_config,
)
from togi.chat_protocol.read_request import Refusal, Request, read_chat
from togi.chat_protocol.replies import as_json, chat_answer, model_list
from togi.envs.programs.session import Asked, Session, over

HOST = "127.0.0.1"
MODEL = "policy"
CONNECTIONS = 1024
LONGEST = 1 << 31  # tokens that may be asked for: how long an answer is, the recipe says


@dataclass(eq=False)
class Endpoint:
    """Listens from its first episode on, in a thread, until the process ends."""

    _sessions: dict[str, Session] = field(default_factory=dict)
    _port: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self) -> Session:
        """A new episode's session."""
        session = Session()
        with self._lock:
            if not self._port:
                self._listen()
            self._sessions[session.name] = session
        return session

    def base_url(self, session: Session) -> str:
        return f"http://{HOST}:{self._port}/{session.name}/v1"

    def close(self, session: Session) -> None:
        self._sessions.pop(session.name, None)
        session.close()

    def _listen(self) -> None:
        import uvicorn

        listener = socket.create_server((HOST, 0), backlog=CONNECTIONS)
        self._port = listener.getsockname()[1]
        server = uvicorn.Server(uvicorn_config(self.application, connections=CONNECTIONS))
        serve = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="episodes", daemon=True)
        serve.start()

    async def application(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            await self._answer(scope, receive, send)
        except Refusal as refusal:
            await refuse(refusal, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = headers_of(scope)
        check_host(headers.get(b"host", ""), HOST)
        name, _, path = scope["path"].removeprefix("/").partition("/")
        session = self._sessions.get(name)
        if session is None:
            raise over()
        check_key(headers.get(b"authorization", ""), session.key)
        check_method(scope["method"], f"/{path}", {"/v1/models": "GET", "/v1/chat/completions": "POST"})
        if path == "v1/models":
            return await reply(send, 200, as_json(model_list(MODEL, 0)))
        request = read_chat(await read_body(receive, headers.get(b"content-length", "0")), MODEL, LONGEST)
        _refuse_what_cannot_be(request)
        asked = Asked(messages=request.messages, tools=request.tools)
        session.ask(asked)
        answer, left = asyncio.wrap_future(asked.answer), asyncio.create_task(_leaves(receive))
        either: set[asyncio.Future[Any]] = {answer, left}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                await reply(send, 200, as_json(chat_answer(MODEL, answer.result())))
        finally:
            answer.cancel()  # where nobody waits any more, nobody is to answer
            left.cancel()


async def _leaves(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _refuse_what_cannot_be(request: Request) -> None:
    """How an answer is drawn is the recipe's; what would change what the program is given is refused."""
    recipe = "the recipe's [sampling] says how answers are drawn"
    for name, given, why in (
        ("n", request.choices > 1, "an episode has one answer to each question: leave it out"),
        ("stream", request.stream, "an answer comes as a whole, since its tokens are recorded: leave it out"),
        ("logprobs", request.logprobs, "they are recorded, and not sent: leave it out"),
        ("stop", bool(request.sampling.stop), f"{recipe}: put the stop strings there"),
        ("messages", request.messages[-1].role == "assistant", "the last message is the assistant's, and nothing asks"),
    ):
        if given:
            raise Refusal(f"{name}: {why}", param=name, code="unsupported_value")
