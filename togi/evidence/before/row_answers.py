"""Scores every task's own answer, an empty and a wrong one, and says what is odd about it. It samples nothing.

What a reward is blamed for depends on what it can see. One that looks at how an answer is written, and not at what is
right, may well pay right and wrong answers alike: then only attempts of the model show whether it teaches anything.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Literal

from togi.evidence.findings import Finding, Level
from togi.harmless_text import shortened
from togi.protocols import Reward
from togi.rewards import Verifier, code, form
from togi.rewards.algebra import leaves_of
from togi.rewards.blame import ran_over
from togi.rewards.verifiers import first_answer
from togi.types import Message, Score, Task, Trajectory

if TYPE_CHECKING:
    from togi.tokenization import Chat

Kind = Literal["gold", "empty", "wrong"]
Sight = Literal["answer", "open", "blind"]
"""What a reward sees of a task: its answer; nothing of it, as far as can be told; nothing, as it says itself."""
SAME = 1e-6
NAMED = 5  # tasks named in a finding
PATIENCE, SECONDS = 5, 20.0
TWINS = 8  # tasks at which is tried whether another answer of the row changes the pay


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A made-up completion, what the verifier reads as its answer, and its score."""

    kind: Kind
    text: str
    read: str | None
    score: Score


@dataclass(frozen=True, kw_only=True)
class Case:
    """One task's attempts; ``recorded`` says that its gold text was written before training, ``tokens`` its length,
    ``seconds`` how long it took to score them."""

    task: Task
    attempts: tuple[Attempt, ...]
    recorded: bool
    tokens: int
    seconds: float = 0.0

    def get(self, kind: Kind) -> Attempt | None:
        return next((attempt for attempt in self.attempts if attempt.kind == kind), None)


def cases_of(tasks: Sequence[Task], reward: Reward | None, chat: Chat) -> tuple[Case, ...]:
    """Score each task's answers by the reward; none without a reward. Stops after ``PATIENCE`` time-outs, since a
    grader that hangs on everything is found out by the first few, and once ``SECONDS`` are spent on a slow one."""
    if reward is None:
        return ()
    golds = [gold_text(task, reward) for task in tasks]
    cases: list[Case] = []
    timeouts = 0
    for index in range(len(tasks)):
        cases.append(_case(index, tasks, golds, reward, chat))
        timeouts += sum(ran_over(attempt.score) for attempt in cases[-1].attempts)
        if timeouts >= PATIENCE or sum(case.seconds for case in cases) > SECONDS:
            break
    return tuple(cases)


def sight_of(tasks: Sequence[Task], reward: Reward, chat: Chat, *, asks: bool) -> Sight:
    """What a reward sees, by what its parts say of themselves; else by whether the same text at the same prompt is paid
    differently when the row has another row's answer and columns. One that ``asks`` a model is not asked for this."""
    leaves = leaves_of(reward)
    if leaves and all(leaf.blind for leaf in leaves):
        return "blind"
    if any(isinstance(leaf, code) or (isinstance(leaf, Verifier) and leaf.judges) for leaf in leaves):
        return "answer"
    if asks:
        return "open"
    for task, text in islice(((task, text) for task in tasks if (text := gold_text(task, reward))), TWINS):
        attempt = [
            Trajectory(
                turns=chat.of(task).recorded(task.prompt, (Message(role="assistant", content=text),)), stop="eos"
            )
        ]
        other = max(tasks, key=lambda each: (each.answer != task.answer, each.info != task.info))
        twin = replace(task, answer=other.answer, info=other.info)
        [own], [changed] = reward(task, attempt), reward(twin, attempt)
        untold = twin == task or own.status not in ("ok", "abstain")  # then the reward is held to the answer
        if untold or own.status != changed.status or abs(own.value - changed.value) >= SAME:
            return "answer"
    return "open"


def gold_text(task: Task, reward: Reward) -> str | None:
    """The task's right answer as a completion: the recorded one, else ``answer`` in the form the reward demands."""
    if task.recorded:
        return task.recorded[0][-1].content
    leaves = leaves_of(reward)
    verifiers = {leaf.name: leaf for leaf in leaves if isinstance(leaf, Verifier)}  # a leaf may stand there twice
    texts = [leaf.right(task) for leaf in leaves if isinstance(leaf, code)]
    texts = texts or [leaf.right(task) for leaf in verifiers.values() if leaf.judges]
    if not texts and not isinstance(task.answer, dict):  # an object is a rule that the reward reads, no answer
        texts = [first_answer(task)]
    if not texts or None in texts:
        return None
    text = str(texts[0])
    for leaf in sorted(verifiers.values(), key=lambda leaf: isinstance(leaf, form)):  # the form goes around the answer
        text = leaf.write(text)
    return text


