"""SayCan in a corridor with two lamps: what is read, scored, learned, chosen and counted, and what a kill costs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from corridor import Corridor
from tiny_text import byte_level, tiny_llama

from togi.agents.saycan.archive import Archive
from togi.agents.saycan.arms import choose, nearest, shares
from togi.agents.saycan.chances import Line, fitted_line, log_odds, reliability
from togi.agents.saycan.findings import read_outcome
from togi.agents.saycan.read_saycan import plan_told, read_saycan
from togi.agents.saycan.scores import ANYTHING, LocalSpeaker, Said, Words, check_template, prompt_of, score
from togi.agents.saycan.world import DONE, check_world
from togi.engines.native import NativeEngine
from togi.report.saycan_page import write_saycan_report
from togi.run_folder.files import FolderError
from togi.run_folder.integrity import check
from togi.tokenization import Chat

HERE = Path(__file__).parent
TEMPLATE = "Person: {instruction}\nPlan:\n{plan}"
FILE = f"""
[saycan]
world = "{HERE / "corridor.py"}:Corridor"
prompt = "prompt.txt"
seeds = 2
longest = 3

[skills]
steps = 1024
worlds = 4
horizon = 12
states = 40
"""


class Wise:
    """Wants what the instruction names and is not in the plan yet; knows nothing of what is broken."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def said(self, prompts: Sequence[str], words: Sequence[str]) -> list[Said]:
        self.asked += prompts
        return [Said(logp=self._logp(prompt, words), tokens=(5, 5, 1)) for prompt in prompts]

    def written(self, prompts: Sequence[str], many: int) -> list[list[str]]:
        self.asked += prompts
        return [["Light the lamp on the right"] * (many - 1) + [DONE] for _ in prompts]

    def _logp(self, prompt: str, words: Sequence[str]) -> tuple[float, ...]:
        asked, plan = prompt.split("Plan:")
        wanted = [side in asked or "both" in asked for side in ("left", "right")]
        likely = [want and word not in plan for want, word in zip(wanted, words, strict=False)]
        return (*(-1.0 if each else -9.0 for each in likely), -2.0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "prompt.txt").write_text(TEMPLATE + "\n")
    path = tmp_path / "lamps.toml"
    path.write_text(FILE)
    return path


# -- scores ----------------------------------------------------------------------------------------------------------


def test_a_prompt_goes_on_where_the_next_skill_is_written() -> None:
    assert prompt_of(TEMPLATE, ("It is dark.", ())) == "Person: It is dark.\nPlan:\n1."
    assert prompt_of(TEMPLATE, ("{plan}", ("{instruction}",))) == "Person: {plan}\nPlan:\n1. {instruction}\n2."
    assert prompt_of(TEMPLATE, ("It is dark.", ("a", "b"))) == "Person: It is dark.\nPlan:\n1. a\n2. b\n3."


@pytest.mark.parametrize(
    "template", ["{plan}", "{instruction}", "{instruction} {plan} then", "{plan} {instruction}{plan}"]
)
def test_a_prompt_that_asks_nothing_or_ends_elsewhere_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"prompt\.txt: wanted"):
        check_template(template, "prompt.txt")


def test_scores_are_sums_means_and_gains() -> None:
    said, bare = Said(logp=(-6.0, -4.0), tokens=(6, 2)), Said(logp=(-6.5, -1.0), tokens=(6, 2))
    assert score(said, "sum").tolist() == [-6.0, -4.0]
    assert score(said, "mean").tolist() == [-1.0, -2.0]
    assert score(said, "pmi", bare).tolist() == [0.5, -3.0]


def test_each_situation_is_asked_once() -> None:
    wise, kept = Wise(), list[Any]()
    words = Words(lambda: wise, TEMPLATE, (*Corridor.skills, DONE), [], kept.append)
    situations = [("on the left", ()), ("on the left", ()), ("both", (Corridor.skills[0],))]
    first = words.scores(situations, "pmi")
    assert len(wise.asked) == 4  # two situations, and two without their instruction
    assert sum(ANYTHING in prompt for prompt in wise.asked) == 2
    again = Words(lambda: pytest.fail("asked again"), TEMPLATE, (*Corridor.skills, DONE), kept, kept.append)
    assert np.array_equal(again.scores(situations, "pmi"), first)


