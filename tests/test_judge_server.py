"""A server as judge: asked once ever, within its cap, from many processes; its probabilities read where they stand."""

from __future__ import annotations

import json
import math
import multiprocessing
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from judge_server import Fake, fails, good, raw, said, serving

from togi.askers.asker import AskerWarning, Reply, Request
from togi.askers.openai_client import Fault, Patience, Server
from togi.askers.reply_cache import ReplyCache, Spent
from togi.askers.server_model import SILENT, Cap, Endpoint, Position, read_answer, verdict_logp
from togi.rewards.judge.verdict import read as verdict_of
from togi.types import Message

QUICK = Patience(attempts=2, seconds=1.0, total_seconds=2.0, backoff=0.001)
KEY = "sk-canary-0123456789"
PAIR = ("1", "2")
RATINGS = tuple(str(i) for i in range(1, 11))
SOFT = good(said("1", {"1": 0.7, "2": 0.3}))


def question(number: int = 0, *, options: tuple[str, ...] = PAIR, tokens: bool = True) -> Request:
    return Request(messages=(Message(role="user", content=f"question {number}"),), options=options, tokens=tokens)


def endpoint(fake: Fake, folder: Path, cap: Cap | None = None, concurrency: int = 4, key_env: str = "") -> Endpoint:
    server = Server(fake.url, patience=QUICK, key_env=key_env)
    cache = ReplyCache(folder / "judge.sqlite")
    return Endpoint(server, fake.url, "m", cache, cap=cap or Cap(), concurrency=concurrency)


def test_what_was_answered_is_not_asked_again(tmp_path: Path) -> None:
    asked = [question(0), question(1), question(0)]
    with serving(SOFT) as fake:
        one = endpoint(fake, tmp_path)
        first = one.ask(asked)
        assert (one.asked, one.kept, len(fake.requests)) == (2, 0, 2)
        again = endpoint(fake, tmp_path)
        assert again.ask(asked) == first == one.ask(asked)
        assert (again.asked, again.kept, len(fake.requests)) == (0, 2, 2)
        assert first[0].logp == pytest.approx({"1": math.log(0.7), "2": math.log(0.3)})
        # Another verdict, sampling or question is another key.
        again.ask([question(0, tokens=False), question(0, options=("Yes", "No")), replace(question(0), max_tokens=9)])
        assert len(fake.requests) == 5
        assert again.spent == Spent(replies=5, prompt_tokens=500, completion_tokens=50)


def test_failures_are_not_kept(tmp_path: Path) -> None:
    with serving(SOFT, [fails(400)]) as fake:
        judge = endpoint(fake, tmp_path)
        assert judge.ask([question()])[0].status == "error"
        assert judge.ask([question()])[0].status == "ok"


def _body(content: str = '"1"', logprob: str = "-0.1", usage: str = '{"prompt_tokens": 1}', more: str = "") -> bytes:
    row = f'{{"token": "1", "logprob": {logprob}, "top_logprobs": [{{"token": "2", "logprob": -3}}]}}'
    choice = f'{{"message": {{"content": {content}}}, "logprobs": {{"content": [{row}]}}}}'
    return f'{{"choices": [{choice}], "usage": {usage}{more}}}'.encode()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (_body(), "ok"),
        *(
            (_body(logprob=number), "ok")
            for number in ("1e400", "-1e400", "NaN", "-Infinity", "true", "[1]", '"0"', "{}")
        ),
        *((_body(logprob=sign + "1" + "0" * 4000), "ok") for sign in ("", "-")),
        (_body(logprob="1" + "0" * 5000), "error"),
        *(
            (_body(usage=f'{{"prompt_tokens": {number}, "completion_tokens": {number}}}'), "ok")
            for number in ("1e400", "-3", "true", "null", "[[]]", "9" * 400, "NaN", '"x"', str(2**63))
        ),
        (_body(usage="[]"), "ok"),
        (_body(content='"1\\ud800"'), "ok"),
        (_body(content='"\\u0000\\u001b[2J"'), "ok"),
        (_body(content='["1"]'), "ok"),
        (_body(content="[" * 100_000 + "]" * 100_000), "error"),
        (_body(more=', "x": "' + "x" * (5 << 20) + '"'), "error"),
        *(
            (raw, "error")
            for raw in (b"", b"\xff\xfe", b"null", b"[]", b'"1"', b"1", b'{"choices": 3}', b"<html>\x1b[2J")
        ),
        *((f'{{"choices": [{each}]}}'.encode(), "error") for each in ("null", "[]", '{"message": []}', '"x"')),
    ],
    ids=range(39),
)
@pytest.mark.filterwarnings("ignore::togi.rewards.judge.outage.AskerWarning")
def test_whatever_a_server_sends_is_a_status(body: bytes, status: str, tmp_path: Path) -> None:
    with serving(raw(body)) as fake:
        judge = endpoint(fake, tmp_path)
        replies = judge.ask([question(0), question(1, tokens=False)])
        assert [reply.status for reply in replies] == [status] * 2
        assert all(reply.note.isprintable() and len(reply.note) < 400 for reply in replies)
        assert judge.ask([question(0)])[0].logp == replies[0].logp
        assert all(0 < p <= 1 for p in verdict_of(question(0), replies[0]).probability.values() if p)