def _case(index: int, tasks: Sequence[Task], golds: Sequence[str | None], reward: Reward, chat: Chat) -> Case:
    task, gold = tasks[index], golds[index]
    texts: dict[Kind, str] = {"empty": ""}
    if gold is not None:
        texts = {"gold": gold, **texts}
    wrong = _wrong(index, tasks, golds)
    if wrong is not None:
        texts["wrong"] = wrong
    turns = {
        kind: chat.of(task).recorded(task.prompt, (Message(role="assistant", content=texts[kind]),)) for kind in texts
    }
    begun = time.perf_counter()
    scores = reward(task, [Trajectory(turns=turn, stop="eos") for turn in turns.values()])
    seconds = time.perf_counter() - begun
    attempts = [
        Attempt(kind=kind, text=texts[kind], read=_read(reward, texts[kind]), score=score)
        for kind, score in zip(texts, scores, strict=True)
    ]
    tokens = len(turns["gold"][0].completion) if "gold" in turns else 0
    return Case(task=task, attempts=tuple(attempts), recorded=bool(task.recorded), tokens=tokens, seconds=seconds)


def _wrong(index: int, tasks: Sequence[Task], golds: Sequence[str | None]) -> str | None:
    """The next task's gold text whose answer is another one."""
    for step in range(1, len(tasks)):
        other = (index + step) % len(tasks)
        if golds[other] not in (None, golds[index]) and (
            tasks[other].answer is None or str(tasks[other].answer) != str(tasks[index].answer)
        ):
            return golds[other]
    return None


def _read(reward: Reward, text: str) -> str | None:
    leaves = leaves_of(reward)
    return next((leaf.read(text) for leaf in leaves if isinstance(leaf, Verifier) and leaf.judges), None)


def judge(cases: Sequence[Case], sight: Sight = "answer", *, measured: bool = False) -> list[Finding]:
    """What the marks say of the reward: of one that sees no answer, only what holds for every reward. ``measured`` says
    that the truth is measured beside it."""
    scored = [a.score for case in cases for a in case.attempts if a.score.status == "ok"]
    found = _unscored(cases)
    if not scored:
        return found
    found += [_unseen(sight, measured)] if sight != "answer" else _gold(cases)
    if all(case.get("gold") is None for case in cases):
        return found
    values = [score.value for score in scored]
    if max(values) - min(values) < SAME:
        return [*found, _flat(values[0], sight)]
    return found + _at_fault(cases) + _cheap(cases, sight)


def _unseen(sight: Sight, measured: bool) -> Finding:
    """What could not be checked of a reward that sees no answer."""
    if sight == "blind":
        title = "the reward reads no answer: it cannot tell right from wrong"
        advice = "" if measured else "a [gold] in the recipe measures the truth beside it"
        return Finding(level="warn", title=title, advice=advice)
    return Finding(
        level="warn",
        title="the reward was not seen to read a row's answer, so whether it pays for right ones was not checked",
        advice="togi doctor lets the model answer and says whether its attempts are paid differently",
    )


def _flat(value: float, sight: Sight) -> Finding:
    title = f"the reward never differs: right, empty and wrong answers all get {value:g}"
    if sight == "answer":
        return Finding(level="fail", title=title, advice="nothing can be learnt from it: pay for what you want")
    advice = "togi doctor shows whether it differs over the model's own attempts; if it does not, nothing can be learnt"
    return Finding(level="warn", title=title, advice=advice)


def _unscored(cases: Sequence[Case]) -> list[Finding]:
    """Answers without a score, the gold ones first. An abstention is no failure."""
    found = []
    golds = [(case, gold) for case in cases if (gold := case.get("gold")) is not None]
    unscored = [
        (case, gold) for case, gold in golds if gold.score.own_fault or gold.score.status not in ("ok", "abstain")
    ]
    if unscored:
        _, gold = unscored[0]
        title = f"{len(unscored)} of {len(golds)} gold answers could not be scored: {_named([c for c, _ in unscored])}"
        detail = f"{gold.score.own_fault or gold.score.status}: {shortened(gold.score.note, 300)}"
        found.append(Finding(level="fail", title=title, detail=detail, advice="mend the rows, or the grader"))
    known = [case for case in cases if not any(case is other for other, _ in unscored)]  # else the row is to blame
    others = [attempt.score for case in known for attempt in case.attempts if attempt.kind != "gold"]
    lost = Counter(score.status for score in others if score.status not in ("ok", "abstain"))
    if lost:
        first = next(score.note for score in others if score.status in lost)
        title = ", ".join(f"{count} empty or wrong answers ended in {status}" for status, count in lost.items())
        level: Level = "warn"
        advice = "such attempts are never trained on; make the grader answer 0 where it can"
        if not golds and sum(lost.values()) == len(others):
            level, advice = "fail", "not one answer could be scored: mend the rows, or the grader"
        found.append(Finding(level=level, title=title, detail=shortened(first, 300), advice=advice))
    return found