def test_a_model_s_scores_are_those_of_a_plain_pass() -> None:
    """Sums over exactly the skill's words and the end of its line, whatever else is scored beside them."""
    model, tokenizer = tiny_llama(), byte_level()
    speaker = LocalSpeaker(NativeEngine(model, tokenizer, frozenset({2})), Chat(tokenizer, frozenset({2})))
    prompts = [prompt_of("{instruction}\n{plan}", ("hello", plan)) for plan in ((), ("hello world",))]
    words = ("hello world", "hello there", DONE)
    for prompt, said in zip(prompts, speaker.said(prompts, words), strict=True):
        before = tokenizer.encode(prompt, add_special_tokens=False)
        for word, logp, tokens in zip(words, said.logp, said.tokens, strict=True):
            ids = tokenizer.encode(f"{prompt} {word}\n", add_special_tokens=False)
            with torch.no_grad():
                logits = model(input_ids=torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
            each = logits[torch.arange(len(ids) - 1), torch.tensor(ids[1:])][len(before) - 1 :]
            assert tokens == len(each)
            assert logp == pytest.approx(float(each.sum()), abs=1e-4)
    lines = speaker.written(prompts, 2)
    assert [len(each) for each in lines] == [2, 2]
    assert lines == speaker.written(prompts, 2)


def test_a_model_that_is_broken_is_told() -> None:
    class Broken(Wise):
        def _logp(self, prompt: str, words: Sequence[str]) -> tuple[float, ...]:
            return (float("nan"), -1.0, -1.0)

    words = Words(Broken, TEMPLATE, (*Corridor.skills, DONE), [], lambda row: pytest.fail("kept"))
    with pytest.raises(ValueError, match="not finite"):
        words.scores([("left", ())], "sum")


# -- choices ---------------------------------------------------------------------------------------------------------

SKILLS = ("light the left lamp", "light the right lamp", DONE)


@pytest.mark.parametrize(
    ("arm", "chosen"),
    [("llm", 0), ("affordance", 1), ("product", 2), ("oracle", 1), ("generated", 1)],
)
def test_arms_choose(arm: Any, chosen: int) -> None:
    """Words like the first skill best, chances the second, and the product the third."""
    words, chances, possible = (-1.0, -6.0, -3.0), (0.01, 0.9, 0.5), (False, True, False)
    assert choose(arm, words, chances, possible, ("the left lamp", "light the right one"), SKILLS) == chosen


def test_the_oracle_ends_a_plan_as_the_product_does() -> None:
    """Words that like ``done`` a little better than what can be done are outweighed by its small chance."""
    words, possible = (-9.0, -3.0, -2.0), (True, True, True)
    assert choose("llm", words, (1.0, 1.0, 0.1), possible, (), SKILLS) == 2
    assert choose("oracle", words, (0.001, 0.001, 0.1), possible, (), SKILLS) == 1


def test_who_writes_nothing_that_can_be_done_is_done() -> None:
    chances = (0.4, 0.4, 0.1)
    assert choose("generated", (), chances, (), ("light the left lamp", "?"), SKILLS) == 2


@pytest.mark.parametrize(
    ("line", "skill"),
    [("Light the RIGHT lamp.", 1), ("the left lamp, light it", 0), ("done", 2), ("sing", None), ("", None)],
)
def test_a_line_means_the_skill_it_shares_most_words_with(line: str, skill: int | None) -> None:
    assert nearest(line, SKILLS) == skill


def test_shares_add_up_and_leave_out_what_is_impossible() -> None:
    assert shares([0.0, -np.inf, np.log(3)]).tolist() == pytest.approx([0.25, 0.0, 0.75])


# -- chances ---------------------------------------------------------------------------------------------------------


def test_reliability_by_hand() -> None:
    found = reliability([0.05, 0.15, 0.15, 1.0], [0, 1, 0, 1])
    assert [(each.states, each.said, each.seen) for each in found.bins] == [
        (1, 0.05, 0.0),
        (2, 0.15, 0.5),
        (1, 1.0, 1.0),
    ]
    assert found.error == pytest.approx((0.05 + 2 * 0.35 + 0) / 4)
    assert found.brier == pytest.approx((0.05**2 + 0.85**2 + 0.15**2) / 4)


def test_the_line_finds_the_chances_that_values_stand_for() -> None:
    """Values are half the log-odds of what happens: the line doubles them."""
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 1.5, 20_000)
    won = rng.random(20_000) < 1 / (1 + np.exp(-2 * odds - 0.5))
    line = fitted_line(1 / (1 + np.exp(-odds)), won)
    assert (line.slope, line.shift) == pytest.approx((2.0, 0.5), abs=0.06)


