"""The door of an HTTP server: under which name it may be asked, with which key, how much and how fast; and answers that
go out whole. It reads no JSON and knows nobody who answers.

A page of the web that points its own name at this machine is turned away by the Host that it asks for. No header lets
other sites' pages read answers, and there are no cookies.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any

from togi.askers.openai_client import is_local
from togi.chat_protocol.read_request import Refusal
from togi.chat_protocol.replies import as_json, error_body

LARGEST_BODY = 1 << 20
BODY_SECONDS = 30.0

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def headers_of(scope: Scope) -> dict[bytes, str]:
    return {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}


def check_host(given: str, listening: str) -> None:
    """A name stands for whatever address its owner likes: only this machine's own and plain addresses may ask."""
    host = given.rpartition(":")[0] if given.rpartition(":")[2].isdigit() else given
    host = host.removeprefix("[").removesuffix("]").lower()
    allowed = is_local(host) or (not is_local(listening) and (host == listening or _address(host)))
    if not allowed:
        raise Refusal("this server is not known under that Host", status=421, code="wrong_host")


def check_key(given: str, wanted: str) -> None:
    kind, _, key = given.partition(" ")
    same = hmac.compare_digest(key.strip().encode("utf-8"), wanted.encode("utf-8"))
    if kind.lower() != "bearer" or not same:
        raise Refusal(
            "a request needs the header Authorization: Bearer KEY, with the key of this server",
            status=401,
            code="invalid_api_key",
        )


def check_method(got: str, path: str, known: Mapping[str, str]) -> None:
    """``known`` has the method that each path takes."""
    if path not in known:
        raise Refusal(f"there is only {', '.join(known)}", status=404, code="not_found")
    if got != known[path]:
        raise Refusal(f"{path} takes {known[path]}", status=405, code="method_not_allowed")


async def read_body(receive: Receive, length: str) -> bytes:
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


async def reply(send: Send, status: int, body: bytes) -> None:
    more: list[tuple[bytes, bytes]] = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if status == 429:
        more.append((b"retry-after", b"1"))
    if status == 401:
        more.append((b"www-authenticate", b"Bearer"))
    await begin_reply(send, status, more)
    await send({"type": "http.response.body", "body": body})


async def refuse(refusal: Refusal, send: Send) -> None:
    await reply(send, refusal.status, as_json(error_body(refusal)))


async def begin_reply(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
    safe = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *safe]})


def _address(host: str) -> bool:
    with suppress(ValueError):
        return bool(ipaddress.ip_address(host))
    return False


def uvicorn_config(application: Any, *, connections: int, last_seconds: int | None = None) -> Any:
    """A server that says nothing of itself, keeps no log of who asks, and believes no proxy. ``last_seconds`` is how
    long answers under way may go on after the process is told to end."""
    import uvicorn

    return uvicorn.Config(
        application,
        interface="asgi3",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        http="h11",
        ws="none",
        limit_concurrency=connections,
        timeout_graceful_shutdown=last_seconds,
    )