def _at_fault(cases: Sequence[Case]) -> list[Finding]:
    others = [attempt.score for case in cases for attempt in case.attempts if attempt.kind != "gold"]
    broken = [score for score in others if score.own_fault]
    if not broken:
        return []
    title = f"the grader failed at {len(broken)} empty or wrong answers, which earn 0 for it"
    advice = "make the grader answer 0 itself: a failure takes time, and hides faults of its own"
    return [Finding(level="warn", title=title, detail=shortened(broken[0].note, 300), advice=advice)]


def _gold(cases: Sequence[Case]) -> list[Finding]:
    """Whether every gold answer gets full marks of a reward that can see that it is one."""
    golds = [(case, gold) for case in cases if (gold := case.get("gold")) is not None]
    if not golds:
        advice = "give the rows an answer, or a completion that should be paid in full"
        return [
            Finding(
                level="warn",
                title="no task has an answer that can be written down, so the reward cannot be checked",
                advice=advice,
            )
        ]
    scored = [(case, gold) for case, gold in golds if gold.score.status == "ok"]
    most = max((gold.score.value for _, gold in scored), default=0.0)
    short = [pair for pair in scored if not _full_marks(pair[1].score, most)]
    if short:
        # Without a verifier "full marks" is only what the best gold answer got, and grades may differ for a reason.
        verified = "correct" in short[0][1].score.parts
        case, gold = short[0]
        title = f"{len(short)} of {len(golds)} gold answers do not get full marks: {_named([c for c, _ in short])}"
        parts = ", ".join(f"{name} {value:g}" for name, value in gold.score.parts.items())
        detail = f"task {case.task.id}: {shortened(gold.text, 200)!r} gets {gold.score.value:g} ({parts})"
        advice = "write the answers in the form the reward demands, or mend the reward"
        return [Finding(level="fail" if verified else "warn", title=title, detail=detail, advice=advice)]
    if any(gold.score.status not in ("ok", "abstain") for _, gold in golds):
        return []
    return [Finding(level="ok", title=f"all {len(golds)} gold answers checked get full marks")]


def _full_marks(score: Score, most: float) -> bool:
    if "correct" in score.parts:
        return score.parts["correct"] >= 1.0
    return score.value >= most - SAME


def _cheap(cases: Sequence[Case], sight: Sight) -> list[Finding]:
    """Whether an empty or a wrong answer is paid as much as a right one that gets full marks; of a reward that sees no
    answer, only whether an empty one is. That may be meant where it pays for brevity."""
    scored = [gold.score for case in cases if (gold := case.get("gold")) and gold.score.status == "ok"]
    most = max((score.value for score in scored), default=0.0)
    found = []
    nouns: dict[Kind, str] = {"empty": "an empty answer"}
    if sight == "answer":
        nouns["wrong"] = "another task's answer"
    for kind, noun in nouns.items():
        pairs = [(case, gold, other) for case in cases if (gold := case.get("gold")) and (other := case.get(kind))]
        both = [
            (case, gold, other)
            for case, gold, other in pairs
            if gold.score.status == other.score.status == "ok" and (sight == "open" or _full_marks(gold.score, most))
        ]
        paid = [case for case, gold, other in both if other.score.value >= gold.score.value - SAME]
        if paid:
            title = f"{noun} is paid as much as the right one in {len(paid)} of {len(both)} tasks: {_named(paid)}"
            level: Level = "fail" if kind == "empty" or len(paid) == len(both) else "warn"
            advice = "the model will find it: make the reward see the difference"
            if sight == "open":
                level, advice = "warn", "if that is not meant, gate the reward by what an answer has to be"
            found.append(Finding(level=level, title=title, advice=advice))
    return found


def _named(cases: Sequence[Case]) -> str:
    names = ", ".join(shortened(case.task.id, 60) for case in cases[:NAMED])
    return names + (", …" if len(cases) > NAMED else "")