@pytest.mark.parametrize(
    "headers",
    [
        {"Location": "http://127.0.0.2:1/steal"},
        {"Retry-After": "1e9"},
        {"Retry-After": "Fri, 31 Dec 9999 99:99:99 GMT"},
        {"Retry-After": "9" * 300},
        {"Content-Type": "text/\x1b[2Jhtml"},
    ],
    ids=range(5),
)
@pytest.mark.parametrize("code", [200, 302, 307, 429, 503])
def test_odd_headers_are_a_status(headers: dict[str, str], code: int, tmp_path: Path) -> None:
    with serving(fails(code, headers)) as fake:
        reply = endpoint(fake, tmp_path).ask([question()])[0]
    assert reply.status == "error"
    assert reply.note.isprintable()


def test_no_more_is_asked_at_once_than_allowed(tmp_path: Path) -> None:
    with serving(SOFT) as fake:
        replies = endpoint(fake, tmp_path, concurrency=3).ask([question(i) for i in range(30)])
        assert all(reply.status == "ok" for reply in replies)
        assert 1 <= fake.most_at_once <= 3


@pytest.mark.parametrize(
    ("cap", "note"),
    [
        (Cap(tokens=300), "cap of 300 tokens is reached"),
        (Cap(money=0.0007, input_price=2.0, output_price=4.0), "cap of 0.0007 is reached"),
    ],
)
def test_a_cap_ends_asking_and_outlives_the_process(tmp_path: Path, cap: Cap, note: str) -> None:
    with serving(SOFT) as fake:
        judge = endpoint(fake, tmp_path, cap, concurrency=1)
        replies = judge.ask([question(i) for i in range(6)])
        assert [reply.status for reply in replies] == ["ok"] * 3 + ["abstain"] * 3
        assert note in replies[3].note
        assert judge.spent == Spent(replies=3, prompt_tokens=300, completion_tokens=30)
        assert judge.cost == pytest.approx((300 * cap.input_price + 30 * cap.output_price) / 1e6)
        again = endpoint(fake, tmp_path, cap).ask([question(0), question(9)])
        assert [reply.status for reply in again] == ["ok", "abstain"]
        assert len(fake.requests) == 3
        raised = endpoint(fake, tmp_path, replace(cap, tokens=10_000, money=None))
        assert raised.ask([question(9)])[0].status == "ok"


def test_a_cap_is_passed_by_one_question_each_at_most(tmp_path: Path) -> None:
    with serving(SOFT) as fake:
        endpoint(fake, tmp_path, Cap(tokens=330), concurrency=4).ask([question(i) for i in range(40)])
        assert 3 <= len(fake.requests) <= 3 + 4


def test_a_server_that_is_down_is_not_asked_everything(tmp_path: Path) -> None:
    with serving(fails(500)) as fake:
        replies = endpoint(fake, tmp_path, concurrency=1).ask([question(i) for i in range(100)])
        assert {reply.status for reply in replies} == {"error"}
        assert len(fake.requests) == SILENT * QUICK.attempts
        assert "not asked" in replies[-1].note


