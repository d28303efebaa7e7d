"""``judge`` and ``preference``: rewards that ask a model, as they stand in a recipe. They hold settings and ask nobody.

A stage opens them (opened.py); whom they ask is loaded then, so that reading a recipe loads no model and no key.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from togi.rewards.algebra import Leaf
from togi.rewards.judge import judge_prompts as prompts
from togi.rewards.judge.open_judge import Opened, OpenGrade, OpenPreference
from togi.rewards.judge.verdict import Asker, Question
from togi.types import Message, Score, Task, Trajectory

if TYPE_CHECKING:
    from togi.rewards.algebra import Surroundings


@dataclass(frozen=True, kw_only=True)
class Judge(Leaf):
    """Who is asked, and how; what is asked is the subclass's.

    ``model`` is "policy" (the model in training, as it is then), a stage of the same run, any source a model is loaded
    from, or with ``base_url`` the name of a model at a server that speaks the OpenAI chat completions protocol;
    ``key_env`` names the environment variable that holds its key. ``verdict`` "tokens" reads the probability of each
    verdict, "text" what was written. With ``reason`` the judge writes reasons first, of ``max_tokens`` (0: enough for
    what is asked); they are the score's note. ``template`` is a text file with the prompt, relative to ``base``.

    A server is asked ``concurrency`` questions at a time, of ``seconds`` each. ``most_tokens`` and ``most_money`` (with
    prices of a million tokens) cap what it may use; a server with a key must have a cap.
    """

    model: str = "policy"
    base_url: str = ""
    key_env: str = ""
    verdict: str = "tokens"
    reason: bool = False
    max_tokens: int = 0
    template: str = ""
    concurrency: int = 8
    seconds: float = 60.0
    most_tokens: int = 0
    most_money: float = 0.0
    input_price: float = 0.0
    output_price: float = 0.0
    base: Path = field(default_factory=Path, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.verdict not in ("tokens", "text"):
            raise ValueError(f'{self.name}: verdict is "tokens" or "text"; got "{self.verdict}"')
        if not self.model or (self.base_url and self.model == "policy"):
            raise ValueError(f"{self.name}: model is the name of the model to ask; got {self.model!r}")
        if not self.base_url and (self.key_env or self._capped):
            raise ValueError(f"{self.name}: a key and caps are for a server; give its base_url, or leave them out")
        if self.key_env and not self._capped:
            raise ValueError(f"{self.name}: a server with a key costs money: say how much in most_tokens or most_money")
        if self.most_money and not self.input_price + self.output_price:
            raise ValueError(f"{self.name}: most_money needs input_price and output_price, for a million tokens each")
        money = (self.most_money, self.input_price, self.output_price)
        if min(self.max_tokens, self.most_tokens) < 0 or not all(0 <= number < math.inf for number in money):
            raise ValueError(f"{self.name}: numbers of tokens and money are at least 0")
        if self.base_url:
            # Workers that grade import this file, and start without the libraries of servers.
            from togi.rewards.judge.openai_client import address

            address(self.base_url, self.key_env)
        if self.concurrency < 1 or not 0 < self.seconds < math.inf:
            raise ValueError(f"{self.name}: concurrency is at least 1, and seconds more than 0")

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.base / self.template,) if self.template else ()

    @property
    def _capped(self) -> bool:
        return bool(self.most_tokens or self.most_money)

    @abstractmethod
    def opened(self, at: Surroundings) -> Opened: ...

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        raise ValueError(f"{self.name}: the judge is not opened; call opened(Surroundings(...)) and use what it gives")

    def asker(self, at: Surroundings) -> Asker:
        """Whoever is asked, loaded or connected. Raises ValueError for a key that is not there, a model that is not."""
        # Workers that grade import this file, and start without the libraries of models and servers.
        from togi.rewards.judge.judging_model import open_asker

        return open_asker(self, at)

    def question(self, messages: tuple[Message, ...], options: tuple[str, ...]) -> Question:
        return Question(
            messages=messages,
            options=options,
            tokens=self.verdict == "tokens",
            reason=self.reason,
            max_tokens=self.max_tokens or (512 if self.reason else 16),
        )


@dataclass(frozen=True, kw_only=True)
class Ruled(Judge):
    """A judge of one rubric. ``principles`` is a constitution's file, relative to ``base``: for each group ``draws`` of
    them (0: all) take the rubric's place, and their verdicts are averaged."""

    principles: str = ""
    draws: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws < 0:
            raise ValueError(f"{self.name}: draws is a number of principles, or 0 for all; got {self.draws}")

    @property
    def files(self) -> tuple[Path, ...]:
        return (*super().files, *([self.base / self.principles] if self.principles else []))

    def criteria(self, rubric: str) -> tuple[str, ...]:
        """What counts: the questions of the constitution, or the one rubric."""
        if not self.principles:
            return (rubric or prompts.RUBRIC,)
        from togi.envs.constitution import read_principles

        return tuple(principle.question for principle in read_principles(self.base / self.principles))


@dataclass(frozen=True, kw_only=True)
class judge(Ruled):
    """A grade from 1 to ``scale`` under a rubric, as a number of -1 to 1; with ``yes_no`` the probability of a Yes.

    By tokens the grade is the expected one (d-RLAIF, arXiv 2309.00267, section 2.2.2), and Yes is weighed against No
    (``genrm`` is the one for right and wrong, and can be trained).
    """

    rubric: str = field(default="", kw_only=False)
    scale: int = 10
    yes_no: bool = False
    name: str = "judge"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.scale <= 10:
            raise ValueError(f"{self.name}: scale is a whole number of 2 to 10; got {self.scale}")

    def opened(self, at: Surroundings) -> OpenGrade:
        template = prompts.read_template(self.base / self.template, ("answer",)) if self.template else prompts.RATE
        return OpenGrade(self, self.asker(at), self.criteria(self.rubric), template)


@dataclass(frozen=True, kw_only=True)
class preference(Ruled):
    """The mean probability with which an attempt is preferred to its siblings, each pair asked in both orders.

    Averaging the two orders takes out what the judge likes about a place (arXiv 2309.00267, section 2.1). With
    ``opponents`` an attempt meets only so many siblings on each side, and not all of them (0). ``clamp`` keeps every
    label within ``[clamp, 1 - clamp]``: 0.4 after reasons, as in Constitutional AI. The part ``NAME_flipped`` is the
    share of pairs in which the other answer wins once the order is swapped.
    """

    rubric: str = field(default="", kw_only=False)
    opponents: int = 0
    clamp: float = 0.0
    name: str = "preference"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.opponents < 0 or not 0 <= self.clamp < 0.5:
            raise ValueError(f"{self.name}: opponents is at least 0, and clamp from 0 to below 0.5")

    def opened(self, at: Surroundings) -> OpenPreference:
        places = ("answer_1", "answer_2")
        template = prompts.read_template(self.base / self.template, places) if self.template else prompts.COMPARE
        return OpenPreference(self, self.asker(at), self.criteria(self.rubric), template)
