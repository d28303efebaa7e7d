"""What the language model says of every skill, and what it would write itself. It knows no world and no chance.

All skills are scored in one pass, in which the prompt, with the plan so far, is computed once: skills are leaves of its
trie. A model is opened when there is something that was not asked before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from togi.agents.saycan.skills import Array
from togi.protocols import Engine
from togi.types import Message, Prompt, Sampling, Turn

if TYPE_CHECKING:
    from togi.tokenization import Chat

Kind = Literal["sum", "mean", "pmi"]
KINDS: tuple[Kind, ...] = ("sum", "mean", "pmi")
INSTRUCTION, PLAN = "{instruction}", "{plan}"
ANYTHING = "Do something."
"""What is asked instead of the instruction to know how likely a skill's words are by themselves."""

Situation = tuple[str, tuple[str, ...]]
"""An instruction, and the plan so far."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """Of each skill the log-probability of its words, summed over its tokens, and how many those are."""

    logp: tuple[float, ...]
    tokens: tuple[int, ...]


class Speaker(Protocol):
    """Somebody who can say how likely words are, and write some."""

    def said(self, prompts: Sequence[str], words: Sequence[str]) -> list[Said]:
        """One a prompt: of each of the words, as what follows it."""
        ...

    def written(self, prompts: Sequence[str], many: int) -> list[list[str]]:
        """As many lines as are wanted, drawn after each prompt."""
        ...


def prompt_of(template: str, situation: Situation) -> str:
    """The prompt up to where the next skill is written."""
    instruction, plan = situation
    done = "".join(f"{number}. {skill}\n" for number, skill in enumerate(plan, start=1))
    before, after = template.removesuffix(PLAN).split(INSTRUCTION)
    return f"{before}{instruction}{after}{done}{len(plan) + 1}."


def check_template(template: str, named: str) -> None:
    """Raise ValueError for a prompt that asks nothing, or does not end where the plan goes on."""
    for wanted in (INSTRUCTION, PLAN):
        if (times := template.count(wanted)) != 1:
            raise ValueError(f"{named}: wanted {wanted} once, where that is put; it is there {times} times")
    if not template.endswith(PLAN):
        raise ValueError(f"{named}: wanted {PLAN} at its very end, since the model goes on with the plan from there")


class LocalSpeaker:
    """A model of this machine."""

    def __init__(self, engine: Engine, chat: Chat) -> None:
        self._engine, self._chat = engine, chat

    def said(self, prompts: Sequence[str], words: Sequence[str]) -> list[Said]:
        # What follows a line is tokenised alike whatever stands before the line, so each is done once.
        after = {line: self._following(line, words) for line in {_last_line(prompt) for prompt in prompts}}
        turns = [
            replace(turn, prompt=ids)
            for prompt in prompts
            for ids in [self._chat.prompt([Message(role="text", content=prompt)])]
            for turn in after[_last_line(prompt)]
        ]
        sums = [float(np.sum(reading.logp)) for reading in self._engine.read(turns)]
        lengths = [len(turn.completion) for turn in turns]
        many = len(words)
        return [
            Said(logp=tuple(sums[start : start + many]), tokens=tuple(lengths[start : start + many]))
            for start in range(0, len(turns), many)
        ]

    def _following(self, line: str, words: Sequence[str]) -> list[Turn]:
        """Each of the words as what ends a line, without the end token: a plan is one text."""
        prompt = [Message(role="text", content=line)]
        said = [self._chat.recorded(prompt, [Message(role="assistant", content=f" {each}\n")])[0] for each in words]
        return [replace(turn, completion=turn.completion[:-1]) for turn in said]

    def written(self, prompts: Sequence[str], many: int) -> list[list[str]]:
        asked = [
            Prompt(
                ids=self._chat.prompt([Message(role="text", content=prompt)]),
                seeds=tuple(_seed(prompt, number) for number in range(many)),
            )
            for prompt in prompts
        ]
        drawn = self._engine.generate(asked, Sampling(max_tokens=16, temperature=0.7, stop=("\n",)))
        return [[turn.text.strip() for turn in turns] for turns in drawn]


def open_speaker(source: str) -> LocalSpeaker:
    """Raises ValueError for a model that cannot be loaded."""
    from togi.engines.open_engine import open_engine
    from togi.models.arithmetic_rate import compute_dtype
    from togi.models.device import find_device
    from togi.models.load_model import load_model

    device = find_device("auto")
    loaded = load_model(source, dtype=compute_dtype("auto", device), device=str(device))
    return LocalSpeaker(open_engine(loaded), Chat(loaded.tokenizer, loaded.eos_ids))


class Words:
    """What was said of situations so far, each asked once. ``keep`` is told every row that is new."""

    def __init__(
        self,
        open_: Callable[[], Speaker],
        template: str,
        skills: Sequence[str],
        rows: Sequence[Mapping[str, Any]],
        keep: Callable[[Mapping[str, Any]], None],
    ) -> None:
        self._open, self._template, self._skills, self._keep = open_, template, tuple(skills), keep
        self._speaker: Speaker | None = None
        self._said: dict[Situation, Said] = {}
        self._written: dict[Situation, tuple[str, ...]] = {}
        for row in rows:
            situation = (row["instruction"], tuple(row["plan"]))
            if "written" in row:
                self._written[situation] = tuple(row["written"])
            else:
                self._said[situation] = Said(logp=tuple(row["logp"]), tokens=tuple(row["tokens"]))

    def scores(self, situations: Sequence[Situation], kind: Kind) -> list[Array]:
        """The log score of every skill in each situation."""
        bare = [(ANYTHING, plan) for _, plan in situations] if kind == "pmi" else []
        wanted = [each for each in dict.fromkeys([*situations, *bare]) if each not in self._said]
        if wanted:
            said = self._asked().said([prompt_of(self._template, each) for each in wanted], self._skills)
            for situation, one in zip(wanted, said, strict=True):
                if not np.isfinite(one.logp).all():
                    raise ValueError("the model's log-probabilities are not finite: choose another model")
                self._said[situation] = one
                self._keep(_row(situation, logp=one.logp, tokens=one.tokens))
        return [
            score(self._said[each], kind, self._said.get((ANYTHING, each[1])) if kind == "pmi" else None)
            for each in situations
        ]

    def written(self, situations: Sequence[Situation], many: int) -> list[tuple[str, ...]]:
        """What the model writes itself as the next line of each plan."""
        wanted = [each for each in dict.fromkeys(situations) if each not in self._written]
        if wanted:
            lines = self._asked().written([prompt_of(self._template, each) for each in wanted], many)
            for situation, texts in zip(wanted, lines, strict=True):
                self._written[situation] = tuple(texts)
                self._keep(_row(situation, written=texts))
        return [self._written[each] for each in situations]

    def _asked(self) -> Speaker:
        if self._speaker is None:
            self._speaker = self._open()
        return self._speaker


def score(said: Said, kind: Kind, bare: Said | None = None) -> Array:
    """The sum over a skill's tokens, their mean, or the sum less that of ``bare``: how much likelier the instruction
    makes the words than they are by themselves (pointwise mutual information)."""
    logp: Array = np.array(said.logp)
    if kind == "mean":
        mean: Array = logp / np.array(said.tokens)
        return mean
    if kind == "pmi":
        assert bare is not None, "the prior is taken off, and nobody asked for it"
        gain: Array = logp - np.array(bare.logp)
        return gain
    return logp


def _last_line(prompt: str) -> str:
    return prompt.rpartition("\n")[2]


def _row(situation: Situation, **rest: Any) -> dict[str, Any]:
    return {"instruction": situation[0], "plan": list(situation[1]), **rest}


def _seed(prompt: str, number: int) -> int:
    """A seed in [0, 2^63) from the question alone, so that a resumed run draws the same lines."""
    return int.from_bytes(hashlib.blake2b(f"{number} {prompt}".encode(), digest_size=8).digest(), "big") >> 1
