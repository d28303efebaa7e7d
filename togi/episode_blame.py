"""Who is to blame for an episode that broke off: what the model wrote, or the environment and its machine.

The episode is played again up to the model's last message, once with a harmless message in its place and once with the
message itself. Where the environment takes the harmless one and raises at the other as before, the message alone broke
it. Where it raises at both, or its replies are not those of before, nothing is known against the model. A reply that
nobody can be told is as if the environment had raised. It knows no tokens, no reward and no model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from togi.protocols import Env, Heard
from togi.types import Fault, Message, Task

FAULTS: tuple[tuple[type[Exception], Fault], ...] = (
    (TimeoutError, "time"),
    (MemoryError, "memory"),
    (RecursionError, "depth"),
    (Exception, "error"),
)


Said = tuple[str, tuple[Message, ...]]
"""A message of the model, and all that it was answered with."""


@dataclass(frozen=True, kw_only=True)
class Blame:
    """Asks the environments of ``make`` again. ``harmless`` gives a message that a task's environment should take; an
    environment whose messages have a form names one itself, as its attribute ``harmless``. ``tell`` raises for messages
    that a task, with the tools that it has then, cannot be told; its last argument says whether they begin a
    conversation."""

    make: Callable[[Task], Env]
    harmless: Callable[[Task], str]
    tell: Callable[[Task, tuple[Message, ...], bool], None] = lambda task, told, begun: None
    _takes_harmless: dict[tuple[str, tuple[str, ...]], bool] = field(default_factory=dict, repr=False)

    def fault(self, task: Task, said: Sequence[Said], problem: Exception) -> Fault | None:
        """What the last message is to blame for, when ``problem`` was raised at it or at the close after it."""
        before = said[:-1]
        place = task.id, tuple(text for text, _ in before)
        if place not in self._takes_harmless:
            self._takes_harmless[place] = self._raised(task, before, None) is None
        if not self._takes_harmless[place]:
            return None
        if type(self._raised(task, before, said[-1][0])) is not type(problem):
            return None
        return next(fault for kind, fault in FAULTS if isinstance(problem, kind))

    def _raised(self, task: Task, before: Sequence[Said], last: str | None) -> Exception | None:
        """What a new episode raises after the messages before, at ``last`` or else at a harmless one."""
        try:
            env = self.make(task)
            try:
                env.start()
                talks = {_talk(env)}
                for text, replied in before:
                    replies, _, done = env.step(_message(text))
                    if done or all_of(replies) != replied:
                        return _OtherReplies()
                    talks.add(_talk(env))
                if last is None:
                    named = getattr(env, "harmless", None)
                    last = self.harmless(task) if named is None else named
                replies, _, done = env.step(_message(last))
                if not done:
                    self._told(task, env, replies, begun=_talk(env) not in talks)
            finally:
                env.close()
        except Exception as problem:
            return problem
        return None

    def _told(self, task: Task, env: Env, heard: Heard, *, begun: bool) -> None:
        tools = getattr(env, "tools", None)
        told = heard.get(_talk(env)[0], ()) if isinstance(heard, Mapping) else heard
        if told:
            self.tell(task if tools is None else replace(task, tools=tools), told, begun)


class _OtherReplies(Exception):
    """The same messages were answered otherwise than before."""


def all_of(heard: Heard) -> tuple[Message, ...]:
    """All messages that an environment gave, whomever they are for."""
    return tuple(each for told in heard.values() for each in told) if isinstance(heard, Mapping) else heard


def _talk(env: Env) -> tuple[str, str]:
    """Who is to act, and in which conversation."""
    return str(getattr(env, "player", "")), str(getattr(env, "conversation", ""))


def _message(text: str) -> Message:
    return Message(role="assistant", content=text)
