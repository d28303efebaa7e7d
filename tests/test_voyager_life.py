"""The loop of Voyager with a made-up writer: what is asked, kept, taken along and compared, and what a kill costs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from voyager_writer import Writer, answer, embed

from togi.agents.voyager import library, run_voyager as looked_at
from togi.agents.voyager.attempt import Attempt
from togi.agents.voyager.findings import Outcome, used
from togi.agents.voyager.read_voyager import plan_told, read_voyager
from togi.agents.voyager.run_voyager import run_voyager
from togi.agents.voyager.skill_writing import SkillWriting
from togi.agents.voyager.told import answer as answer_told, counted, moved_told
from togi.askers.asker import Reply
from togi.cli import run_command
from togi.data.sources import Rows, load_tasks
from togi.report.voyager_page import page, write_voyager_report
from togi.run_folder.files import FolderError
from togi.types import Message, Task
from togi.writer import find_writer

pytest.importorskip("pydantic_monty")
Run = Callable[..., Outcome]


class Killed(BaseException):
    pass


def settings(*changes: str) -> list[str]:
    return ["voyager.seeds=1", 'voyager.arms=["full"]', "life.prompts=6", *changes]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(library, "find_spec", lambda name: object())
    (tmp_path / "voyager.toml").write_text("[voyager]\n")

    def ran(writer: Writer, *changes: str, name: str = "run") -> Outcome:
        monkeypatch.setattr(looked_at, "find_writer", lambda *_: ("made up", lambda: writer))
        voyage = read_voyager(tmp_path / "voyager.toml", settings(*changes))
        return run_voyager(voyage, tmp_path / name, embed=embed, tell=lambda line: None)

    return ran


def the(outcome: Outcome, life: str) -> list[Attempt]:
    return next(list(each.attempts) for each in outcome.told if each.lived.name == life)


def test_goals_are_reached_one_after_another_and_skills_are_kept(run: Run) -> None:
    outcome = run(Writer())
    (life,) = outcome.told
    assert [each.goal.item for each in life.attempts[:5]] == ["wood", "plank", "stick", "pebble", "workbench"]
    assert [each.label for each in life.skills][:3] == ["get_wood.v1", "get_plank.v1", "get_stick.v1"]
    assert life.skills[0].description == "Brings something."
    assert life.unique(6)[:5] == [1, 2, 3, 4, 5]
    assert life.tiers() == {0: 1, 1: 2}
    assert outcome.whole


def test_what_was_learned_is_shown_and_called(run: Run) -> None:
    def spoil(text: str) -> str | None:
        if "Task: get 1 more plank" in text:
            return "def get_plank():\n    while count('wood') < 9:\n        get_wood()\n    craft('plank')"
        return None

    writer = Writer(spoil)
    (life,) = run(writer).told
    asked = next(
        each.messages[-1].content for each in writer.asked if "Task: get 1 more plank" in each.messages[-1].content
    )
    assert "# Brings something.\ndef get_wood():" in asked
    assert life.attempts[1].shown == ("get_wood.v1",)
    assert life.attempts[1].reached
    assert life.attempts[1].called == ("get_wood",)
    assert life.skills[1].called == ("get_wood",)
    assert used(life.skills[0], life) == ["get 1 more plank"]


def test_a_skill_is_written_again_with_what_happened(run: Run) -> None:
    tried = list[str]()

    def spoil(text: str) -> str | None:
        if text.startswith("There are now"):
            tried.append(text)
            return ["no code", "def a():\n    craft('plank')", "def a():\n    while True:\n        pass"][
                len(tried) % 3 - 1
            ]
        return None

    outcome = run(Writer(spoil), "life.prompts=4", "life.seconds=0.1")
    assert "It is no skill: the answer has no code block" in tried[1]
    assert "no code" in tried[1]
    assert re.search(r"What happened: It failed: ValueError: craft plank: .* The task is not done\. none", tried[2])
    assert "It was stopped after 0.1 seconds: it loops for ever." in tried[3]
    assert [each.turn for each in the(outcome, "full-0")] == [1, 2, 3, 4]
    assert "get 1 more wood" not in str(outcome.told[0].skills)
    assert "4 skills were asked for: 2 could not be read" in counted(outcome)[0]


def test_a_goal_that_was_given_up_is_told_to_the_planner(run: Run) -> None:
    writer = Writer(lambda text: "no code" if text.startswith("There are now") else None)
    run(writer, "life.tries=2", "life.prompts=3")
    plans = [each.messages[-1].content for each in writer.asked if each.messages[-1].content.startswith("You decide")]
    assert "Tried, and not done: get 1 more wood." in plans[1]


def test_where_no_item_is_named_chance_chooses(run: Run) -> None:
    outcome = run(Writer(lambda text: "Be happy." if text.startswith("You decide") else None), "life.prompts=3")
    assert {each.chosen for each in the(outcome, "full-0")} == {"chance"}
    assert "goals of planners were chosen by chance, since no item" in " ".join(counted(outcome))


def test_the_state_decides_and_the_critic_is_held_against_it(run: Run) -> None:
    def spoil(text: str) -> str | None:
        return "def a():\n    return True" if text.startswith("There are now") else None

    outcome = run(Writer(spoil))
    found = outcome.disagreement
    assert (found.right, found.wrong_yes, found.wrong_no, found.unread) == (0, 6, 0, 0)
    assert not any(each.done for each in the(outcome, "full-0"))
    by_critic = run(Writer(spoil), 'life.verified="critic"', name="critic")
    assert all(each.done and not each.reached and each.kept for each in the(by_critic, "full-0"))


def test_each_arm_lacks_one_part(run: Run) -> None:
    writer = Writer()
    arms = 'voyager.arms=["full", "no_library", "random_goals", "unverified"]'
    outcome = run(writer, arms, "voyager.seeds=2", "life.prompts=4")
    assert writer.batches[0] == 8, "all lives are asked for at once"
    for each in outcome.told:
        assert bool(each.skills) is (each.lived.arm != "no_library" and any(one.done for one in each.attempts))
        assert {one.chosen for one in each.attempts} == {"chance" if each.lived.arm == "random_goals" else "planner"}
        assert all((one.critic is None) is (each.lived.arm == "unverified") for one in each.attempts)
        assert all(one.shown == () for one in each.attempts) is (each.lived.arm == "no_library") or not each.skills
    assert [each.arm for each in outcome.arms] == ["full", "no_library", "random_goals", "unverified"]
    assert outcome.arms[0].scores.shape == (2, 1)
    assert answer_told(outcome).startswith("A life with everything has found 4.0")
    assert len({each.vote for each in writer.asked}) == len(writer.asked)


def test_without_a_verifier_whatever_ends_is_taken_for_done(run: Run) -> None:
    idle = Writer(lambda text: "def a():\n    return 1" if text.startswith("There are now") else None)
    outcome = run(idle, 'voyager.arms=["unverified"]', "life.prompts=3")
    assert all(each.done and not each.reached for each in the(outcome, "unverified-0"))
    assert "Where nobody verified, 3 of 3 goals were taken for reached and were not." in counted(outcome)


def test_a_library_is_taken_to_new_worlds_and_stays_as_it_is(run: Run) -> None:
    outcome = run(Writer(), 'transfer.goals=["plank", "stick"]')
    assert {each.lived.name for each in outcome.lives(new_worlds=True)} == {"transfer-full-0", "transfer-no_library-0"}
    taken, none = the(outcome, "transfer-full-0"), the(outcome, "transfer-no_library-0")
    assert taken[0].shown
    assert not none[0].shown
    assert all(each.before == {} for each in (*taken, *none))
    assert len({each.world_seed for each in taken} | {each.world_seed for each in the(outcome, "full-0")}) == 3
    assert not any(each.kept for each in taken)
    assert outcome.moved[0].mean.point == 1.0
    assert moved_told(outcome).startswith("In new worlds, with what a life with everything had kept, 100%")


def test_a_run_begins_with_the_skills_of_another(run: Run, tmp_path: Path) -> None:
    run(Writer())
    outcome = run(Writer(), 'voyager.skills="run/skills/full-0"', 'voyager.arms=["full", "no_library"]', name="second")
    assert the(outcome, "full-0")[0].shown
    assert not the(outcome, "no_library-0")[0].shown


def test_a_kill_costs_nothing(run: Run) -> None:
    whole = run(Writer(), 'transfer.goals=["plank"]', name="whole")
    asked = 0

    def until(most: int) -> Callable[[str], None]:
        def spoil(text: str) -> None:
            nonlocal asked
            if asked == most:
                raise Killed
            asked += 1

        return spoil

    for most in (1, 2, 5, 9, 12, 30):
        if most < len(whole.lines):
            with pytest.raises(Killed):
                run(Writer(until(most)), 'transfer.goals=["plank"]')
    again = run(Writer(until(10_000)), 'transfer.goals=["plank"]')
    assert asked == len(whole.lines)
    assert [[replace(one) for one in each.attempts] for each in again.told] == [
        list(each.attempts) for each in whole.told
    ]
    before = asked
    run(Writer(until(10_000)), 'transfer.goals=["plank"]')
    assert asked == before


def test_what_no_event_names_counts_for_nothing(run: Run, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(Writer(killed_at("stick")))
    life = tmp_path / "run" / "lives" / "full-0"
    (life / f"{len(list(life.iterdir())):05d}.json").write_text('{"added": "by hand"}')
    skill = tmp_path / "run" / "skills" / "full-0" / "forged.v1.json"
    skill.write_text('{"name": "forged"}')
    found, undisturbed = run(Writer()), run(Writer(), name="undisturbed")
    assert [each.attempts for each in found.told] == [each.attempts for each in undisturbed.told]
    assert [each.skills for each in found.told] == [each.skills for each in undisturbed.told]


def test_a_writer_that_is_down_stops_the_run_and_it_goes_on(run: Run) -> None:
    with pytest.raises(ValueError, match=r"did not answer any of 1 questions \(down\)"):
        run(Writer(lambda text: Reply(status="error", note="down")))
    assert run(Writer()).whole


def test_what_was_decided_stays(run: Run, tmp_path: Path) -> None:
    run(Writer())
    run(Writer(), "writer.seconds=5")
    with pytest.raises(FolderError, match="was decided otherwise"):
        run(Writer(), "life.tries=2")
    path = tmp_path / "run" / "lives" / "full-0" / "00000.json"
    path.write_text(path.read_text().replace("wood", "gold"))
    with pytest.raises(FolderError, match="not as it was written"):
        run(Writer())
    with pytest.raises(FolderError, match="not as it was written"):
        write_voyager_report(tmp_path / "run")


def test_a_world_that_changes_by_itself_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "moody.py").write_text(
        "import random\nfrom togi.agents.voyager.tech_tree import TechTree\n\n\nclass Moody(TechTree):\n"
        "    def __init__(self, seed):\n        super().__init__(seed)\n"
        "        self._held['sand'] = random.randrange(10**9)\n"
    )
    with pytest.raises(Killed):
        run(Writer(killed_at("stick")), 'voyager.world="moody.py:Moody"')
    with pytest.raises(FolderError, match="the same calls have led to another state"):
        run(Writer(), 'voyager.world="moody.py:Moody"')


def killed_at(item: str) -> Callable[[str], None]:
    def spoil(text: str) -> None:
        if f"more {item}" in text:
            raise Killed

    return spoil


def test_the_goals_of_a_run_train_a_model(run: Run, tmp_path: Path) -> None:
    run(Writer())
    tasks = load_tasks(Rows(path=tmp_path / "run" / "tasks.jsonl"), split="train")
    assert len(tasks) == 6
    first, second = SkillWriting(tasks[0]), SkillWriting(tasks[1], tries=2)
    assert "Task: get 1 more wood" in first.start()[-1].content
    good = answer(first.start()[-1].content)
    assert first.step(Message(role="assistant", content=good)) == ("", 1.0, True)
    assert second.held == {"wood": 1}
    said, paid, over = second.step(Message(role="assistant", content="def a():\n    craft('plank')"))
    assert (paid, over) == (0.0, False)
    assert said.startswith("It failed: ValueError: craft plank")
    assert second.step(Message(role="assistant", content="I give up."))[1:] == (0.0, True)
    assert second.counts == {"tries": 2, "unreadable": 1, "calls": 1}


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"seed": 1}, "has a goal, and this has none"),
        ({"goal": {"item": "wood"}}, "has a seed"),
        ({"goal": {"item": "gold bar"}, "seed": 1}, "the goal is 'gold bar'"),
        ({"goal": {"item": "wood"}, "seed": 1, "before": [["__setattr__", ["_held", {}]]]}, "no call of this world"),
    ],
)
def test_rows_that_are_no_goals_are_told(info: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        SkillWriting(Task(id="1", prompt=(), info=info))


def test_a_recording_answers_as_the_writer_did(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(Writer())
    monkeypatch.setattr(looked_at, "find_writer", find_writer)
    voyage = read_voyager(tmp_path / "voyager.toml", settings('writer.recorded="run/replies.jsonl"'))
    played = run_voyager(voyage, tmp_path / "played", embed=embed, tell=lambda line: None)
    assert [each.attempts for each in played.told] == [each.attempts for each in whole.told]
    assert {line.model for line in played.lines} == {f"made up, recorded {whole.lines[0].day}"}


def test_the_page_says_all_of_it(run: Run, tmp_path: Path) -> None:
    hostile = Writer(lambda text: "<script>alert(1)</script>" if text.startswith("Say in one") else None)
    outcome = run(hostile, 'transfer.goals=["plank"]', 'voyager.arms=["full", "no_library"]')
    shown = page(outcome, tmp_path / "run")
    assert "<script>" not in shown
    for said in ("get_wood.v1", "Different items over prompts", "New worlds", "The critic judged", "Not used again."):
        assert said in shown
    assert "Not all lives are over" in page(
        replace(outcome, told=outcome.told[:1], plan=longer(outcome)), tmp_path / "run"
    )
    assert run_command(["report", str(tmp_path / "run")]) == 0
    assert run_command(["verify", str(tmp_path / "run")]) == 0


def longer(outcome: Outcome) -> dict[str, Any]:
    """The plan of lives that are not over."""
    tables = outcome.plan["tables"]
    return {**outcome.plan, "tables": {**tables, "life": {**tables["life"], "prompts": 99}}}


RECORDED = Path(__file__).with_name("voyager_smollm2.jsonl")


def test_what_smollm2_wrote_is_lived_with(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replies that were recorded of SmolLM2-135M on 2026-11-30, of six prompts a life: it reaches nothing."""
    monkeypatch.setattr(looked_at, "find_writer", find_writer)
    changes = [
        "voyager.seeds=1",
        "life.prompts=6",
        "life.seconds=0.2",
        "transfer.goals=[]",
        "writer.max_tokens=120",
        f"writer.recorded={json.dumps(str(RECORDED))}",
    ]
    voyage = read_voyager(Path(__file__).parent.parent / "recipes" / "voyager.toml", changes)
    outcome = run_voyager(voyage, tmp_path / "recorded", embed=embed, tell=lambda line: None)
    assert outcome.whole
    assert {line.model for line in outcome.lines} == {"smollm2-135m, recorded 2026-11-30"}
    assert "24 skills were asked for: 17 could not be read, 4 failed" in counted(outcome)[0]
    assert not any(one.reached for each in outcome.told for one in each.attempts)
    assert answer_told(outcome).startswith("A life with everything has found 0.0 different items in 6 prompts.")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("voyager.arms=[]", "voyager.arms: wanted some of full"),
        ('voyager.arms=["full", "full"]', "each once"),
        ('voyager.arms=["half"]', "voyager.arms"),
        ('voyager.world="nowhere.py:World"', "there is no file"),
        ('voyager.world="togi.types:Task"', "a world is made from a whole number, its seed, alone; TypeError"),
        ('voyager.skills="nowhere"', "there is no folder"),
        ('transfer.goals=["gold", "mithril"]', "there is no 'mithril' in this world"),
        ('transfer.goals=["gold", "gold"]', "each item once"),
        ('writer.recorded="nowhere.jsonl"', "there is no file"),
        ('writer.prompts="nowhere"', "there is no folder"),
        ('writer.key_env="KEY"', "a key and caps are for a server"),
        ("life.prompts=0", "life.prompts"),
        ("life.lives=9", "life.lives"),
    ],
)
def test_mistakes_in_the_file_are_told(run: Run, tmp_path: Path, change: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        read_voyager(tmp_path / "voyager.toml", [change])


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "v.toml").write_text("[voyager]\n")
    monkeypatch.setattr(library, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=re.escape(".[voyager]")):
        read_voyager(tmp_path / "v.toml")


def test_the_plan_is_told(run: Run, tmp_path: Path) -> None:
    told = plan_told(read_voyager(tmp_path / "voyager.toml", settings('transfer.goals=["gold"]')))
    assert told[1] == "1 lives (full; 1 seeds) of 6 prompts, 4 tries at a goal"
    assert "at most 14 skills are asked for" in told[2]
