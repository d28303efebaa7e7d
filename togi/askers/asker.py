"""What a model is asked, what it answers, and the protocol of whoever answers. Knows neither who that is nor what the
answer is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from togi.types import Message, Status

MARK = "Verdict:"
"""What stands before the verdict when reasons come first, at the start of the last line."""

LIKELY = 0.5
"""The share of a server's next token that must be verdicts, before their probabilities are taken for one."""


class AskerWarning(UserWarning):
    """Something about a model that was asked that the reader of a run should know."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a model is asked: a text, when ``tokens`` is false and there are no ``options``, else one of these verdicts.

    With ``tokens`` the probability of each verdict is wanted, else the text decides: ``renormalised`` over the
    verdicts, or as they are among all tokens. With ``reason`` the model writes its reasons first. At a ``temperature``
    above 0 these are sampled, and each ``vote`` is another draw; the same question is always drawn alike.
    """

    messages: tuple[Message, ...]
    options: tuple[str, ...] = ()
    tokens: bool = True
    reason: bool = False
    max_tokens: int = 16
    renormalised: bool = True
    temperature: float = 0.0
    vote: int = 0


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What a model answered. ``logp`` has the log-probabilities of verdicts, and is empty when only ``text`` is known.

    A status other than ``ok`` means that there is no answer, and ``note`` says why. ``cut`` is true for a text that
    ran into its token limit.
    """

    text: str = ""
    logp: Mapping[str, float] = field(default_factory=dict)
    cut: bool = False
    prompt_tokens: int = 0
    completion_tokens: int = 0
    status: Status = "ok"
    note: str = ""


class Asker(Protocol):
    """Somebody who can be asked: a model in this process, or a server."""

    def ask(self, questions: Sequence[Request]) -> list[Reply]:
        """One reply a question. What goes wrong with a question is its reply's status, never an exception."""
        ...
