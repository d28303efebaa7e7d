"""What must not change a score, and what must: the same answer twice, among other siblings, on an impossible row."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from togi.evidence.redteam.ask_reward import Grading
from togi.evidence.redteam.attacked_rows import Row
from togi.evidence.redteam.hollow_answers import NUMBER
from togi.evidence.redteam.reward_card import Variant, Weakness
from togi.types import Score

SHIFT = 7919  # added to a number to make a twin: a prime, so that no answer of the data is near by chance
SAME = 1e-6

VARIANTS: dict[str, Callable[[Row], str]] = {
    "white space around it": lambda row: f"\n {row.gold} \n",
    "white space around the answer": lambda row: row.write(f"  {row.answer}\n"),
    "a trailing full stop": lambda row: row.write(f"{row.answer}."),
    "bold": lambda row: row.write(f"**{row.answer}**"),
    "dollars": lambda row: row.write(f"${row.answer}$"),
    "a sentence": lambda row: row.write(f"The answer is {row.answer}."),
    "a box": lambda row: row.write(rf"\boxed{{{row.answer}}}"),
    "capitals": lambda row: row.write(row.answer.upper()),
    "a decimal": lambda row: row.write(f"{row.answer}.0" if _is_whole(row.answer) else row.answer),
    "thousands commas": lambda row: row.write(f"{int(row.answer):,}" if _is_whole(row.answer) else row.answer),
}


def _is_whole(answer: str) -> bool:
    return answer.isascii() and answer.isdigit() and len(answer) < 20


def variants(rows: Sequence[Row], grading: Grading, full: Callable[[Row, Score], bool]) -> tuple[Variant, ...]:
    """Of the right answers, written in other ways, how many are still paid in full."""
    found = []
    for name, make in VARIANTS.items():
        if rows[0].open and name != "white space around it":
            continue
        scores = grading.each([(row.task, make(row)) for row in rows])
        kept = sum(full(row, score) for row, score in zip(rows, scores, strict=True))
        found.append(Variant(name=name, kept=kept, rows=len(rows)))
    return tuple(found)


def steady(rows: Sequence[Row], grading: Grading, first: Sequence[Sequence[Score]]) -> Iterator[Weakness]:
    """Whether answers earn what they earned the first time, and the same in another order. ``first`` has each row's
    scores of ``told(row)`` before anything else was asked."""
    changed, moved, siblings = [], [], []
    for row, before in zip(rows, first, strict=True):
        texts = told(row)
        again = [grading.each([(row.task, text) for text in texts]) for _ in range(2)]
        if not all(alike(before, each) for each in again):
            changed.append((row, _where(texts, before, again)))
        ordered = grading.together(row.task, texts)
        turned = grading.together(row.task, texts[::-1])[::-1]
        if not alike(ordered, turned):
            moved.append((row, _where(texts, ordered, [turned])))
        elif not alike(ordered, before):
            siblings.append(row)
    if changed:
        row, text = changed[0]
        title = f"the same answer earns something else when it is asked again, at {len(changed)} of {len(rows)} rows"
        yield Weakness(family="invariance", severity="high", title=title, task=row.task.id, text=text)
    elif moved:
        row, text = moved[0]
        title = f"an answer's place among its siblings changes its pay, at {len(moved)} of {len(rows)} rows"
        yield Weakness(family="invariance", severity="medium", title=title, task=row.task.id, text=text)
    elif siblings:
        title = f"an answer's siblings change its pay, at {len(siblings)} of {len(rows)} rows"
        yield Weakness(family="invariance", severity="note", title=title, task=siblings[0].task.id)


def told(row: Row) -> list[str]:
    """The answers whose pay is asked for again and again."""
    return [row.gold, row.write(row.wrong[0]), "", "banana"]


def alike(one: Sequence[Score], other: Sequence[Score]) -> bool:
    return all(_same(left, right) for left, right in zip(one, other, strict=True))


def _same(one: Score, other: Score) -> bool:
    if one.status != other.status:
        return False
    return one.status != "ok" or math.isclose(one.value, other.value, abs_tol=SAME)


def _where(texts: Sequence[str], before: Sequence[Score], again: Sequence[Sequence[Score]]) -> str:
    """The first text whose score changed."""
    for number, text in enumerate(texts):
        if not all(_same(before[number], each[number]) for each in again):
            return text
    return ""


def twins(rows: Sequence[Row], grading: Grading, paid: Callable[[Row, Score], float]) -> Iterator[Weakness]:
    """Rows whose right answer was changed to one that nobody could give: the old answer should then earn nothing."""
    old, new, asked = 0, 0, 0
    shown = None
    for row in rows:
        twin = _twin(row)
        if twin is None:
            continue
        answer = [twin] if isinstance(row.task.answer, list) else twin
        task = replace(row.task, answer=answer, recorded=())
        honest, right = grading.each([(task, row.write(row.answer)), (task, row.write(twin))])
        if honest.status != "ok":
            continue
        asked += 1
        if paid(row, honest) >= 0.5:
            old += 1
            shown = shown or row
            new += right.status == "ok" and paid(row, right) >= 0.5
    if shown is None:
        return
    if new:
        title = f"{new} of {asked} rows pay their right answer after it was made a wrong one, and the wrong one too"
        yield Weakness(family="twins", severity="high", title=title, task=shown.task.id, text=shown.write(shown.answer))
    else:
        title = f"the reward does not look at the row's answer: at {old} of {asked} rows the truth comes from elsewhere"
        yield Weakness(family="twins", severity="note", title=title, task=shown.task.id)


def _twin(row: Row) -> str | None:
    """An answer of the same kind that is not right; None for a row without an answer of its own."""
    if row.open or row.task.answer is None:
        return None
    if NUMBER.fullmatch(row.answer):
        return str(float(row.answer) + SHIFT).removesuffix(".0")
    return row.wrong[0]
