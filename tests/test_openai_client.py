"""A server that fails in every way: what is asked again, how often, how long, and that the key stays secret."""

from __future__ import annotations

import email.utils
import time
from typing import Any

import pytest
from judge_server import Handle, drip, fails, good, hang, raw, reset, said, serving

from togi.askers.openai_client import Fault, Patience, Server, is_local

QUICK = Patience(attempts=3, seconds=0.3, total_seconds=3.0, backoff=0.001)
KEY = "sk-canary-0123456789"
FINE = good(said("1"))


def ask(server: Server) -> Any:
    return server.ask({"model": "m"}, lambda answer: answer["choices"][0]["message"]["content"])


@pytest.mark.parametrize(
    "fault",
    [
        fails(429),
        fails(429, {"Retry-After": "0.01"}),
        fails(429, {"Retry-After": "soon"}),
        fails(500),
        fails(503),
        fails(408),
        reset,
        hang,
        drip,
        raw(b'{"choices": [{"mess'),
        raw(b"<html>please log in</html>", "text/html"),
        raw(b""),
        raw(b"[" * 100_000),
        raw(b"\xff\xfe"),
    ],
)
def test_a_passing_fault_is_asked_again(fault: Handle) -> None:
    with serving(FINE, [fault]) as fake:
        assert ask(Server(fake.url, patience=QUICK)) == "1"
        assert len(fake.requests) == 2


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        (fails(500), "error", "HTTP 500"),
        (fails(429), "error", "HTTP 429"),
        (reset, "error", "connection"),
        (hang, "timeout", "no answer within 0.3 s"),
        (drip, "timeout", "no answer within 0.3 s"),
        (raw(b"<html>", "text/html"), "error", "not JSON \\(text/html\\)"),
    ],
)
def test_a_lasting_fault_ends(fault: Handle, status: str, said: str) -> None:
    with serving(fault) as fake:
        with pytest.raises(Fault, match=said) as caught:
            ask(Server(fake.url, patience=QUICK))
        assert caught.value.status == status
        assert "(3 attempts)" in caught.value.note
        assert len(fake.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_cannot_help_is_not_asked_again(status: int) -> None:
    body = b'{"error": {"message": "context too long"}}'
    with serving(fails(status, body=body)) as fake:
        with pytest.raises(Fault, match=f"HTTP {status}.*: context too long$"):
            ask(Server(fake.url, patience=QUICK))
        assert len(fake.requests) == 1


def test_a_redirect_is_not_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with serving(FINE) as other, serving(fails(307, {"Location": other.url})) as fake:
        with pytest.raises(Fault, match="a redirect, not followed"):
            ask(Server(fake.url, key_env="JUDGE_KEY", patience=QUICK))
        assert (len(fake.requests), len(other.requests)) == (1, 0)


def test_a_huge_answer_is_not_read_to_its_end() -> None:
    with serving(raw(b" " * (5 << 20))) as fake:
        with pytest.raises(Fault, match="more than 4 MB"):
            ask(Server(fake.url, patience=QUICK))
        assert len(fake.requests) == 1


def test_a_wait_that_is_asked_for_is_kept_if_there_is_time() -> None:
    with serving(FINE, [fails(429, {"Retry-After": "0.2"})]) as fake:
        start = time.monotonic()
        assert ask(Server(fake.url, patience=QUICK)) == "1"
        assert time.monotonic() - start >= 0.2
    later = email.utils.formatdate(time.time() + 3600, usegmt=True)
    for wait in ("3600", later):
        with serving(fails(429, {"Retry-After": wait})) as fake:
            with pytest.raises(Fault, match="HTTP 429"):
                ask(Server(fake.url, patience=QUICK))
            assert len(fake.requests) == 1


def test_waits_grow_and_differ() -> None:
    server = Server("http://127.0.0.1:1", patience=Patience(backoff=1.0))
    for attempt in (1, 2, 3):
        waits = [server._wait(attempt) for _ in range(200)]
        full = 2.0 ** (attempt - 1)
        assert 0.5 * full <= min(waits) < 0.6 * full
        assert 1.4 * full < max(waits) <= 1.5 * full


def test_a_server_that_is_not_there() -> None:
    with serving(FINE) as fake:
        url = fake.url
    with pytest.raises(Fault, match="connection: ConnectionRefusedError") as caught:
        ask(Server(url, patience=QUICK))
    assert caught.value.status == "error"


@pytest.mark.parametrize("fault", [fails(500, body=KEY.encode()), fails(401, body=KEY.encode()), raw(KEY.encode())])
def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch, fault: Handle) -> None:
    monkeypatch.setenv("JUDGE_KEY", f" {KEY}\n")
    with serving(fault, [good(said(f"you sent {KEY}"))]) as fake:
        server = Server(fake.url, key_env="JUDGE_KEY", patience=QUICK)
        assert ask(server) == "you sent [key]"
        assert fake.requests[0][0]["authorization"] == f"Bearer {KEY}"
        with pytest.raises(Fault) as caught:
            ask(server)
    seen = f"{caught.value!r} {caught.value.note} {caught.value.__context__!r} {server!r} {server.patience}"
    assert KEY not in seen
    assert "[key]" in seen


def test_unusable_keys_and_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("short", "two words of a key", "sk-\r\nX-Header: 1", "ключ-0123456789"):
        monkeypatch.setenv("BAD_KEY", value)
        with pytest.raises(ValueError, match="what BAD_KEY holds is no key") as caught:
            Server("https://host/v1", key_env="BAD_KEY")
        assert value not in str(caught.value)
    with pytest.raises(ValueError, match="never the key") as caught:
        Server("https://host/v1", key_env=KEY)
    assert KEY not in str(caught.value)
    with pytest.raises(ValueError, match="variable NOT_THERE is not set"):
        Server("https://host/v1", key_env="NOT_THERE")
    monkeypatch.setenv("GOOD_KEY", KEY)
    with pytest.raises(ValueError, match="unencrypted to example"):
        Server("http://example/v1", key_env="GOOD_KEY")
    for address in ("host/v1", "ftp://host", "https://", "file:///etc/passwd"):
        with pytest.raises(ValueError, match="base_url is an address"):
            Server(address)
    for address in ("https://me:secret@host/v1", "https://host/v1?key=secret"):
        with pytest.raises(ValueError, match="more than an address") as caught:
            Server(address)
        assert "secret" not in str(caught.value)


def test_local_addresses() -> None:
    assert all(map(is_local, ("localhost", "127.0.0.1", "127.8.8.8", "::1")))
    assert not any(map(is_local, ("localhost.example", "10.0.0.1", "127.0.0.1.example", "0.0.0.0")))
