"""Talking in the terminal: one question, a conversation that is remembered, a fresh start."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from tiny_text import tiny_folder

from togi.engines.native import NativeEngine
from togi.models.load_model import load_model
from togi.terminal_chat import Conversation, chat, system_message
from togi.tokenization import Chat
from togi.types import Message, Sampling

SHORT = Sampling(max_tokens=3, temperature=0.0, ignore_eos=True)


def conversation(folder: Path, sampling: Sampling = SHORT) -> Conversation:
    loaded = load_model(str(folder))
    engine = NativeEngine(loaded.model, loaded.tokenizer, loaded.eos_ids)
    return Conversation(engine, Chat(loaded.tokenizer, loaded.eos_ids), sampling, ())


def test_conversation_grows_and_starts_over(tmp_path: Path) -> None:
    talk = conversation(tiny_folder(tmp_path / "model"))
    first = talk.say("hello")
    second = talk.say("hello")
    seen = (*first.prompt, *first.completion)
    assert second.prompt[: len(seen)] == seen
    talk.start_over()
    assert talk.say("hello") == first


def test_a_question_that_finds_no_room_is_not_kept(tmp_path: Path) -> None:
    talk = conversation(tiny_folder(tmp_path / "model"))
    first = talk.say("hello")
    assert talk.say("x " * 300).stop == "context"
    assert len(talk.say("hello").prompt) < 2 * len(first.prompt) + 20


def test_one_question(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_folder(tmp_path / "model")
    chat(str(folder), "hello", SHORT)
    shown = capsys.readouterr()
    assert shown.out == conversation(folder).say("hello").text + "\n"
    assert "cut after 3 tokens" in shown.err


def test_talk(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tiny_folder(tmp_path / "model")
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\nhello\n/new\nhello\n"))
    chat(str(folder), None, SHORT)
    talk = conversation(folder)
    first, second = talk.say("hello").text, talk.say("hello").text
    assert capsys.readouterr().out == f"{first}\n{second}\n{first}\n"


def test_a_runs_system_message_opens_the_conversation(tmp_path: Path) -> None:
    assert system_message(tmp_path) == ()
    (tmp_path / "recipe.toml").write_text('name = "r"\n[prompt]\nsystem = "Be brief."\n')
    assert system_message(tmp_path) == (Message(role="system", content="Be brief."),)
