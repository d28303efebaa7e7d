"""docs/eureka.md lists every key of a reward design, and its file and the one that ships are read."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from test_docs import folder, write_files  # noqa: F401
from test_recipe_docs import rows

from togi.reward_design.asked import first_question, program_of, requests
from togi.reward_design.design import AgentDesign
from togi.reward_design.programs.dialects import STEPS
from togi.reward_design.programs.static_check import fault_of
from togi.reward_design.read_design import read_design
from togi.reward_design.schema import DesignFile
from togi.reward_design.training.measure import Workplace
from togi.reward_design.training.play import random_play, transitions
from togi.sandbox.workers.pool import why_no_jail
from togi.transcript import Recorded

ROOT = Path(__file__).parent.parent
DOCS = (ROOT / "docs" / "eureka.md").read_text(encoding="utf-8")
TABLES = {name: each for name, each in DesignFile.model_json_schema()["$defs"].items() if "properties" in each}


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_documented(table: str) -> None:
    expected = "\n".join(rows(table, TABLES))
    assert expected in DOCS, "docs/eureka.md should hold these lines:\n" + expected


@pytest.mark.usefixtures("folder")
def test_the_environment_of_ones_own_is_read() -> None:
    pytest.importorskip("stable_baselines3")
    write_files("docs/eureka.md", Path())
    found = read_design(Path("boat.toml"))
    assert found.told["environment"].startswith("Observation Space: | Num | what it is")
    assert (found.told["observation"], found.told["action"]) == (
        "a numpy array of 2 numbers",
        "a numpy array of 1 number",
    )


def test_what_ships_is_read_and_its_recording_answers() -> None:
    pytest.importorskip("stable_baselines3")
    if why := why_no_jail():
        pytest.skip(why)
    recorded = ROOT / "recipes" / "mountain_car.jsonl"
    changes = ["search.candidates=12", "search.generations=1", f"writer.recorded={recorded}"]
    design = read_design(ROOT / "recipes" / "mountain_car.toml", changes)
    assert design.human
    asker = Recorded(recorded)
    replies = asker.ask(requests(design, [first_question(design)] * 12, 0))
    assert asker.otherwise == 0, "the prompt has changed since: record it anew"
    assert isinstance(design, AgentDesign)
    steps = transitions(random_play(design), ())
    found = [program_of(reply, STEPS) for reply in replies]
    with closing(Workplace(design)) as place:
        faults = [fault or fault_of(text, STEPS) or place.fault(text, steps) for text, fault in found]
    assert faults[0].startswith("it pays 0.1 for every step")
    assert sum(not fault for fault in faults) == 4
