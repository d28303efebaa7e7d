"""Rows and completions of other trainers as tasks and attempts, and a reward or an environment by its name for them. It
scores and plays nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from togi.data.conversations import read_messages
from togi.data.errors import RowError
from togi.envs.open_env import Equips, open_env
from togi.episode_blame import Blame, Said
from togi.protocols import Abort, Env
from togi.rewards.algebra import Composable, Leaf
from togi.rewards.expression import parse_reward
from togi.rewards.verifiers import first_answer
from togi.sandbox.workers.pool import Pool
from togi.types import Message, Task, Trajectory, Turn

Make = Callable[[Task], Env]


def reward_by_name(score: str, base: Path) -> Composable:
    """The reward that a recipe would write as ``score``. Raises ValueError for one that asks the policy, or models that
    only a run opens."""
    reward = parse_reward(score, base)
    if asking := [leaf.name for leaf in reward.leaves if type(leaf).opened is not Leaf.opened]:
        raise ValueError(f"{', '.join(asking)} asks models that a run of Togi's opens, and cannot be lent")
    return reward


def env_by_name(use: str, settings: Mapping[str, Any], base: Path, seconds: float, memory_mb: int) -> Make:
    """The environment that a recipe would name. Raises ValueError."""
    env = open_env(use, settings, base, Pool(workers=1, seconds=seconds, memory_mb=memory_mb))
    if isinstance(env, Equips):
        raise ValueError(f'"{use}" is tools, and those other trainers take as functions: give them yours')
    if getattr(env, "players", ()):
        raise ValueError(f'"{use}" has several players, and an environment that is lent has one')
    return env


def pay_of_broken(make: Make, task: Task, said: Sequence[Said], problem: Exception, paid: float) -> float | None:
    """What an attempt earns that broke off at the last message said, after it had been ``paid`` so much: at most 0
    where that message alone broke it, None where nothing is known against it."""
    fault = Blame(make=make, harmless=lambda of: first_answer(of) or "").fault(task, said, problem)
    return None if fault is None or isinstance(problem, Abort) else min(0.0, paid)


def task_of(prompt: Any, answer: Any, info: Mapping[str, Any], name: str = "lent") -> Task:
    """A row. ``prompt`` is a text or messages in OpenAI's form."""
    messages = (Message(role="user", content=prompt),) if isinstance(prompt, str) else messages_of(prompt, "prompt")
    return Task(id=name, prompt=messages, answer=answer, info=dict(info))


def attempt_of(completion: Any) -> Trajectory:
    """What a model wrote: a text, or messages of which the assistant's are its turns."""
    if isinstance(completion, str):
        return Trajectory(turns=(_turn(completion),), stop="eos")
    messages = messages_of(completion, "completion")
    turns = tuple(_turn(each.content) for each in messages if each.role == "assistant")
    if not turns:
        raise ValueError(f"the completion {completion!r:.200} has no message of the assistant's")
    return Trajectory(turns=turns, stop="eos")


def messages_of(given: Any, what: str) -> tuple[Message, ...]:
    known = ("role", "content", "tool_calls", "tool_call_id", "name")
    plain = [dict(each) if isinstance(each, Mapping) else each for each in given] if _listed(given) else given
    kept = [{key: each[key] for key in known if key in each} for each in plain] if _all_named(plain) else plain
    try:
        return read_messages(kept, what)
    except RowError as error:
        raise ValueError(str(error)) from None


def shown(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages in OpenAI's form."""
    return [{"role": message.role, "content": message.content} for message in messages]


def _turn(text: str) -> Turn:
    return Turn(prompt=(), completion=(), text=text, stop="eos")


def _listed(given: Any) -> bool:
    return isinstance(given, Sequence) and not isinstance(given, str)


def _all_named(given: Any) -> bool:
    return _listed(given) and all(isinstance(each, dict) for each in given)
