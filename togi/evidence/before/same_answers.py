"""Whether an environment answers the same messages alike: only then does a resumed run go on as it would have."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from togi.envs import OneTurn
from togi.protocols import Env
from togi.types import Group, Message, Task, Trajectory

ADVICE = "a resumed run will not go on exactly as it would have: put seeds into the row, and no clock into replies"


def other_answers(make: Callable[[Task], Env], groups: Sequence[Group]) -> str | None:
    """What differs when one attempt is played again, with the same messages and a new environment; None where nothing
    does. Attempts of several players, and those that broke off, are not looked at."""
    if make is OneTurn:
        return None
    for group in groups:
        for attempt in group.trajectories:
            if attempt.turns and attempt.error is None and not attempt.role:
                return _differs(make, group.task, attempt)
    return None


def _differs(make: Callable[[Task], Env], task: Task, attempt: Trajectory) -> str | None:
    try:
        env = make(task)
        try:
            first = env.start()
            if attempt.asked and first != attempt.asked:
                return f"what it says first at task {task.id}"
            for number, turn in enumerate(attempt.turns, 1):
                replies, reward, _ = env.step(Message(role="assistant", content=turn.text))
                if replies != turn.replies:
                    return f"its reply to turn {number} of task {task.id}"
                if reward != turn.reward:
                    return f"what it pays for turn {number} of task {task.id}"
        finally:
            env.close()
    except Exception as problem:
        return f"it raised {type(problem).__name__} at task {task.id}"
    return None
