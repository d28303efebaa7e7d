"""Who is to blame for an episode that broke off: what the model wrote, or the environment and its machine.

The episode is played again up to the model's last message, once with a harmless message in its place and once with the
message itself. Where the environment takes the harmless one and raises at the other as before, the message alone broke
it. Where it raises at both, or its replies are not those of before, nothing is known against the model. It knows no
tokens, no reward and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from togi.protocols import Env
from togi.types import Fault, Message, Task, Turn

FAULTS: tuple[tuple[type[Exception], Fault], ...] = (
    (TimeoutError, "time"),
    (MemoryError, "memory"),
    (RecursionError, "depth"),
    (Exception, "error"),
)


@dataclass(frozen=True, kw_only=True)
class Blame:
    """Asks the environments of ``make`` again. ``harmless`` gives a message that a task's environment should take; an
    environment whose messages have a form names one itself, as its attribute ``harmless``."""

    make: Callable[[Task], Env]
    harmless: Callable[[Task], str]
    _takes_harmless: dict[tuple[str, tuple[str, ...]], bool] = field(default_factory=dict, repr=False)

    def fault(self, task: Task, turns: Sequence[Turn], problem: Exception) -> Fault | None:
        """What the last of ``turns`` is to blame for, when ``problem`` was raised at it or at the close after it."""
        place = task.id, tuple(turn.text for turn in turns[:-1])
        if place not in self._takes_harmless:
            self._takes_harmless[place] = self._raised(task, turns[:-1], None) is None
        if not self._takes_harmless[place]:
            return None
        if type(self._raised(task, turns[:-1], turns[-1].text)) is not type(problem):
            return None
        return next(fault for kind, fault in FAULTS if isinstance(problem, kind))

    def _raised(self, task: Task, before: Sequence[Turn], last: str | None) -> Exception | None:
        """What a new episode raises after the turns before, at the message ``last`` or else at a harmless one."""
        try:
            env = self.make(task)
            try:
                env.start()
                for turn in before:
                    replies, _, done = env.step(_said(turn.text))
                    if done or replies != turn.replies:
                        return _OtherReplies()
                if last is None:
                    named = getattr(env, "harmless", None)
                    last = self.harmless(task) if named is None else named
                env.step(_said(last))
            finally:
                env.close()
        except Exception as problem:
            return problem
        return None


class _OtherReplies(Exception):
    """The same messages were answered otherwise than before."""


def _said(text: str) -> Message:
    return Message(role="assistant", content=text)
