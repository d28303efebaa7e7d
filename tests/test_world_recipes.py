"""The recipes of worlds and games: what their environments answer and pay, and that self-play resumes to the bit."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest
from test_train import At, Power, contents, fall

from togi.envs.open_env import against, open_env
from togi.find_function import imported
from togi.protocols import Env
from togi.recipe import load_recipe
from togi.run import Silent
from togi.sandbox.workers.pool import Pool
from togi.train import train
from togi.types import Message, Task

RECIPES = Path(__file__).parent.parent / "recipes"
kuhn: ModuleType = sys.modules[imported("kuhn.py:Kuhn", RECIPES).__module__]


def opened(use: str, prompt: str, settings: dict[str, Any] | None = None, **info: Any) -> Env:
    task = Task(id="t", prompt=(Message(role="user", content=prompt),), info=info)
    return open_env(use, settings or {}, RECIPES, Pool(workers=1))(task)


def played(env: Env, says: str) -> list[tuple[Any, Any, bool]]:
    """What is said to whom, paid and over at the start and after each message."""

    def texts(heard: Any) -> Any:
        if isinstance(heard, dict):
            return {name: texts(each) for name, each in heard.items()}
        return "".join(message.content for message in heard)

    found: list[tuple[Any, Any, bool]] = [(texts(env.start()), 0, False)]
    for text in says.split():
        heard, paid, done = env.step(Message(role="assistant", content=text))
        found.append((texts(heard), paid, done))
        if done:
            break
    return found


WALKS: list[tuple[str, dict[str, Any], str, list[str], float, bool]] = [
    # goal:place, settings, steps, what is said after each, pay and end of the last
    ("00:02", {}, "w w", ["00:01", ""], 1.0, True),
    ("00:33", {}, "e s x", ["00:33"] * 3, 0.0, False),
    ("00:33", {}, "n", ["00:23"], 0.0, False),
    ("00:33", {"turns": 2}, "n n", ["00:23", "00:13"], 0.0, True),
    ("00:01", {"turns": 1}, "w", [""], 1.0, True),
]


@pytest.mark.parametrize(("prompt", "settings", "steps", "wanted", "paid", "over"), WALKS)
def test_a_walk(prompt: str, settings: dict[str, Any], steps: str, wanted: list[str], paid: float, over: bool) -> None:
    found = played(opened("world.py:World", prompt, settings), steps)
    assert [said for said, _, _ in found] == [prompt, *wanted]
    assert [pay for _, pay, _ in found] == [0.0] * len(wanted) + [paid]
    assert found[-1][2] is over
    assert not any(done for _, _, done in found[:-1])


HANDS: list[tuple[str, str, int]] = [
    # cards of first and second, what is done, chips that the first wins
    ("kq", "p p", 1), ("qk", "p p", -1), ("kq", "b b", 2), ("jk", "b b", -2),
    ("jk", "b p", 1), ("kj", "p b p", -1), ("kj", "p b b", 2), ("jk", "p b b", -2),
    ("kj", "x", -2), ("jk", "b x", 2), ("kj", "p b x", -2),
]  # fmt: skip


@pytest.mark.parametrize(("cards", "done", "won"), HANDS)
def test_a_hand_of_poker(cards: str, done: str, won: int) -> None:
    env = opened("kuhn.py:Kuhn", "7", deal=cards)
    found = played(env, done)
    said = [card + ":" + "".join(done.split())[:acts] for acts, card in enumerate((cards * 2)[:-1])]
    assert [heard for heard, _, _ in found[:-1]] == [
        {("first", "second")[acts % 2]: said[acts]} for acts in range(len(found) - 1)
    ]
    assert found[-1] == ({}, {"first": won, "second": -won}, True)
    assert env.counts["unreadable"] == done.count("x")  # type: ignore[attr-defined]


def test_a_fee_is_paid_whatever_is_done() -> None:
    found = [played(opened("kuhn.py:Kuhn", "7", {"fee": fee}, deal="kq"), "b p")[-1][1] for fee in (0, 1)]
    assert found == [{"first": 1, "second": -1}, {"first": 0, "second": 0}]


STRATEGIES: list[tuple[Callable[[str, str], float], float]] = [
    (lambda card, done: 0.5, 11 / 24),
    (lambda card, done: kuhn.EQUILIBRIUM[card, done], 0.0),
    (lambda card, done: 0.0, 1.0),
    (lambda card, done: 1.0, 1 / 3),
]


@pytest.mark.parametrize(("strategy", "wanted"), STRATEGIES)
def test_exploitability(strategy: Callable[[str, str], float], wanted: float) -> None:
    found = kuhn.exploitability({place: strategy(*place) for place in kuhn.EQUILIBRIUM})
    assert found == pytest.approx(wanted, abs=1e-12)


def test_best_play_is_worth_an_eighteenth_to_the_second() -> None:
    assert kuhn.value(kuhn.EQUILIBRIUM) == pytest.approx(-1 / 18)


def test_best_play_has_the_other_seat() -> None:
    """Whoever always passes loses a chip to it wherever it bets, and else shows the cards."""
    game = open_env("kuhn.py:Kuhn", {}, RECIPES, Pool(workers=1))
    make = against(game, "kuhn.py:best_play", RECIPES)
    for number in range(40):
        row = kuhn.deal(Random(number))
        task = Task(id=str(number), prompt=(Message(role="user", content=row["prompt"]),), info={"deal": row["deal"]})
        first, second = (played(make(task), "p p") for _ in range(2))
        assert first == second
        seat = make(task).player  # type: ignore[attr-defined]
        card = row["deal"][("first", "second").index(seat)]
        assert first[0][0] in ({"first": [f"{card}:"], "second": [f"{card}:b", f"{card}:p"]}[seat])


@pytest.mark.parametrize(
    ("channel", "says", "heard", "paid"),
    [
        ("said", "5 5", "257.5", 1.0),
        ("said", "x 5", "257.x", 1.0),
        ("said", "5 7", "257.5", 0.0),
        ("silent", "5 5", "257..", 1.0),
        ("shuffled", "5 2", "257.9", 0.0),
    ],
)
def test_pointing(channel: str, says: str, heard: str, paid: float) -> None:
    found = played(opened("cooperation.py:Pointing", "5:752", {"channel": channel}, noise="9"), says)
    assert [said for said, _, _ in found] == [{"speaker": "5:752"}, {"picker": heard}, {}]
    assert found[-1][1:] == ({"speaker": paid, "picker": paid}, True)


def test_the_form_of_poker_bets_more_often_with_higher_cards() -> None:
    rows = [json.loads(line)["messages"] for line in (RECIPES / "kuhn_form.jsonl").read_text().splitlines()]
    pairs = [pair for row in rows for pair in zip(row[::2], row[1::2], strict=True)]
    said = [(ask["content"], answer["content"]) for ask, answer in pairs]
    for card, done in kuhn.EQUILIBRIUM:
        bets, passes = (said.count((kuhn.view(card, done), action)) for action in "bp")
        assert bets / (bets + passes) == {"j": 2 / 6, "q": 3 / 6, "k": 4 / 6}[card]


@pytest.mark.slow
def test_self_play_resumes_to_the_bit(tmp_path: Path) -> None:
    few = ["stage.form.steps=2", "stage.selfplay.steps=4", "stage.selfplay.tasks_per_step=4", "evaluation.tasks=4"]
    run = load_recipe(RECIPES / "selfplay.toml", [*few, "checkpoint.every=1"]).run
    train(replace(run, folder=tmp_path / "whole"), Silent())
    stopped = replace(run, folder=tmp_path / "stopped")
    with pytest.raises(Power):
        train(stopped, At("credit", 3, fall))
    train(stopped, Silent())
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")
    assert b"rae/first" in contents(tmp_path / "whole")["metrics.jsonl"]
