"""Where a server listens, its key and its limits: checked, and its port taken, before any model is loaded."""

from __future__ import annotations

import secrets
import socket
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec

from togi.askers.openai_client import is_local, key_of
from togi.extras import lacking


@dataclass(frozen=True, kw_only=True, eq=False)
class Address:
    """``listener`` has the port; ``made`` tells that the key was made here and nobody knows it yet."""

    host: str
    listener: socket.socket
    key: str
    made: bool
    max_tokens: int
    seconds: float
    waiting: int
    batch_size: int

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.listener.getsockname()[1]}/v1"


def open_address(
    host: str,
    port: int,
    key_env: str,
    *,
    open_to_network: bool,
    max_tokens: int,
    seconds: float,
    waiting: int,
    batch_size: int,
) -> Address:
    """Raises ValueError for an address, a key or a limit that cannot be used."""
    for name, got, good, want in (
        ("port", port, 0 <= port < 1 << 16, "0 to 65535"),
        ("max-tokens", max_tokens, max_tokens >= 1, "1 or more"),
        ("seconds", seconds, 0 < seconds < float("inf"), "a number above 0"),
        ("waiting", waiting, waiting >= 1, "1 or more"),
        ("batch-size", batch_size, batch_size >= 1, "1 or more"),
    ):
        if not good:
            raise ValueError(f"--{name} is {got}; it must be {want}")
    if not is_local(host) and not open_to_network:
        raise ValueError(
            f"--host {host} can be reached from other machines, unencrypted: keep 127.0.0.1, or add --open-to-network"
        )
    key = key_of(key_env) or secrets.token_urlsafe(32)
    if find_spec("uvicorn") is None:
        raise ValueError(lacking("togi serve", "serve"))
    return Address(
        host=host,
        listener=_take(host, port),
        key=key,
        made=not key_env,
        max_tokens=max_tokens,
        seconds=seconds,
        waiting=waiting,
        batch_size=batch_size,
    )


def _take(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ValueError(f"--host {host} is no address of this machine: {error.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    except OSError as error:
        with closing(listener):
            raise ValueError(f"cannot listen at {host} port {port}: {error.strerror}; choose another --port") from None
    return listener
