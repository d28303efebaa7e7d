"""A user's own function as a reward, called in a worker; what it returns is checked there (grade_user.py)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from togi.function import absolute, with_imports
from togi.rewards.algebra import Leaf
from togi.rewards.verify import completion_text, unscored
from togi.sandbox.pool import Pool, Verdict, shared_pool
from togi.types import Message, Score, Task, Trajectory


@dataclass(frozen=True)
class python(Leaf):
    """A function of the user's own, "file.py:function" or "module:function", called in a worker.

    Togi's signature is ``(task, completion) -> float``, called once a completion; TRL's is
    ``(completions, **columns) -> list of float``, called once a group with ``prompts``, ``completions``, ``answer``
    and the data's further columns. True and False are 1 and 0, None abstains; text, nan, infinities and a wrong count
    are errors that name the function. ``base`` is the folder a file is relative to.
    """

    function: str
    name: str = ""
    base: Path = field(default_factory=Path, kw_only=True, compare=False, repr=False)
    pool: Pool = field(default_factory=shared_pool, kw_only=True, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "function", absolute(self.function, self.base))
        if not self.name:
            object.__setattr__(self, "name", self.function.rpartition(":")[2])

    @property
    def files(self) -> tuple[Path, ...]:
        place = self.function.rpartition(":")[0]
        return with_imports(Path(place)) if place.endswith(".py") else ()

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        given = {"function": self.function}
        kind = self.pool.call("togi.rewards.grade_user:signature", {}, given)
        if kind.status != "ok":
            return [unscored(self.name, kind)] * len(trajectories)
        texts = [completion_text(trajectory) for trajectory in trajectories]
        if kind.value == "togi":
            plain = {
                "id": task.id,
                "prompt": [_plain(message) for message in task.prompt],
                "answer": task.answer,
                "info": dict(task.info),
            }
            calls = [{"task": plain, "completion": text} for text in texts]
            return [self._score(v) for v in self.pool.call_many("togi.rewards.grade_user:one", calls, given)]
        verdict = self.pool.call("togi.rewards.grade_user:many", _trl_arguments(task, texts), given)
        if verdict.status != "ok":
            return [unscored(self.name, verdict)] * len(trajectories)
        return [self._score(Verdict(value=value)) for value in verdict.value]

    def _score(self, verdict: Verdict) -> Score:
        if verdict.status != "ok":
            return unscored(self.name, verdict)
        if verdict.value is None:
            return Score(value=math.nan, status="abstain", note=f"{self.name}: abstained")
        if isinstance(verdict.value, bool) or not isinstance(verdict.value, int | float):
            # Checked in the worker already: a function that runs answers may have had its reply forged by one.
            note = f"{self.name}: its worker replied {str(verdict.value)[:100]!r}; a number was wanted"
            return Score(value=math.nan, status="error", note=note)
        return Score(value=verdict.value, parts={self.name: verdict.value})


def _trl_arguments(task: Task, texts: Sequence[str]) -> Mapping[str, Any]:
    """TRL's shapes: strings for raw text, lists of messages for chats."""
    columns = {**task.info, "answer": task.answer}
    if all(message.role == "text" for message in task.prompt):
        prompt: Any = "".join(message.content for message in task.prompt)
        return {"prompt": prompt, "completions": list(texts), "columns": columns}
    prompt = [_plain(message) for message in task.prompt]
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    return {"prompt": prompt, "completions": completions, "columns": columns}


def _plain(message: Message) -> Mapping[str, str]:
    return {"role": message.role, "content": message.content}
