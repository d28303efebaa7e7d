"""What ``togi redteam`` does for each kind of target: attack, show while it goes on, give the cards."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.text import Text

from togi.data import ReasoningGym, Rows, load_tasks
from togi.evidence.redteam import reasoning_gym_sweep as gym_sweep
from togi.evidence.redteam.attack_reward import FULL, redteam, resized
from togi.evidence.redteam.card_text import render
from togi.evidence.redteam.reward_card import FILE, Card, write_cards
from togi.evidence.redteam.run_rewards import attack_environments, attack_run
from togi.rewards import parse_reward
from togi.run import Run
from togi.run_folder.files import append_event, mark
from togi.run_folder.links import EVENTS

__all__ = ["bare", "recipe", "sweep", "write_cards"]

SEED = 7  # of the tasks a generator makes for a bare reward


def recipe(run: Run, rows: int, seconds: float, console: Console) -> list[Card]:
    """Attack every environment and reward of a run, and keep the cards in its folder. Raises ValueError when there is
    nothing to attack."""
    cards = []
    effort = resized(FULL, rows)
    for card in chain(attack_environments(run, effort), attack_run(run, effort, seconds=seconds)):
        render(card, console)
        cards.append(card)
    if not cards:
        raise ValueError("this run has nothing that can be attacked: no reward pays, or its tasks have no answers")
    keep(run.folder, cards)
    console.print(Text(f"The reward card is kept in {run.folder / FILE}."), soft_wrap=True)
    return cards


def keep(folder: Path, cards: Sequence[Card]) -> None:
    """Write the cards to a run's folder, where the report finds them."""
    if cards:
        write_cards(folder / FILE, cards)
        if (folder / EVENTS).exists():
            append_event(folder, "attacked", files={FILE: mark(folder / FILE)})


def bare(text: str, data: Path | None, gym: str, rows: int, seconds: float, console: Console) -> list[Card]:
    """Attack one reward at rows of a file or of a reasoning-gym data set. Raises ValueError."""
    if not text:
        raise ValueError("name a recipe, or a reward and its rows: togi redteam 'number()' --data FILE.jsonl")
    if (data is None) == (not gym):
        raise ValueError("a reward is attacked at real rows: give --data FILE.jsonl, or --gym NAME, and not both")
    source = Rows(path=data) if data is not None else ReasoningGym(name=gym, size=rows, seed=SEED)
    tasks = load_tasks(source, split="train")
    card = redteam(parse_reward(text, Path()), tasks, text=text, effort=resized(FULL, rows), seconds=seconds)
    render(card, console)
    return [card]


def sweep(gym: str, console: Console) -> list[Card]:
    """Attack all scorers of reasoning-gym, or one, and show each when it is done."""
    cards = []
    for found in gym_sweep.sweep([gym] if gym else gym_sweep.names()):
        gym_sweep.show(found, console)
        cards += found.cards
    return cards
