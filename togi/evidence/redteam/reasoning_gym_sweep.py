"""Attacks the scorer of every data set of reasoning-gym: as it comes, and as ``scorer()`` reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.console import Console
from rich.table import Table
from rich.text import Text

from togi.data import ReasoningGym, Tasks, load_tasks
from togi.evidence.redteam.attack_reward import Effort, redteam
from togi.evidence.redteam.card_text import STYLES
from togi.evidence.redteam.reward_card import Card, Weakness
from togi.harmless_text import shortened
from togi.rewards import scorer
from togi.sandbox.workers.pool import Pool

EFFORT = Effort(rows=4, guesses=3, watched=1, steady=1)
SEED = 7
EXTERNAL = "composite"  # a mixture of others: there is nothing in it to attack


@dataclass(frozen=True, kw_only=True)
class Swept:
    """One data set: the card of its own scorer and that of ``scorer()``; none where it could not be made."""

    name: str
    raw: Card | None = None
    strict: Card | None = None
    problem: str = ""

    @property
    def cards(self) -> list[Card]:
        return [card for card in (self.raw, self.strict) if card is not None]


def names() -> list[str]:
    """Every data set there is. Raises ValueError without the tasks extra."""
    scorer()
    from reasoning_gym.factory import DATASETS

    return sorted(set(DATASETS) - {EXTERNAL})


def sweep(chosen: Sequence[str], *, seconds: float = 2.0) -> Iterator[Swept]:
    """Attack data sets, one after the other. Canaries and bombs go off in the scorers as they come, for ``scorer()``
    calls the same ones."""
    with Pool(workers=1, seconds=seconds) as pool:  # one for all: the library takes long to import
        for name in chosen:
            try:
                tasks = load_tasks(ReasoningGym(name=name, size=EFFORT.rows, seed=SEED), split="train")
                yield _attack(name, tasks, pool)
            except ValueError as error:
                yield Swept(name=name, problem=str(error))


def _attack(name: str, tasks: Tasks, pool: Pool) -> Swept:
    raw = redteam(scorer(partial=True), tasks, name=name, text="scorer(partial=true)", effort=EFFORT, pool=pool)
    strict = redteam(scorer(), tasks, name=name, text="scorer()", effort=replace(EFFORT, watched=0), pool=pool)
    return Swept(name=name, raw=raw, strict=strict)


def show(found: Swept, console: Console) -> None:
    """One data set as a line for each finding of its scorer."""
    table = Table.grid(padding=(0, 1))
    if found.problem:
        console.print(Text(f"? {found.name}: {shortened(found.problem, 160)}", style="dim"))
        return
    for title, card in (("as it comes", found.raw), ("scorer()", found.strict)):
        weak = _worst(card) if card is not None else None
        mark, style = STYLES[weak.severity if weak else None]
        words = f"{weak.severity}: {shortened(weak.title, 110)}" if weak else "nothing pays but right answers"
        table.add_row(Text(mark, style=style), Text(f"{found.name:28}"), Text(f"{title:12}"), Text(words, style=style))
    console.print(table)


def _worst(card: Card) -> Weakness | None:
    return card.worst if card.severity is not None else None