def test_the_key_is_not_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with serving(good(said(f"Verdict: {KEY}"))) as fake:
        judge = endpoint(fake, tmp_path, key_env="JUDGE_KEY")
        reply = judge.ask([question(tokens=False)])[0]
        assert KEY not in f"{reply} {judge!r}"
        judge._cache.close()
    assert all(KEY.encode() not in file.read_bytes() for file in tmp_path.iterdir())


def test_a_server_without_probabilities_is_read_by_its_text(tmp_path: Path) -> None:
    with serving(good(said("2"))) as fake:
        judge = endpoint(fake, tmp_path)
        with pytest.warns(AskerWarning, match="gives no usable log-probabilities"):
            (reply,) = judge.ask([question()])
        assert (reply.text, reply.logp) == ("2", {})


# Reading an answer.


def read(answer: Any, options: tuple[str, ...] = PAIR, *, reason: bool = False) -> Reply:
    return read_answer(answer, replace(question(options=options), reason=reason))


@pytest.mark.parametrize(
    "answer",
    [{}, [], None, 7, "x", {"choices": []}, {"choices": [{}]}, {"choices": [{"message": None}]}, {"choices": "no"}],
)
def test_what_is_no_completion_is_a_fault(answer: Any) -> None:
    with pytest.raises(Fault, match="no chat completion") as caught:
        read(answer)
    assert caught.value.again


def test_refusals_and_missing_counts() -> None:
    refused = {"choices": [{"message": {"content": None, "refusal": "I will not."}}]}
    reply = read(refused)
    assert (reply.text, reply.logp) == ("refused: I will not.", {})
    # 10 characters asked, 20 answered, 3 a token.
    assert (reply.prompt_tokens, reply.completion_tokens) == (4, 7)
    assert read(said("2", finish_reason="length")).cut


@pytest.mark.parametrize(
    "logprobs",
    [None, [], {}, {"content": None}, {"content": [None]}, {"content": [{"token": 1}]}]
    + [{"content": [{"token": "1", "logprob": bad}]} for bad in (None, "x", math.nan, 5.0)]
    + [{"content": [{"token": "1", "logprob": -0.1, "top_logprobs": [7]}]}],
)
def test_broken_probabilities_are_none(logprobs: Any) -> None:
    assert read(said("1", logprobs=logprobs)).logp == {}


def place(token: str, **likely: float) -> Position:
    return Position(token=token, logp={name.replace("_", " "): math.log(p) for name, p in likely.items()})


def digits(token: str, likely: dict[str, float]) -> Position:
    return Position(token=token, logp={name: math.log(p) for name, p in likely.items()})


def probabilities(positions: Sequence[Position], options: tuple[str, ...], reason: bool = False) -> dict[str, float]:
    found = verdict_logp(positions, replace(question(options=options), reason=reason))
    return {option: round(math.exp(logp), 6) for option, logp in found.items()}


def test_probabilities_of_a_verdict() -> None:
    yes_no = ("Yes", "No")
    assert probabilities([place("Yes", Yes=0.5, _Yes=0.2, No=0.2, I=0.1)], yes_no) == {"Yes": 0.7, "No": 0.2}
    # White space first.
    assert probabilities([place("\n", Yes=1.0), place("No", No=0.9, Yes=0.1)], yes_no) == {"Yes": 0.1, "No": 0.9}
    # Most of the probability is on something that is no verdict: a refusal, say.
    assert probabilities([place("I", I=0.9, Yes=0.08, No=0.02)], yes_no) == {}
    assert probabilities([], yes_no) == {}


def test_probabilities_after_reasons() -> None:
    text = ["Good", ".", "\n", "Verdict", ":", " ", "2"]
    positions = [digits(token, {token: 1.0}) for token in text[:-1]] + [digits("2", {"2": 0.8, "1": 0.2})]
    assert probabilities(positions, PAIR, reason=True) == {"1": 0.2, "2": 0.8}
    assert probabilities(positions[:2], PAIR, reason=True) == {}


