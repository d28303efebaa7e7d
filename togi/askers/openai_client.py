"""One question to a server that speaks OpenAI's protocol: retries, clocks, and the key's secrecy.

It knows HTTP; it does not know what is asked, what is paid, or what a verdict is. Redirects are not followed, since
they would carry the key elsewhere.
"""

from __future__ import annotations

import email.utils
import http.client
import ipaddress
import json
import os
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import SplitResult, urlsplit

from togi.credentials import VARIABLE
from togi.types import Status

LONGEST = 4 << 20
"""Bytes of a server's answer; a chat completion of a judge is a few thousand."""

AGAIN = frozenset({408, 409, 425, 429})
"""What is worth asking again for, beside every 5xx."""

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a question may take: ``attempts`` of ``seconds`` each, ``total_seconds`` in all, waits included.

    The wait after attempt k is ``backoff · 2^(k-1)`` seconds, times a random factor of 0.5 to 1.5, so that questions
    that failed together do not come back together; or what the server asks for in ``Retry-After``.
    """

    attempts: int = 5
    seconds: float = 60.0
    total_seconds: float = 180.0
    backoff: float = 0.5


class Fault(Exception):
    """A question that got no answer. ``again`` says whether asking once more may help, ``wait`` how soon (seconds)."""

    def __init__(self, note: str, *, status: Status = "error", again: bool = False, wait: float | None = None) -> None:
        super().__init__(note)
        self.note, self.status, self.again, self.wait = note, status, again, wait


class CalledOff:
    """Whether questions are called off: those under way are cut then, and none is asked any more."""

    def __init__(self) -> None:
        self._off = threading.Event()
        self._lock = threading.Lock()
        self._under_way: list[socket.socket] = []

    @property
    def called(self) -> bool:
        return self._off.is_set()

    def call(self) -> None:
        with self._lock:
            self._off.set()
            for each in self._under_way:
                _shut(each)

    def wait(self, seconds: float) -> bool:
        """Wait so long, or until they are called off; whether they are."""
        return self._off.wait(seconds)

    @contextmanager
    def cutting(self, sock: socket.socket) -> Iterator[None]:
        """While it lasts, what goes through the socket is under way."""
        with self._lock:
            self._under_way.append(sock)
            if self.called:
                _shut(sock)
        try:
            yield
        finally:
            with self._lock:
                self._under_way.remove(sock)


class Server:
    """An endpoint at ``base_url`` (such as ``https://host/v1``), and its key: the one given, or that in the environment
    variable ``key_env``.

    Raises ValueError for an unusable address or key; no message ever shows the key. ``stopped`` ends all waiting.
    """

    def __init__(self, base_url: str, *, key_env: str = "", key: str = "", patience: Patience | None = None) -> None:
        parts = address(base_url, key_env)
        self.patience = patience or Patience()
        self.stopped = threading.Event()
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname or "", parts.port
        self._path = parts.path.rstrip("/")
        self._key = key or key_of(key_env)

    def ask(
        self,
        payload: dict[str, Any],
        read: Callable[[Any], Answer],
        *,
        path: str = "/chat/completions",
        off: CalledOff | None = None,
    ) -> Answer:
        """Post one request and give what ``read`` makes of the answer, unless it is called ``off``. Raises Fault, also
        one that ``read`` raised."""
        return self._post(path, payload, lambda text, kind: read(_parsed(text, kind)), off)

    def tell(self, payload: dict[str, Any], *, path: str) -> None:
        """Post one request, whatever is answered. Raises Fault where it is refused."""
        self._post(path, payload, lambda text, kind: None, None)

    def _post(
        self, path: str, payload: dict[str, Any], read: Callable[[str, str], Answer], off: CalledOff | None
    ) -> Answer:
        body = json.dumps(payload).encode()
        end = time.monotonic() + self.patience.total_seconds
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._read(read, *self._once(path, body, end, off))
            except Fault as fault:
                if off is not None and off.called:
                    raise Fault("it was called off") from None
                wait = self._wait(attempt) if fault.wait is None else fault.wait
                if not fault.again or attempt >= self.patience.attempts or time.monotonic() + wait >= end:
                    tried = f" ({attempt} attempts)" if attempt > 1 else ""
                    raise Fault(f"{fault.note}{tried}", status=fault.status, again=fault.again) from None
            if (self.stopped if off is None else off).wait(wait):
                raise Fault("the run is stopping")

    def _read(self, read: Callable[[str, str], Answer], text: str, kind: str) -> Answer:
        try:
            return read(text, kind)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            # The boundary to a foreign server: whatever it sends, the run goes on.
            raise Fault(self._hidden(f"the answer makes no sense: {type(error).__name__}"), again=True) from None

    def _wait(self, attempt: int) -> float:
        return self.patience.backoff * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.5)

    def _once(self, path: str, body: bytes, end: float, off: CalledOff | None) -> tuple[str, str]:
        """The text of a good answer, and its content type."""
        seconds = max(0.001, min(self.patience.seconds, end - time.monotonic()))
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        connection = kind(self._host, self._port, timeout=seconds)
        late = threading.Event()
        clock: threading.Timer | None = None
        try:
            connection.connect()
            # A socket's own time-out starts anew with every byte; this clock does not.
            clock = threading.Timer(seconds, _cut, (connection.sock, late))
            clock.daemon = True
            clock.start()
            with off.cutting(connection.sock) if off is not None else nullcontext():
                connection.request("POST", self._path + path, body, self._headers())
                response = connection.getresponse()
                raw = response.read(LONGEST + 1)
        except (OSError, ValueError, http.client.HTTPException) as error:
            if late.is_set() or isinstance(error, TimeoutError):
                raise Fault(f"no answer within {seconds:.3g} s", status="timeout", again=True) from None
            raise Fault(self._hidden(f"connection: {type(error).__name__}: {error}"), again=True) from None
        finally:
            if clock is not None:
                clock.cancel()
            connection.close()
        if late.is_set():
            raise Fault(f"no answer within {seconds:.3g} s", status="timeout", again=True)
        return self._checked(response, raw)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "togi"}
        return headers | ({"Authorization": f"Bearer {self._key}"} if self._key else {})

    def _checked(self, response: http.client.HTTPResponse, raw: bytes) -> tuple[str, str]:
        """The text of a good answer, with the key taken out should the server repeat it."""
        text = self._hidden(raw.decode("utf-8", errors="replace"))
        if response.status == 200:
            if len(raw) > LONGEST:
                raise Fault(f"an answer of more than {LONGEST >> 20} MB")
            return text, response.headers.get("Content-Type", "no content type")
        said = f"HTTP {response.status} {_brief(response.reason)}: {_brief(_message(text))}"
        if 300 <= response.status < 400:
            raise Fault(self._hidden(f"{said} (a redirect, not followed: give the address it leads to as base_url)"))
        again = response.status in AGAIN or response.status >= 500
        raise Fault(self._hidden(said), again=again, wait=_retry_after(response.headers.get("Retry-After")))

    def _hidden(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def _parsed(text: str, kind: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Fault(f"the answer is not JSON ({_brief(kind)}): {_brief(text)}", again=True) from None


def address(base_url: str, key_env: str = "") -> SplitResult:
    """The parts of a server's address. Raises ValueError for one that cannot be used; it is never repeated."""
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not base_url.isascii() or not base_url.isprintable() or " " in base_url:
        raise ValueError('base_url is an address such as "https://host/v1" or "http://127.0.0.1:8000/v1"')
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("base_url holds more than an address; name the variable that holds the key in key_env")
    if key_env:
        _check_name(key_env)
        if parts.scheme == "http" and not is_local(parts.hostname or ""):
            raise ValueError(f"a key would travel unencrypted to {parts.hostname}: use an https address")
    return parts


def is_local(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _cut(sock: socket.socket, late: threading.Event) -> None:
    late.set()
    _shut(sock)


def _shut(sock: socket.socket) -> None:
    try:
        # Of the plain socket: an encrypted one would forget its state under the reader's hands.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        return


def key_of(name: str) -> str:
    """The key that an environment variable holds; no name, no key. Raises ValueError."""
    if not name:
        return ""
    _check_name(name)
    key = os.environ.get(name, "").strip()
    if not key:
        raise ValueError(f"key_env: the environment variable {name} is not set")
    if len(key) < 8 or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError(f"key_env: what {name} holds is no key: 8 or more printable ASCII characters are wanted")
    return key


def _check_name(name: str) -> None:
    if not VARIABLE.fullmatch(name):
        # What was given may be the key itself: it is not repeated.
        raise ValueError(
            "key_env is the name of an environment variable in capital letters, such as JUDGE_KEY, and never the key; "
            "what was given is no such name"
        )


def _retry_after(text: str | None) -> float | None:
    """Seconds, from a number or a date (RFC 9110, section 10.2.3); None when it says neither."""
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", text.strip()):
        return float(text)
    try:
        when = email.utils.parsedate_to_datetime(text)
        return max(0.0, when.timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def _message(text: str) -> str:
    """The ``error.message`` of a server's complaint, else all it said."""
    try:
        found = json.loads(text)["error"]["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return text
    return found if isinstance(found, str) else text


def _brief(text: str) -> str:
    line = "".join(character if character.isprintable() else "?" for character in " ".join(text[:2000].split()))
    return line if len(line) <= 200 else line[:199] + "…"
