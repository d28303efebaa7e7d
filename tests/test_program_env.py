"""Programs that ask the model by themselves: what they ask is what it sees, what it says is what they get."""

from __future__ import annotations

import http.client
import json
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import torch
from tiny_text import tiny_folder

from togi.batch import samples
from togi.engines.engine_choice import EngineChoice
from togi.engines.open_engine import open_engine
from togi.envs.open_env import open_env, opening
from togi.envs.programs.program_env import ProgramEnv
from togi.envs.programs.running import FunctionProgram
from togi.models.load_model import load_model
from togi.protocols import Env
from togi.rewards import turns
from togi.rollout import Episodes
from togi.sandbox.workers.pool import Pool
from togi.tokenization import Chat
from togi.types import Message, Question, Sampling, Task

pytest.importorskip("uvicorn", reason="needs the serve extra")

TASK = Task(id="t", prompt=(Message(role="user", content="What is 2 + 2?"),), answer="4", info={"level": 3})
CALC = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}}
CALL = '<tool_call>{"name": "add", "arguments": {"a": 2}}</tool_call>'
AGENT = Path(__file__).parent / "agent_program.py"


def ask(
    base_url: str, key: str, messages: list[dict[str, Any]], patience: float = 20, **more: Any
) -> tuple[int, dict[str, Any]]:
    """What a client gets: the status, and the message or the error."""
    at = urlsplit(base_url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port, timeout=patience)
    body = json.dumps({"model": "policy", "messages": messages, **more})
    connection.request("POST", f"{at.path}/chat/completions", body, {"Authorization": f"Bearer {key}"})
    try:
        response = connection.getresponse()
        said = json.loads(response.read())
    finally:
        connection.close()
    return response.status, said["choices"][0]["message"] if response.status == 200 else said["error"]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def made(play: Callable[..., Any], turns: int = 5, seconds: float = 20.0) -> Env:
    return ProgramEnv(program=FunctionProgram(use="f.py:play", play=play), turns=turns, seconds=seconds)(TASK)


def told(text: str) -> Message:
    return Message(role="assistant", content=text)


def contents(messages: tuple[Message, ...]) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in messages]


AGENTS_SDK = '''
from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

set_tracing_disabled(True)


@function_tool
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


async def play(task, base_url, api_key):
    client = AsyncOpenAI(base_url=base_url, api_key=api_key)
    model = OpenAIChatCompletionsModel(model="policy", openai_client=client)
    agent = Agent(name="adder", instructions="Use tools.", tools=[add], model=model)
    played = await Runner.run(agent, task.prompt[-1].content)
    return float(played.final_output == task.answer)
'''


@pytest.mark.skipif(find_spec("agents") is None, reason="needs the OpenAI Agents SDK")
def test_an_agent_of_openais_sdk(tmp_path: Path) -> None:
    (tmp_path / "sdk.py").write_text(AGENTS_SDK)
    env = open_env("program", {"run": "sdk.py:play"}, tmp_path, pool())(TASK)
    assert contents(env.start()) == [("system", "Use tools."), ("user", "What is 2 + 2?")]
    two_calls = "\n".join(
        f'<tool_call>{{"name": "add", "arguments": {{"a": {a}, "b": 2}}}}</tool_call>' for a in (2, 1)
    )
    assert contents(env.step(told(f"Let me see.\n{two_calls}"))[0]) == [("tool", "4"), ("tool", "3")]
    assert env.step(told("4")) == ((), 1.0, True)
    env.close()
    assert (env.counts["edited"], env.counts["begun"]) == (0, 0)  # type: ignore[attr-defined]


def two_turns(task: Task, base_url: str, key: str) -> float:
    history = [user(task.prompt[0].content)]
    history.append(ask(base_url, key, history, temperature=0.1, seed=3, max_tokens=9)[1])
    history.append(user("Sure?"))
    _, last = ask(base_url, key, history)
    return 0.5 if last["content"] == task.answer else -1


def test_a_program_asks_twice_and_pays() -> None:
    env = made(two_turns)
    assert contents(env.start()) == [("user", "What is 2 + 2?")]
    replies, reward, done = env.step(told("5 "))
    assert (contents(replies), reward, done) == ([("user", "Sure?")], 0.0, False)
    assert env.conversation == ""  # type: ignore[attr-defined]
    assert env.step(told("4")) == ((), 0.5, True)
    env.close()
    assert dict(env.counts) == {"edited": 0, "begun": 0, "out_of_turns": 0}  # type: ignore[attr-defined]