def test_ten_is_not_one() -> None:
    whole = [digits("10", {"10": 0.6, "1": 0.1, "9": 0.3})]
    assert probabilities(whole, RATINGS) == {"10": 0.6, "1": 0.1, "9": 0.3}
    # Two tokens, and the likeliest answer shows both.
    split = [digits("1", {"1": 0.6, "9": 0.4}), digits("0", {"0": 0.9, "\n": 0.1})]
    assert probabilities(split, RATINGS) == {"10": 0.54, "1": 0.06, "9": 0.4}
    # Two tokens, and the likeliest answer is another: how much of "1" is "10" cannot be told.
    assert probabilities([digits("9", {"9": 0.6, "1": 0.4})], RATINGS) == {}
    assert probabilities([digits("9", {"9": 0.995, "1": 0.005})], RATINGS) == {"9": 0.995, "1": 0.005}


# The cache.


def test_a_broken_cache_is_moved_aside_loudly(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite"
    path.write_bytes(b"this is no database at all, but long enough to be looked at" * 100)
    with pytest.warns(AskerWarning, match=r"moved to judge\.sqlite\.broken-1"):
        cache = ReplyCache(path)
    cache.put("k", "j", Reply(text="1", logp={"1": -0.5}, prompt_tokens=3, completion_tokens=1))
    assert cache.get("k") == Reply(text="1", logp={"1": -0.5}, prompt_tokens=3, completion_tokens=1)
    assert (tmp_path / "judge.sqlite.broken-1").read_bytes().startswith(b"this is no database")
    cache.close()
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 4000)
    for wal in ("-wal", "-shm"):
        path.with_name(path.name + wal).unlink(missing_ok=True)
    with pytest.warns(AskerWarning, match=r"broken-2"):
        assert ReplyCache(path).get("k") is None


def test_a_table_of_another_shape_is_moved_aside(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE replies (key TEXT)")
    connection.close()
    with pytest.warns(AskerWarning, match="broken-1"):
        assert ReplyCache(path).judges() == []


@pytest.mark.parametrize(
    "logp", ["nonsense", "[1]", '{"1": "x"}', '{"1": NaN}', '{"1": 5}', "\x80", '__import__("os")', "[" * 100_000]
)
def test_an_edited_row_counts_as_not_there(tmp_path: Path, logp: str) -> None:
    cache = ReplyCache(tmp_path / "judge.sqlite")
    cache.put("k", "j", Reply(text="1"))
    with sqlite3.connect(cache.path) as connection:
        connection.execute("UPDATE replies SET logp = ?", (logp,))
    connection.close()
    assert cache.get("k") is None


def write(path: Path, name: str) -> None:
    cache = ReplyCache(path)
    for i in range(50):
        cache.put(f"{name}-{i}", "j", Reply(text=str(i), prompt_tokens=1, completion_tokens=2))
        cache.put(f"both-{i}", "k", Reply(text=str(i)))


def test_processes_share_a_cache(tmp_path: Path) -> None:
    path = tmp_path / "judge.sqlite"
    # Forked, so that they start at once and write at the same time.
    writers = [multiprocessing.get_context("fork").Process(target=write, args=(path, name)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    cache = ReplyCache(path)
    assert cache.spent("j") == Spent(replies=150, prompt_tokens=150, completion_tokens=300)
    assert cache.spent("k").replies == 50
    assert cache.judges() == ["j", "k"]
    assert all(cache.get(f"{name}-49") == Reply(text="49", prompt_tokens=1, completion_tokens=2) for name in "abc")
    assert not list(tmp_path.glob("*.broken*"))


def test_a_row_is_plain_json(tmp_path: Path) -> None:
    cache = ReplyCache(tmp_path / "judge.sqlite")
    cache.put("k", "j", Reply(text="1", logp={"1": -0.1, "2": -2.5}))
    with sqlite3.connect(cache.path) as connection:
        (logp,) = connection.execute("SELECT logp FROM replies").fetchone()
    connection.close()
    assert json.loads(logp) == {"1": -0.1, "2": -2.5}