@pytest.mark.parametrize("won", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]])
def test_the_line_stays_finite(won: list[int]) -> None:
    line = fitted_line([0.0, 0.0, 1.0, 1.0], won)
    chance = line.chance([0.0, 0.5, 1.0])
    assert np.isfinite([line.slope, line.shift]).all()
    assert ((chance > 0) & (chance < 1)).all()


def test_log_odds_of_nothing_and_all_are_finite() -> None:
    assert np.isfinite(log_odds([0.0, 1.0])).all()
    assert Line(slope=1.0, shift=0.0).chance([0.3]).tolist() == pytest.approx([0.3])


# -- worlds and files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"skills": ("one",)}, "two skills or more"),
        ({"skills": ("one", "one")}, "twice"),
        ({"skills": ("one", DONE)}, "leave it out"),
        ({"skills": ("one", 2)}, "two skills or more"),
        ({"actions": 1}, "2 or more"),
        ({"instructions": ()}, "one or more"),
        ({"instructions": ("light",)}, "one or more"),
        ({"observe": lambda self, skill: np.zeros(skill)}, "of the same length"),
        ({"observe": lambda self, skill: np.zeros((2, 2))}, "one vector"),
        ({"observe": lambda self, skill: np.array([np.nan])}, "not finite"),
        ({"start": lambda self, seed, instruction=None: setattr(self, "place", np.random.rand())}, "raises Attribute"),
        ({"act": lambda self: True}, "raises TypeError"),
        ({"possible": None}, "raises TypeError"),
        ({"observe": lambda self, skill: np.random.default_rng().random(3)}, "equal beginnings"),
    ],
)
def test_a_world_that_lacks_something_is_told(changed: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        check_world(type("Changed", (Corridor,), changed)(), "Changed")


def test_what_is_no_world_is_told_all_that_it_lacks() -> None:
    with pytest.raises(ValueError, match=r"Half has no actions, instructions, .*docs/saycan\.md"):
        check_world(type("Half", (), {"skills": Corridor.skills})(), "Half")


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("saycan.arms=[]", "one arm or more"),
        ('saycan.arms=["llm", "both"]', "both"),
        ("saycan.score=total", "sum"),
        ("saycan.prompt=other.txt", "there is no file"),
        ("saycan.world=other.py:World", "there is no file"),
        (f"saycan.world={HERE / 'corridor.py'}:Hall", "no function"),
        ("saycan.done=0", "done"),
        ("saycan.seeds=0", "seeds"),
        ("skills.states=3", "states"),
        ("skils.states=30", r"skils: unknown key; did you mean 'skills'\?"),
        ("saycan.modell=x", r"saycan\.modell: unknown key; did you mean 'model'\?"),
        ("states", "TABLE.KEY=VALUE"),
        ("saycan.name.first=1", "name"),
    ],
)
def test_what_cannot_be_is_refused(file: Path, change: str, what: str) -> None:
    pytest.importorskip("stable_baselines3")
    with pytest.raises(ValueError, match=what):
        read_saycan(file, [change])


def test_a_recipe_is_sent_to_its_command(file: Path) -> None:
    file.write_text('[model]\nsource = "smollm2-135m"\n')
    with pytest.raises(ValueError, match="togi train"):
        read_saycan(file)


