"""A reward of Togi's as a reward function of TRL, and an environment as the class that TRL's ``environment_factory``
takes. TRL is not needed to make them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from togi.episode_blame import Said
from togi.lent.rows import Make, attempt_of, env_by_name, pay_of_broken, reward_by_name, task_of
from togi.protocols import Env
from togi.rollout import score as scored
from togi.types import Message, Task

ITS_OWN = ("completion_ids", "trainer_state", "log_extra", "log_metric", "environments")  # no columns of the row
OVER = "It is over: answer without a call."


def trl_reward(score: str, *, base: Path | str = ".", answer: str = "answer") -> Callable[..., list[float | None]]:
    """A reward function for TRL's trainers: what a recipe writes as ``score``, with files relative to ``base``.

    ``answer`` is the column that holds the task's answer; all others reach the reward too. The attempts at a task,
    which follow each other in TRL's batches, are scored together. A score that could not be given is None, which TRL
    leaves out. Raises ValueError for a reward that cannot be read, or asks models that only a run opens.
    """
    reward = reward_by_name(score, Path(base))

    def togi(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        rows = {name: column for name, column in columns.items() if name not in ITS_OWN}
        places = range(len(prompts))
        together = [
            list(same) for _, same in groupby(places, key=lambda at: (prompts[at], [c[at] for c in rows.values()]))
        ]
        asked = []
        for number, same in enumerate(together):
            row = {name: column[same[0]] for name, column in rows.items()}
            task = task_of(prompts[same[0]], row.pop(answer, None), row, f"lent:{number}")
            asked.append((task, [attempt_of(completions[at]) for at in same]))
        given = [each for group in scored(reward, asked) for each in group]
        return [each.value if each.status == "ok" else None for each in given]

    togi.__name__ = score  # TRL logs it under this name
    return togi


def trl_environment(
    use: str,
    *,
    settings: Mapping[str, Any] | None = None,
    base: Path | str = ".",
    answer: str = "answer",
    seconds: float = 60.0,
    memory_mb: int = 1024,
) -> type:
    """A class for TRL's ``environment_factory``: the environment that a recipe's ``[env]`` would name.

    TRL's models act by calling tools, so the class has one, ``say``: what the model says by it is a turn, and the tool
    gives what is replied. What the environment paid in all is the reward. Raises ValueError as a recipe does, and for
    tools, which TRL takes as functions.
    """
    make = env_by_name(use, settings or {}, Path(base), seconds, memory_mb)
    return type("TogiEnvironment", (_Environment,), {"_make": staticmethod(make), "_answer": answer})


class _Environment:
    """One rollout of TRL's at a time; TRL resets the same object for the next one."""

    _make: Make
    _answer: str

    def __init__(self) -> None:
        self._env: Env | None = None
        self._task: Task | None = None
        self._said: list[Said] = []
        self._paid: float | None = 0.0
        self._over = False

    def reset(self, **row: Any) -> str | None:
        self._close()
        self._task = task = task_of(row.pop("prompt"), row.pop(self._answer, None), row)
        self._env, self._said, self._paid, self._over = self._make(task), [], 0.0, False
        told = self._env.start()
        assert not isinstance(told, Mapping)
        *before, last = told
        if tuple(before) == task.prompt[:-1] and last.content.startswith(task.prompt[-1].content):
            return last.content.removeprefix(task.prompt[-1].content) or None
        return "\n" + "\n".join(message.content for message in told)

    def say(self, message: str) -> str:
        """Says something to the environment, and gives its reply.

        Args:
            message: What is said.

        Returns:
            What the environment replies.
        """
        if self._env is None or self._over:
            return OVER
        assert self._task is not None
        assert self._paid is not None
        self._said.append((message, ()))
        try:
            replies, reward, self._over = self._env.step(Message(role="assistant", content=message))
            assert not isinstance(replies, Mapping)
            assert not isinstance(reward, Mapping)
            self._said[-1] = (message, replies)
            self._paid += reward
        except Exception as problem:  # an environment's own: TRL tells the model
            self._paid, self._over = pay_of_broken(self._make, self._task, self._said, problem, self._paid), True
            raise RuntimeError(f"the environment failed: {type(problem).__name__}: {problem}") from problem
        return "\n".join(reply.content for reply in replies) or OVER

    def get_reward(self) -> float | None:
        self._close()
        return self._paid

    def _close(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None