def test_an_async_program() -> None:
    async def play(task: Task, base_url: str, key: str) -> None:
        ask(base_url, key, [user("a")])

    env = made(play)
    env.start()
    assert env.step(told("b")) == ((), 0.0, True)
    env.close()


def retold(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Env:
    """An episode that has answered one question "one", and whose program then asks with a changed history."""

    def play(task: Task, base_url: str, key: str) -> None:
        history = [user("a"), ask(base_url, key, [user("a")])[1], user("b")]
        ask(base_url, key, change(history))

    env = made(play)
    env.start()
    return env


CHANGES: dict[str, tuple[Callable[[list[dict[str, Any]]], list[dict[str, Any]]], list[str], int, int]] = {
    "as it was": (lambda h: h, ["b"], 0, 0),
    "two new messages": (lambda h: [*h, user("c")], ["b", "c"], 0, 0),
    "parts": (lambda h: [*h[:2], {"role": "user", "content": [{"type": "text", "text": "b"}]}], ["b"], 0, 0),
    "its answer edited": (lambda h: [h[0], {**h[1], "content": "One."}, h[2]], ["a", "One.", "b"], 1, 1),
    "its answer stripped": (lambda h: [h[0], {**h[1], "content": "one"}, h[2]], ["a", "one", "b"], 1, 1),
    "its answer left out": (lambda h: [h[0], h[2]], ["a", "b"], 1, 0),
    "a summary": (lambda h: [user("so far: one"), h[2]], ["so far: one", "b"], 1, 0),
    "the question edited": (lambda h: [user("A"), *h[1:]], ["A", " one", "b"], 1, 0),
    "a system message": (lambda h: [{"role": "system", "content": "s"}, *h], ["s", "a", " one", "b"], 1, 0),
    "asked again": (lambda h: h[:1], ["a"], 1, 0),
}


@pytest.mark.parametrize(("change", "seen", "begun", "edited"), CHANGES.values(), ids=CHANGES)
def test_what_is_said_anew(change: Any, seen: list[str], begun: int, edited: int) -> None:
    env = retold(change)
    replies, _, _ = env.step(told(" one"))
    assert [message.content for message in replies] == seen
    assert (env.conversation, env.counts["begun"], env.counts["edited"]) == ("1" * begun, begun, edited)  # type: ignore[attr-defined]
    env.step(told("two"))
    env.close()


def test_an_agent_with_a_helper_has_two_conversations() -> None:
    def play(task: Task, base_url: str, key: str) -> None:
        main = [user("plan")]
        main += [ask(base_url, key, main)[1], user("go on")]
        ask(base_url, key, [user("help")])
        ask(base_url, key, main)

    env = made(play)
    env.start()
    seen = [(contents(env.step(told(text))[0]), env.conversation) for text in ("a", "b")]  # type: ignore[attr-defined]
    assert seen == [([("user", "help")], "1"), ([("user", "go on")], "")]
    env.step(told("c"))
    env.close()


def test_calls_are_calls_and_stay_the_same_when_told_again() -> None:
    got: list[Any] = []

    def play(task: Task, base_url: str, key: str) -> None:
        history = [user("add")]
        said = ask(base_url, key, history, tools=[CALC])[1]
        got.append(said)
        history += [said, {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "content": "4"}]
        got.append(ask(base_url, key, history, tools=[CALC])[1])
        ask(
            base_url,
            key,
            [*history, got[-1], user("x")],
            tools=[{**CALC, "function": {**CALC["function"], "name": "b"}}],
        )

    env = made(play)
    env.start()
    assert env.tools == (CALC,)  # type: ignore[attr-defined]
    replies, _, _ = env.step(told(f"Let me.\n{CALL}"))
    assert contents(replies) == [("tool", "4")]
    assert got[0]["content"] == "Let me."
    assert got[0]["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 2}'}
    replies, _, _ = env.step(told("<tool_call>{nonsense</tool_call>"))
    assert got[1]["content"] == "<tool_call>{nonsense</tool_call>"
    assert len(replies) == 5, "with other tools the conversation is another one"
    env.close()
    assert (env.counts["calls"], env.counts["calls_unreadable"]) == (2, 1)  # type: ignore[attr-defined]


def test_what_can_be_called_is_known_before_training() -> None:
    def play(task: Task, base_url: str, key: str) -> None:
        ask(base_url, key, [user("add")], tools=[CALC])

    asked, told_first = opening(ProgramEnv(program=FunctionProgram(use="f.py:play", play=play)), TASK)
    assert (asked.tools, contents(told_first)) == ((CALC,), [("user", "add")])


REFUSED = [
    ({"stream": True}, "stream"),
    ({"n": 2}, "n: an episode has one answer"),
    ({"stop": ["\n"]}, "[sampling]"),
    ({"logprobs": True}, "recorded"),
    ({"model": "gpt-4"}, "gpt-4"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"response_format": {"type": "json_object"}}, "response_format"),
    ({"messages": []}, "messages"),
    ({"messages": [user("a"), {"role": "assistant", "content": "I"}]}, "the last message is the assistant's"),
]


@pytest.mark.parametrize(("more", "why"), REFUSED)
def test_what_cannot_be_is_refused(more: dict[str, Any], why: str) -> None:
    got: list[Any] = []

    def play(task: Task, base_url: str, key: str) -> None:
        got.append(ask(base_url, key, **{"messages": [user("a")], **more}))
        ask(base_url, key, [user("b")])

    env = made(play)
    assert contents(env.start()) == [("user", "b")], "what is refused is not asked"
    env.close()
    ((status, error),) = got
    assert status in (400, 404)
    assert why in error["message"]


def test_nobody_asks_in_another_episodes_name() -> None:
    places: list[tuple[str, str]] = []
    hold = threading.Event()

    def play(task: Task, base_url: str, key: str) -> None:
        places.append((base_url, key))
        ask(base_url, key, [user("a")])
        hold.wait(20)

    one, two = made(play), made(play)
    one.start()
    two.start()
    assert ask(places[0][0], places[1][1], [user("c")])[0] == 401
    assert ask(places[0][0], "", [user("c")])[0] == 401
    assert ask(places[0][0].replace("/v1", "x/v1"), places[0][1], [user("c")])[0] == 410
    hold.set()
    one.close()
    assert ask(*places[0], [user("c")])[0] == 410, "an episode that is over answers nobody"
    assert two.step(told("b")) == ((), 0.0, True)
    two.close()


def raises(task: Task, base_url: str, key: str) -> None:
    ask(base_url, key, [user("a")])
    raise KeyError("mine")


def exits(task: Task, base_url: str, key: str) -> None:
    ask(base_url, key, [user("a")])
    sys.exit(3)


def pays(what: Any) -> Callable[..., Any]:
    def play(task: Task, base_url: str, key: str) -> Any:
        ask(base_url, key, [user("a")])
        return what

    return play


FAULTS = [
    (raises, KeyError, "mine"),
    (exits, RuntimeError, "SystemExit: 3"),
    (pays("1.0"), ValueError, "the program gave '1.0' as reward"),
    (pays(float("nan")), ValueError, "gave nan"),
    (pays([1]), ValueError, "wanted a number, or nothing"),
]


@pytest.mark.parametrize(("play", "kind", "why"), FAULTS)
def test_what_a_program_does_wrong_is_told(play: Any, kind: type[Exception], why: str) -> None:
    env = made(play)
    env.start()
    with pytest.raises(kind, match=why):
        env.step(told("b"))
    env.close()


def test_a_program_that_asks_nothing() -> None:
    env = made(lambda *_: 1.0)
    with pytest.raises(ValueError, match="had not asked"):
        env.start()
    env.close()


def test_a_program_that_neither_asks_nor_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("togi.envs.programs.running.LAST_SECONDS", 0.1)
    hold = threading.Event()
    env = made(lambda *_: hold.wait(30), seconds=0.1)
    with pytest.raises(TimeoutError, match="neither asked the model nor ended"):
        env.start()
    with pytest.raises(TimeoutError, match="a thread cannot be ended"):
        env.close()
    hold.set()


def test_nobody_answers_whoever_has_gone_away() -> None:
    left = threading.Event()

    def play(task: Task, base_url: str, key: str) -> None:
        for text in ("a", "b"):
            with pytest.raises(TimeoutError):
                ask(base_url, key, [user(text)], patience=0.2)
        threading.Timer(0.2, left.set).start()
        ask(base_url, key, [user("c")])

    env = made(play)
    assert contents(env.start()) == [("user", "a")]
    left.wait(20)
    assert contents(env.step(told("late"))[0]) == [("user", "c")]
    assert env.step(told("heard")) == ((), 0.0, True)
    env.close()


def test_turns_run_out() -> None:
    def play(task: Task, base_url: str, key: str) -> None:
        while True:
            ask(base_url, key, [user("more")])[1]["content"]

    env = made(play, turns=2)
    env.start()
    assert env.step(told("a"))[2] is False
    assert env.step(told("b")) == ((), 0.0, True)
    env.close()
    assert env.counts["out_of_turns"] == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("edits", [False, True])
def test_what_was_sampled_is_what_is_learned(tmp_path: Path, edits: bool) -> None:
    """With a tokenizer, a chat template and an engine: each sampled token is learned once, and nothing else is."""

    def play(task: Task, base_url: str, key: str) -> float:
        history = [user("a")]
        for turn in range(3):
            said = ask(base_url, key, history)[1]
            if edits and turn == 1:
                said = {**said, "content": "edited"}
            history += [said, user(f"more {turn}")]
        return 1.0

    loaded = load_model(str(tiny_folder(tmp_path / "model")), dtype=torch.float32)
    engine, chat = open_engine(loaded, EngineChoice(batch_size=4)), Chat(loaded.tokenizer, loaded.eos_ids)
    make = ProgramEnv(program=FunctionProgram(use="f.py:play", play=play), seconds=60.0)
    episodes = Episodes(engine=engine, chat=chat, env=make, reward=turns(), sampling=Sampling(max_tokens=5))
    (group,) = episodes([Question(task=TASK, attempts=3)])
    for number, trajectory in enumerate(group.trajectories):
        assert trajectory.error is None
        first, second, third = trajectory.turns
        assert second.prompt[: len(first.prompt + first.completion)] == first.prompt + first.completion
        gone_on = third.prompt[: len(second.prompt + second.completion)] == second.prompt + second.completion
        assert gone_on is not edits
        assert ("edited" in chat.show(third.prompt)) is edits
        own = [sample for sample in samples([group]) if sample.trajectory == number]
        assert len(own) == 1 + edits
        learned = [token for sample in own for token in sample.ids[sample.mask]]
        assert learned == [token for turn in trajectory.turns for token in turn.completion]
        assert trajectory.counts == {"edited": edits, "begun": edits, "out_of_turns": 0}
        assert group.scores[number].value == 1.0


COMMANDS = {
    "pays": ("pay", None, 0.5),
    "prints a number, which is no reward": ("print", None, 0.0),
    "floods": ("flood", None, 0.25),
    "fails": ("fail", "ended with 7: it broke", 0.0),
    "pays a text": ("text", "gave 'much' as reward", 0.0),
    "pays no number": ("nan", "gave nan as reward", 0.0),
}


@pytest.mark.parametrize(("how", "why", "paid"), COMMANDS.values(), ids=COMMANDS)
def test_a_command(how: str, why: str | None, paid: float) -> None:
    env = open_env("program", {"command": [sys.executable, "agent_program.py", how]}, AGENT.parent, pool())(TASK)
    assert contents(env.start()) == [("user", "What is 2 + 2? at level 3")]
    if why is None:
        assert env.step(told("4")) == ((), paid, True)
    else:
        with pytest.raises((RuntimeError, ValueError), match=why):
            env.step(told("4"))
    env.close()


def pool() -> Pool:
    return Pool(workers=1, seconds=20.0, memory_mb=512)


def test_a_command_ends_with_its_episode() -> None:
    env = open_env("program", {"command": [sys.executable, "agent_program.py", "hang"]}, AGENT.parent, pool())
    assert env.files == (AGENT,)
    assert opening(env, TASK)[1][0].content == "What is 2 + 2? at level 3"


WRONG = [
    ({}, "either a function"),
    ({"run": "agent_program.py:play", "command": ["x"]}, "either a function"),
    ({"run": "agent_program.py:nobody"}, "has no function"),
    ({"run": "nowhere.py:play"}, "there is no file"),
    ({"run": "agent_program.py:main"}, r"cannot be called as main\(task, base_url, api_key\)"),
    ({"run": "agent_program.py:play", "arguments": {"hint": 1}}, "api_key, hint=…"),
    ({"command": "python x"}, "wanted its words"),
    ({"command": [1]}, "wanted texts only"),
    ({"command": [sys.executable], "arguments": {}}, "arguments are a function's"),
    ({"command": [sys.executable], "turns": 0}, "at least 1"),
    ({"command": [sys.executable], "turn": 3}, "no setting of programs"),
    ({"command": ["no-such-command"]}, "there is no command 'no-such-command'"),
]


@pytest.mark.parametrize(("settings", "why"), WRONG)
def test_what_is_no_program_is_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        open_env("program", settings, AGENT.parent, pool())