# -- the whole ---------------------------------------------------------------------------------------------------------


def test_the_whole_is_played_counted_and_resumed(file: Path, tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    from togi.agents.saycan.run_saycan import run_saycan

    saycan = read_saycan(file)
    assert any("2 skills and 3 instructions in 3 families" in line for line in plan_told(saycan))
    wise, folder = Wise(), tmp_path / "run"
    outcome = run_saycan(saycan, folder, tell=lambda _: None, speaker=lambda _: wise)
    found = {each.arm: each for each in outcome.standings}
    # Words alone want a broken lamp and never end elsewhere than they should; the oracle does not try it.
    assert found["llm"].impossible == 2
    assert found["oracle"].impossible == 0
    assert found["oracle"].planned.point == 1.0
    assert found["llm"].planned.point == pytest.approx(2 / 3)
    assert found["llm"].by_family["none"][0] == 0.0
    # Nothing is asked, trained or played again.
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    again = run_saycan(saycan, folder, tell=lambda _: None, speaker=lambda _: pytest.fail("asked again"))
    assert repr(again) == repr(outcome)
    assert kept == {path: path.stat().st_mtime_ns for path in folder.rglob("*.safetensors")}
    assert not check(folder).faults
    block = folder / "episodes" / "product-1.jsonl"
    rows = [json.loads(line) for line in block.read_text().splitlines()]
    assert [len(row["decisions"][0]["chances"]) for row in rows] == [3, 3, 3]
    page = write_saycan_report(folder).read_text()
    assert all(instruction.text in page for instruction in Corridor.instructions)
    assert page.count("data:image/png") == len(list((folder / "frames").glob("*.png"))) > 0
    with pytest.raises(FolderError, match="decided otherwise"):
        run_saycan(read_saycan(file, ["saycan.done=0.2"]), folder, tell=lambda _: None, speaker=lambda _: wise)
    block.write_text("")
    with pytest.raises(FolderError, match="not as it was written"):
        write_saycan_report(folder)
    with pytest.raises(FolderError, match="not as it was written"):
        run_saycan(saycan, folder, tell=lambda _: None, speaker=lambda _: wise)


@pytest.mark.slow
def test_learned_chances_leave_out_what_cannot_be_done(file: Path, tmp_path: Path) -> None:
    """Sparse success alone teaches which lamp is broken: the product wants it no more, and no plan is lost."""
    pytest.importorskip("stable_baselines3")
    from togi.agents.saycan.run_saycan import run_saycan

    changes = ["skills.steps=16384", "skills.states=400", 'saycan.arms=["product", "llm"]']
    outcome = run_saycan(read_saycan(file, changes), tmp_path / "run", tell=lambda _: None, speaker=lambda _: Wise())
    product, llm = outcome.standings
    assert (product.impossible, llm.impossible) == (0, 2)
    assert (product.planned.point, product.solved.point) == (1.0, 1.0)
    assert all(each.fitted.brier < each.base / 4 for each in outcome.chances)


def test_a_kill_between_arms_costs_nothing(file: Path, tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    from togi.agents.saycan.run_saycan import run_saycan

    class Killed(BaseException):
        pass

    def killed(line: str) -> None:
        if line.startswith("seed 0, llm"):
            raise Killed

    saycan = read_saycan(file, ["saycan.seeds=1", 'saycan.arms=["product", "llm", "oracle"]'])
    folder, whole = tmp_path / "killed", tmp_path / "whole"
    with pytest.raises(Killed):
        run_saycan(saycan, folder, tell=killed, speaker=lambda _: Wise())
    assert not read_outcome(Archive(folder)).episodes.get("oracle")
    with (folder / "words.jsonl").open("a") as lines:
        lines.write('{"instruction": "It is da')  # a line that the kill cut off
    one = run_saycan(saycan, folder, tell=lambda _: None, speaker=lambda _: Wise())
    other = run_saycan(saycan, whole, tell=lambda _: None, speaker=lambda _: Wise())
    assert one.episodes == other.episodes
