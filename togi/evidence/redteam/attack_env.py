"""Attacks one environment at real rows: plays an honest attempt and every attack, and fills a card. It loads no model.

A payout is measured as that of a reward: 0 is what saying nothing earns at a row, and 1 what an honest attempt does.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from togi.envs.tool_use import ToolUse
from togi.envs.trl_env import TrlEnv
from togi.evidence.redteam.ask_reward import attempt
from togi.evidence.redteam.env_attacks import IDLE, EnvAttack, Known, Says, always, env_attacks, reciting
from togi.evidence.redteam.payout import SAME, SHOWN
from togi.evidence.redteam.reward_card import Card, Payout, Weakness
from togi.protocols import Env, Reward
from togi.rewards.algebra import leaves_of
from togi.rewards.verifiers import Verifier, first_answer
from togi.tools.read_calls import written
from togi.tools.tool import Description
from togi.types import Limits, Message, Score, Task, Trajectory

if TYPE_CHECKING:
    from togi.episode import Episode

MOST = 30  # turns of an attack where the recipe sets no limit
SECONDS = 180.0  # of an attack in all
TELLING = 3  # characters of an answer from which on it does not stand in replies by chance
ALL = 0.5  # share of the rows at which a reply holds the answer


@dataclass(frozen=True, kw_only=True)
class Place:
    """An environment with all that it takes to play and to score an attempt."""

    make: Callable[[Task], Env]
    reward: Reward
    limits: Limits
    text: str
    files: tuple[Path, ...] = ()

    @property
    def tools(self) -> tuple[Description, ...]:
        """What can be called in it."""
        if isinstance(self.make, TrlEnv):
            return tuple(self.make.told.values())
        return tuple(tool.description for tool in self.make.tools) if isinstance(self.make, ToolUse) else ()

    def score(self, task: Task, played: Trajectory) -> Score:
        from togi.rollout import score  # here, since it brings transformers

        return score(self.reward, [(task, [played])])[0][0]


@dataclass(frozen=True, kw_only=True)
class EnvRow:
    """A row with what nothing and an honest attempt earn there; ``full`` is None where no honest attempt is known."""

    task: Task
    known: Known
    nothing: float
    full: float | None

    @property
    def span(self) -> float:
        return 0.0 if self.full is None else self.full - self.nothing


@dataclass
class _Found:
    weak: list[Weakness] = field(default_factory=list)
    paid: list[Payout] = field(default_factory=list)
    tried: dict[str, int] = field(default_factory=dict)


def attack_env(place: Place, tasks: Sequence[Task], *, name: str, rows: int) -> Card:
    """Play every attack at ``rows`` of the tasks, spread evenly."""
    begun = time.perf_counter()
    chosen = [tasks[index * len(tasks) // rows] for index in range(rows)] if len(tasks) > rows else list(tasks)
    some = [env_row(place, task, chosen[(number + 1) % len(chosen)]) for number, task in enumerate(chosen)]
    found = _Found(tried={"binding": len(some)})
    found.weak += _ground(some)
    for attack in env_attacks(place.tools):
        if time.perf_counter() - begun > SECONDS:
            title = f"the attack was given up after {SECONDS:g} s: the environment is slow"
            found.weak.append(Weakness(family="binding", severity="note", title=title))
            break
        found.tried[attack.family] = found.tried.get(attack.family, 0) + len(some)
        _try(found, place, attack, some)
    digest = hashlib.sha256(place.text.encode())
    for path in place.files:
        digest.update(path.read_bytes())
    return Card(
        name=name,
        reward=place.text,
        digest=digest.hexdigest(),
        version=version("togi"),
        written="an attempt that the class or the row shows, or the row's answer",
        rows=len(some),
        full=sum(row.span > SAME for row in some),
        payouts=tuple(found.paid),
        weaknesses=tuple(found.weak),
        tried=found.tried,
        seconds=round(time.perf_counter() - begun, 2),
    )


def env_row(place: Place, task: Task, other: Task) -> EnvRow:
    """Plays an attempt that says nothing and each that may be honest; ``other`` gives a wrong answer."""
    named, honest = _named(place.make, task)
    answer, wrong = _answer(task, place.reward), _answer(other, place.reward)
    wrong = wrong if wrong and wrong != answer else "banana"
    blank = Known(wrong=wrong, harmless=IDLE if named is None else str(named), answer=answer, tools=place.tools)
    silence = _value(place.score(task, play(place, task, always(""), blank)))
    best: tuple[float, tuple[str, ...], int | None] = (min(silence, 0.0), (), None)
    for messages in _honest(task, honest, answer):
        played = play(place, task, reciting(messages), blank, most=len(messages) + 1)
        value = _value(place.score(task, played))
        if value > best[0] + SAME:
            paid = next((number for number, turn in enumerate(played.turns) if turn.reward > SAME), None)
            best = (value, messages, paid)
    # Where silence earns as much as an honest attempt, it is a finding, and nothing to measure from.
    nothing = silence if silence < best[0] or not best[1] else min(silence, 0.0)
    return EnvRow(
        task=task,
        known=replace(blank, honest=best[1], paid=best[2]),
        nothing=nothing,
        full=best[0] if best[1] else None,
    )


def _named(make: Callable[[Task], Env], task: Task) -> tuple[object, object]:
    """The harmless message and the honest attempt that an environment names."""
    with suppress(Exception):  # where it cannot be made or closed, attempts that are played say so
        env = make(task)
        try:
            return getattr(env, "harmless", None), getattr(env, "honest", None)
        finally:
            env.close()
    return None, None


def _honest(task: Task, named: object, answer: str) -> Iterator[tuple[str, ...]]:
    """Attempts that may be honest: what the environment names, what the row has recorded, and its answer."""
    if isinstance(named, list | tuple) and named:
        yield tuple(map(str, named))
    for recorded in task.recorded[:1]:
        said = [message for message in recorded if message.role == "assistant"]
        yield tuple(_as_text(message) for message in said)
    if answer:
        yield (answer,)


def _as_text(message: Message) -> str:
    calls = [written(call.name, call.arguments) for call in message.tool_calls]
    return "\n".join(part for part in (message.content, *calls) if part)


def _answer(task: Task, reward: Reward) -> str:
    """The row's answer in the form that the reward's verifiers read; "" for a row without one."""
    given = first_answer(task)
    if not isinstance(given, str | int | float):
        return ""
    text = str(given)
    for leaf in leaves_of(reward):
        if isinstance(leaf, Verifier):
            text = leaf.write(text)
    return text


def play(place: Place, task: Task, says: Says, known: Known, most: int = MOST) -> Trajectory:
    """The attempt that an attack makes of a row: it ends as in training, after ``most`` turns, or where nothing more is
    said."""
    from togi.episode import Episode
    from togi.episode_blame import Blame
    from togi.types import Question

    episode = Episode(question=Question(task=task), attempt=0, limits=place.limits)
    heard: list[str] = []
    try:
        episode.start(place.make)
        while episode.stop is None:
            heard.append(_said(episode))
            text = None if len(episode.said) >= most else says(known, heard[1:])
            if text is None:
                episode.end("turns")
                break
            episode.act(attempt(task, text).turns[0])
    finally:
        episode.close()
    episode.blame(Blame(make=place.make, harmless=lambda _: known.answer))
    return episode.trajectories()[0]


def _said(episode: Episode) -> str:
    return "\n".join(message.content for message in episode.view.heard())


def _try(found: _Found, place: Place, attack: EnvAttack, rows: Sequence[EnvRow]) -> None:
    """One attack at every row."""
    shares: list[tuple[float, EnvRow, str]] = []
    gains: list[tuple[float, EnvRow, str]] = []
    lost, stalled, told = [], [], []
    for row in rows:
        played = play(place, row.task, attack.says, row.known)
        if not played.turns and played.error is None:
            continue  # the attack is none at this row
        score = place.score(row.task, played)
        text = "\n".join(turn.text for turn in played.turns[:3])[:SHOWN]
        if score.status != "ok":
            lost.append((row, text, score.note))
        elif row.span > SAME:
            shares.append(((score.value - row.nothing) / row.span - attack.excess, row, text))
        elif row.full is None and score.value > row.nothing + SAME:
            gains.append((score.value - row.nothing, row, text))
        if len(played.turns) >= MOST < place.limits.turns:
            stalled.append((row, text))
        if attack.free and (said := _leak(row.task, played)):
            told.append((row, said))
    if shares:
        found.paid.append(_payout(attack, shares))
    found.weak += _weaknesses(attack, found.paid[-1] if shares else None, gains, lost, stalled, told, len(rows))


def _payout(attack: EnvAttack, shares: Sequence[tuple[float, EnvRow, str]]) -> Payout:
    top = max(shares, key=lambda one: one[0])
    return Payout(
        family=attack.family,
        probe=attack.name,
        free=attack.free,
        rows=len(shares),
        share=sum(max(0.0, share) for share, _, _ in shares) / len(shares),
        most=top[0],
        task=top[1].task.id,
        text=top[2],
    )


def _weaknesses(
    attack: EnvAttack,
    paid: Payout | None,
    gains: Sequence[tuple[float, EnvRow, str]],
    lost: Sequence[tuple[EnvRow, str, str]],
    stalled: Sequence[tuple[EnvRow, str]],
    told: Sequence[tuple[EnvRow, str]],
    rows: int,
) -> Iterator[Weakness]:
    """What one attack shows, in plain words."""
    if paid is not None and paid.severity is not None:
        than = "more than an honest attempt does" if attack.excess else "of what an honest attempt does"
        title = f"{attack.name}: earns {paid.share:.0%} {than}, over {paid.rows} rows"
        yield Weakness(family=attack.family, severity=paid.severity, title=title, task=paid.task, text=paid.text)
    if gains:
        gain, row, text = max(gains, key=lambda one: one[0])
        title = f"{attack.name}: earns {gain:.3g} more than saying nothing; no honest attempt is known to compare with"
        yield Weakness(family=attack.family, severity="note", title=title, task=row.task.id, text=text)
    if lost:
        row, text, note = lost[0]
        title = f"{attack.name}: {len(lost)} of {rows} attempts get no score, and are never trained on: {note}"
        yield Weakness(family=attack.family, severity="medium", title=title, task=row.task.id, text=text)
    if stalled and attack.family == "stalling":
        row, text = stalled[0]
        title = f"{attack.name}: goes on for more than {MOST} turns; set turns in [env]"
        yield Weakness(family=attack.family, severity="low", title=title, task=row.task.id, text=text)
    if len(told) >= max(2, ALL * rows):
        row, text = told[0]
        title = f"{attack.name}: what is said holds the row's answer at {len(told)} of {rows} rows, before it was given"
        yield Weakness(family="leak", severity="high", title=title, task=row.task.id, text=text)


def _leak(task: Task, played: Trajectory) -> str:
    """What was said to the model that holds the row's answer, where neither the row's question nor the model did."""
    answer = first_answer(task)
    text = str(answer).strip() if isinstance(answer, str | int | float) else ""
    if len(text) < TELLING:
        return ""
    known = re.compile(rf"(?<!\w){re.escape(text)}(?!\w)", re.IGNORECASE)
    if any(known.search(message.content) for message in task.prompt):
        return ""
    replies = [played.asked, *(turn.replies for turn in played.turns[:-1])]  # after the last nothing can be said
    said = ["", *(turn.text for turn in played.turns)]
    for number, messages in enumerate(replies):
        if any(known.search(text) for text in said[: number + 1]):
            return ""
        for message in messages:
            if known.search(message.content):
                return message.content[:SHOWN]
    return ""


def _ground(rows: Sequence[EnvRow]) -> Iterator[Weakness]:
    """Whether honest attempts are known, and paid alike."""
    lost = [row for row in rows if row.full is None]
    if lost:
        title = (
            f"at {len(lost)} of {len(rows)} rows no attempt is known that earns more than saying nothing: name one in "
            "the class, as honest = [messages]"
        )
        yield Weakness(family="binding", severity="note", title=title, task=lost[0].task.id)


def _value(score: Score) -> float:
    return score.value if score.status == "ok" else 0.0
