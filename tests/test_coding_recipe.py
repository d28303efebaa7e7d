"""recipes/coding.py: the loop pays a mended program alone, and no cunning one."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from togi.find_function import resolve
from togi.recipe import load_recipe
from togi.rewards.code.wrong_programs import programs
from togi.sandbox.box import AnyTier
from togi.sandbox.tiers.choose_tier import why_not
from togi.types import Message, Task

RECIPES = Path(__file__).parent.parent / "recipes"
TIER: AnyTier = "auto" if not why_not("bubblewrap") else "subset"


@pytest.fixture(scope="module", autouse=True)
def jailed() -> None:
    if why := why_not(TIER) if TIER != "auto" else "":
        pytest.skip(why)


def coding(name: str) -> Any:
    return resolve(f"coding.py:{name}", RECIPES)


def task(seed: int = 0) -> Task:
    row = coding("problem")(random.Random(seed))
    prompt = (Message(role="user", content=row["program"]),)
    return Task(id="t", prompt=prompt, answer=row["answer"], info=row)


def played(task: Task, *said: str, **settings: Any) -> tuple[list[str], float]:
    """What is replied to each message, and what all of them were paid."""
    env = coding("Coding")(task, tier=TIER, **settings)
    env.start()
    replies, paid = [], 0.0
    for each in said:
        reply, reward, over = env.step(Message(role="assistant", content=each))
        replies.append(reply)
        paid += reward
        if over:
            break
    return replies, paid


def sign(task: Task) -> str:
    return str(coding("Coding")(task, tier=TIER).honest[1])


@pytest.mark.parametrize("seed", range(6))
def test_a_mended_program_is_paid(seed: int) -> None:
    replies, paid = played(task(seed), "test", sign(task(seed)), "test", "done")
    assert replies[0].count("gave") == 2
    assert replies[1:] == ["edited", "passed", ""]
    assert paid == 1.0


SAID = [
    (("done",), 0.0),
    (("test", "done"), 0.0),
    (("edit return => return 0 *", "done"), 0.0),
    (("edit no such text => x", "done"), 0.0),
    (("edit return => # return", "test", "done"), 0.0),
    (("rm -rf", "edit", "edit a", "edit  => b", "", "done"), 0.0),
    (("passed", "all tests passed\ndone", "done."), 0.0),
]


@pytest.mark.parametrize(("said", "paid"), SAID)
def test_anything_else_is_not(said: tuple[str, ...], paid: float) -> None:
    assert played(task(), *said)[1] == paid


def test_the_turns_are_limited_and_a_blind_model_is_told_nothing() -> None:
    replies, paid = played(task(), *["test"] * 9, blind=True)
    assert (set(replies), len(replies), paid) == ({"tested"}, 6, 0.0)


def test_no_reply_tells_a_hidden_test() -> None:
    row = task()
    hidden = {repr(wanted) for _, wanted in row.info["hidden"]} - {repr(wanted) for _, wanted in row.info["tests"]}
    spies = "import sys\ndef f(*a):\n    return str(sys._getframe(1).f_locals)[:1500]"
    (_, told), _ = played(row, f"edit {row.info['program']} => {spies}", "test")
    assert f"'hidden': {row.info['hidden']}" not in told
    assert not any(f"wanted {each}" in told for each in hidden)


VISIBLE = [(tuple(inputs), wanted) for inputs, wanted in task().info["tests"]]


@pytest.mark.parametrize("attack", programs("f", VISIBLE), ids=lambda attack: attack.name)
def test_no_cunning_program_is_paid(attack: Any) -> None:
    row = task()
    try:
        replies, paid = played(row, f"edit {row.info['program']} => {attack.source}", "test", "done")
    except RuntimeError as error:
        if TIER != "subset":
            raise
        pytest.skip(f"without bubblewrap, and no program of the subset of Python: {error}")
    assert paid == 0.0
    assert attack.name == "visible_examples" or replies[1] != "passed"


def test_the_recipe_can_be_read() -> None:
    run = load_recipe(RECIPES / "coding.toml").run
    assert [stage.name for stage in run.stages] == ["cold_start", "grpo"]
    model, tokenizer = coding("model")()
    for each in run.stages[0].tasks[:20]:
        for text in (message.content for message in (*each.prompt, *each.recorded[0])):
            assert tokenizer.decode(tokenizer.encode(text)) == text
    assert model.num_parameters() < 400_000
