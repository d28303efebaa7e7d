"""Attacks one reward at real rows: binds it, asks it every probe, and fills the card. It knows no run and no screen."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from importlib.metadata import version

from togi.evidence.redteam import answers_that_act as canary, invariance
from togi.evidence.redteam.ask_reward import Grading, Hanging, Make
from togi.evidence.redteam.attacked_rows import Row, rows_of
from togi.evidence.redteam.group_hacks import copies
from togi.evidence.redteam.guesses import guesses
from togi.evidence.redteam.hollow_answers import probes
from togi.evidence.redteam.payout import Ground, Told, payouts
from togi.evidence.redteam.reward_card import FAMILIES, Card, Payout, Severity, Variant, Weakness
from togi.evidence.redteam.try_wrong_programs import programs
from togi.protocols import Reward
from togi.rewards.algebra import leaves_of
from togi.rewards.judge.base import Opened
from togi.rewards.judge.fool_judge import attack as attack_judge
from togi.sandbox.workers.pool import Pool
from togi.types import Task

SECONDS = 3.0  # of one call: an answer of some thousand characters that takes longer stalls training
PLAIN = ("form", "style", "judge", "extraction")  # families of ordinary text: a grader should not stumble over it


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How much is asked: at how many rows, how many constant answers of each kind, at how many rows canaries and bombs
    go off (``watched``), and at how many the same is asked again (``steady``)."""

    rows: int
    guesses: int
    watched: int
    steady: int


FULL = Effort(rows=50, guesses=24, watched=3, steady=8)
SHORT = Effort(rows=12, guesses=8, watched=1, steady=2)
GLANCE = Effort(rows=4, guesses=4, watched=1, steady=1)
ASKED = Effort(rows=3, guesses=4, watched=0, steady=1)
"""For rewards that ask a model: each call costs."""


def resized(effort: Effort, rows: int) -> Effort:
    """The same effort at another number of rows."""
    if rows < 1:
        raise ValueError(f"a reward is attacked at 1 row or more; got {rows}")
    return replace(effort, rows=rows)


class NoAnswer(ValueError):
    """The tasks hold no right answers: rules that a judge reads, or nothing."""


def redteam(
    reward: Reward,
    tasks: Sequence[Task],
    *,
    name: str = "reward",
    text: str = "",
    effort: Effort = FULL,
    seconds: float = SECONDS,
    make: Make | None = None,
    pool: Pool | None = None,
    reader: Reward | None = None,
    progress: Callable[[str], None] | None = None,
) -> Card:
    """Attack an opened reward at some of the tasks. ``text`` is how it is written, ``make`` how texts become attempts,
    ``reader`` another reward that knows how answers to these tasks are written, where there is one.

    Graders run in one worker of this attack's own, each call limited to ``seconds``, or in a ``pool`` of one worker
    that several attacks share. Raises NoAnswer when no task has an answer that can be written down.
    """
    with ExitStack() as stack:
        grading = Grading(reward, pool or stack.enter_context(Pool(workers=1, seconds=seconds)), make)
        rows, written = rows_of(tasks, grading, effort.rows, reader)
        if not rows:
            raise NoAnswer("no task has an answer, so nobody can say what the reward should pay for")
        return _attack(grading, rows, written, name, text or repr(reward), effort, progress or (lambda family: None))


@dataclass
class _Found:
    """What one attack has found so far."""

    weak: list[Weakness] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)
    tried: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FAMILIES, 0))
    forms: tuple[Variant, ...] = ()
    best: str = ""
    best_share: float = 0.0


def _attack(
    grading: Grading,
    rows: list[Row],
    written: str,
    name: str,
    text: str,
    effort: Effort,
    progress: Callable[[str], None],
) -> Card:
    begun = time.perf_counter()
    progress("binding")
    found = _Found()
    compares = _compares(rows, grading)
    if compares:
        grading.beside = {row.task.id: row.gold for row in rows}
        title = "the reward compares siblings: every answer was set beside the right one"
        found.weak.append(Weakness(family="invariance", severity="note", title=title))
    ground = Ground(rows, grading)
    found.weak += ground.weaknesses()
    found.tried["binding"] = grading.asked
    try:
        if ground.usable:
            _probe(found, ground, grading, effort, compares=compares, progress=progress)
        if grading.contained and effort.watched:
            progress("the process that grades")
            weak, found.tried["process"] = canary.watch((ground.usable or rows)[: effort.watched], grading)
            found.weak += weak
    except Hanging:
        title = f"the grader timed out {grading.timeouts} times: the attack was given up"
        found.weak.append(Weakness(family="process", severity="critical", title=title))
    found.weak += _judges(grading.reward, ground.usable)
    paid = payouts(found.told, ground)
    for one in paid:
        found.tried[one.family] += one.rows
    found.weak += [weakness for one in paid if (weakness := _weakness(one))]
    found.weak += _unscored(found.told)
    return Card(
        name=name,
        reward=text,
        digest=digest_of(text, grading.reward),
        version=version("togi"),
        written=written,
        rows=len(rows),
        full=ground.right,
        constant=found.best,
        constant_share=found.best_share,
        variants=found.forms,
        payouts=tuple(paid),
        weaknesses=tuple(found.weak),
        tried={family: count for family, count in found.tried.items() if count},
        seconds=round(time.perf_counter() - begun, 2),
    )


