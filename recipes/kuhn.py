"""Kuhn poker for two: the game of the selfplay recipe, whose best play is known exactly.

Of three cards, j below q below k, each player gets one. Both put in a chip; the first passes (p) or bets a second chip
(b), and so on: whoever passes after a bet has lost, else the higher card wins. ``deal`` makes a row. The file
``kuhn_form.jsonl`` has every conversation that a player can have, of somebody who bets with j a third of the time, with
q half of it and with k two thirds, whatever was done before.

    python kuhn.py FOLDER ...        how much a best answer wins from the models in these folders
"""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping
from itertools import permutations, product
from typing import Any

RANKS = "jqk"
OVER = {"pp": 1, "bb": 2, "pbb": 2, "bp": 1, "pbp": 1}  # what is won there
Strategy = Mapping[tuple[str, str], float]
"""How likely a player bets with a card after what was done: the actions of both, so that it says whose turn it is."""

EQUILIBRIUM: Strategy = {
    **{("j", ""): 1 / 3, ("q", ""): 0, ("k", ""): 1, ("j", "pb"): 0, ("q", "pb"): 2 / 3, ("k", "pb"): 1},
    **{("j", "p"): 1 / 3, ("q", "p"): 0, ("k", "p"): 1, ("j", "b"): 0, ("q", "b"): 1 / 3, ("k", "b"): 1},
}


class Kuhn:
    """A game, whose players are paid the chips that they win. A message that is no action loses two, and is counted.
    The first pays the second a ``fee``, whatever they do: it changes what the seats are worth, and not how to play."""

    players = ("first", "second")

    def __init__(self, task: Any, fee: float = 0) -> None:
        self.fee, self.cards, self.done, self.counts = fee, task.info["deal"], "", {"unreadable": 0, "bets": 0}

    @property
    def player(self) -> str:
        return self.players[len(self.done) % 2]

    def start(self) -> dict[str, str]:
        return {self.player: self._view()}

    def step(self, message: Any) -> tuple[dict[str, str], dict[str, float], bool]:
        if message.content not in ("b", "p"):
            self.counts["unreadable"] = 1
            return self._over(2 if self.player == "second" else -2)
        self.counts["bets"] += message.content == "b"
        self.done += message.content
        if self.done in OVER:
            return self._over(first_wins(self.cards, self.done))
        return {self.player: self._view()}, {}, False

    def _over(self, won: int) -> tuple[dict[str, str], dict[str, float], bool]:
        return {}, {"first": won - self.fee, "second": self.fee - won}, True

    def _view(self) -> str:
        return view(self.cards[len(self.done) % 2], self.done)


def best_play(told: str, chance: random.Random) -> str:
    """A player whom nobody can beat in the long run."""
    card, done = told.split(":")
    return "b" if chance.random() < EQUILIBRIUM[card, done] else "p"


def deal(rng: random.Random) -> dict[str, Any]:
    """A hand: its number, which nobody is told, and the cards."""
    return {"prompt": str(rng.randrange(10**6)), "deal": "".join(rng.sample(RANKS, 2))}


def view(card: str, done: str) -> str:
    return f"{card}:{done}"


def first_wins(cards: str, done: str) -> int:
    """The chips that the first player wins at the end ``done``."""
    if done.endswith("bp"):
        return OVER[done] if len(done) == 2 else -OVER[done]
    return OVER[done] if RANKS.index(cards[0]) > RANKS.index(cards[1]) else -OVER[done]


def exploitability(strategy: Strategy) -> float:
    """What a best answer wins from ``strategy`` in a hand, the mean of both seats: 0 for best play."""
    return (best_answer(strategy, 0) + best_answer(strategy, 1)) / 2


def best_answer(strategy: Strategy, seat: int) -> float:
    """What the best of all ways to play from ``seat`` wins from ``strategy`` in the other one, in a hand."""
    places = [(card, done) for card in RANKS for done in (("", "pb"), ("p", "b"))[seat]]
    ways = (dict(zip(places, bets, strict=True)) for bets in product((0.0, 1.0), repeat=len(places)))
    won = (value({**strategy, **way}) for way in ways)
    return max(won) if seat == 0 else max(-each for each in won)


def value(strategy: Strategy) -> float:
    """What the first player wins in a hand where both play so."""

    def ahead(cards: tuple[str, ...], done: str) -> float:
        if done in OVER:
            return first_wins("".join(cards), done)
        bets = strategy[cards[len(done) % 2], done]
        return bets * ahead(cards, done + "b") + (1 - bets) * ahead(cards, done + "p")

    hands = list(permutations(RANKS, 2))
    return sum(ahead(hand, "") for hand in hands) / len(hands)


def strategy_of(folder: str) -> Strategy:
    """How a model that was trained by the recipe plays: the chance of a bet in each of the game's twelve places."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    bet_or_pass, end = tokenizer.convert_tokens_to_ids(["b", "p"]), tokenizer.eos_token

    def bets(card: str, done: str) -> float:
        before = f"{view(card, '')}>p{end}" if done == "pb" else ""
        ids = torch.tensor([tokenizer.encode(f"{before}{view(card, done)}>")])
        with torch.no_grad():
            return float(model(ids).logits[0, -1, bet_or_pass].softmax(-1)[0])

    return {place: bets(*place) for place in EQUILIBRIUM}


if __name__ == "__main__":
    for folder in sys.argv[1:]:
        found = strategy_of(folder)
        told = " ".join(f"{card}:{done} {chance:.2f}" for (card, done), chance in found.items())
        print(f"{exploitability(found):.3f}  {folder}  bets at {told}")