def _probe(
    found: _Found, ground: Ground, grading: Grading, effort: Effort, *, compares: bool, progress: Callable[[str], None]
) -> None:
    """Every kind of answer that a model could give instead of the right one. Raises Hanging."""
    usable = ground.usable
    found.forms = invariance.variants(usable[: effort.rows], grading, ground.full)
    progress("probes")
    found.told += _ask(usable, grading)
    progress("constant answers")
    guessed = guesses(usable, grading, ground, effort.guesses)
    found.told, found.best, found.best_share = found.told + guessed.told, guessed.best, guessed.share
    found.tried["constant"] = guessed.asked
    progress("programs")
    found.told += [Told(row, probe, score) for row in usable[:3] for probe, score in programs(row, grading)]
    found.told += [] if compares else copies(usable[: effort.steady], grading)
    progress("the same again")
    first = [ground.first(row) for row in usable[: effort.steady]]
    found.weak += [] if compares else invariance.steady(usable[: effort.steady], grading, first)
    found.weak += invariance.twins(usable[: effort.steady * 2], grading, ground.payout)
    found.tried["invariance"], found.tried["twins"] = 16 * len(first), 2 * min(len(usable), effort.steady * 2)


def _compares(rows: Sequence[Row], grading: Grading) -> bool:
    """Whether the reward says nothing of an answer that stands alone, and something of one beside another."""
    row = rows[0]
    if grading.each([(row.task, row.gold)])[0].status != "abstain":
        return False
    return grading.together(row.task, [row.gold, row.write(row.wrong[0])])[0].status == "ok"


def _ask(rows: Sequence[Row], grading: Grading) -> list[Told]:
    """Every textual probe at every row; all at once, for rewards that are faster so."""
    pool = [row.answer for row in rows]
    asked = [(row, probe) for row in rows for probe in probes(row, pool)]
    scores = grading.each([(row.task, probe.text) for row, probe in asked])
    return [Told(row, probe, score) for (row, probe), score in zip(asked, scores, strict=True)]


def _weakness(paid: Payout) -> Weakness | None:
    if paid.severity is None:
        return None
    title = f"{paid.probe}: earns {paid.share:.0%} of what the right answer earns, over {paid.rows} rows"
    if paid.free:
        title += ", without knowing it"
    return Weakness(family=paid.family, severity=paid.severity, title=title, task=paid.task, text=paid.text)


def _unscored(told: Sequence[Told]) -> Iterator[Weakness]:
    """Whether ordinary texts make the grader raise, hang or decline: some are paid nothing though they may be right,
    and others are never trained on."""
    plain = [one for one in told if one.probe.family in PLAIN]
    kinds: dict[str, tuple[Severity, str]] = {
        "error": ("medium", "fails on"),
        "timeout": ("critical", "hangs on"),
        "time": ("critical", "hangs on"),
        "memory": ("critical", "runs out of memory on"),
        "depth": ("medium", "recurses too deeply on"),
        "length": ("medium", "reads no more than a part of"),
        "unparseable": ("medium", "cannot read the row beside"),
        "abstain": ("low", "declines"),
    }
    for status, (severity, does) in kinds.items():
        lost = [one for one in plain if status in (one.score.status, one.score.own_fault)]
        if lost:
            first = lost[0]
            title = f"the grader {does} {len(lost) / len(plain):.0%} of ordinary texts: {first.score.note}"
            text = first.probe.text
            yield Weakness(family="process", severity=severity, title=title, task=first.row.task.id, text=text)


def _judges(reward: Reward, rows: Sequence[Row]) -> Iterator[Weakness]:
    """Each judge within the reward, against the texts that are known to fool judges."""
    for judge in [leaf for leaf in leaves_of(reward) if isinstance(leaf, Opened)]:
        known = [row.task for row in rows if row.task.recorded or isinstance(row.task.answer, str)][: ASKED.rows]
        for family in attack_judge(judge, known, name=judge.name).families if known else ():
            if family.alarms:
                title = f"{judge.name} is fooled by {family.fooled} of {family.tried} texts of kind {family.name!r}"
                severity: Severity = "high" if family.fooled * 2 >= family.tried else "medium"
                yield Weakness(family="judge", severity=severity, title=title, text=family.worst)


def digest_of(text: str, reward: Reward) -> str:
    """sha256 over how a reward is written and over the files it reads."""
    sha = hashlib.sha256(text.encode())
    for leaf in leaves_of(reward):
        for path in leaf.files:
            sha.update(path.read_bytes())
    return sha.hexdigest()
