"""The red team finds what is wrong with bad rewards, each by its family, and finds nothing wrong with good ones."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from togi.cli import run_command
from togi.evidence.redteam.ask_reward import Grading, moved
from togi.evidence.redteam.attack_reward import Effort, redteam
from togi.evidence.redteam.attacked_rows import rows_of, same
from togi.evidence.redteam.card_text import findings, in_a_line, render, verdict
from togi.evidence.redteam.hollow_answers import probes
from togi.evidence.redteam.redteam_command import keep
from togi.evidence.redteam.reward_card import Card, Payout, plain
from togi.evidence.redteam.try_wrong_programs import code_of, function_of
from togi.report import write_report
from togi.rewards import exact, form, gate, number, parse_reward, python
from togi.sandbox.workers.pool import Pool
from togi.types import Message, Task

HERE = Path(__file__).parent
SMALL = Effort(rows=3, guesses=2, watched=1, steady=1)


def ask(index: int, question: str, answer: str) -> Task:
    return Task(id=f"t{index}", prompt=(Message(role="user", content=question),), answer=answer)


SUMS = [ask(i, f"What is {i * 7 + 3} plus {i * 5 + 10}?", str(i * 12 + 13)) for i in range(5)]
CHOICES = [ask(i, f"Which one? A) x{i} B) y{i} C) z{i}", "ABC"[i % 3]) for i in range(6)]
TOWNS = [ask(i, f"The capital of country {i}?", town) for i, town in enumerate(["Paris", "Rome", "Bonn", "Lima"])]
FRACTIONS = [ask(i, f"Simplify {i}.", rf"\frac{{{n}}}{{7}}") for i, n in enumerate((2, 3, 5, 11))]


def attack(function: str, effort: Effort = SMALL) -> Card:
    return redteam(python(f"bad_rewards.py:{function}", base=HERE), SUMS, effort=effort, seconds=0.5)


def severity(card: Card, family: str) -> str | None:
    _, weak = card.of(family)
    return weak[0].severity if weak else None


@pytest.mark.parametrize(
    ("function", "family", "least"),
    [
        ("tags_only", "binding", "medium"),
        ("tags_and_answer", "form", "medium"),
        ("substring", "extraction", "high"),
        ("first_number", "extraction", "medium"),
        ("last_number", "extraction", "medium"),
        ("constant", "binding", "critical"),
        ("truthy", "constant", "critical"),
        ("length", "style", "medium"),
        ("keywords", "style", "low"),
        ("raises", "process", "medium"),
        ("declines", "process", "low"),
        ("gives_nan", "process", "medium"),
        ("stateful", "invariance", "high"),
        ("random_pay", "invariance", "high"),
        ("slow_pattern", "process", "critical"),
        pytest.param("hungry", "process", "critical", marks=pytest.mark.slow),
        ("evaluates", "process", "critical"),
        ("majority", "group", "critical"),
        ("first_of_group", "invariance", "medium"),
    ],
)
def test_a_bad_reward_is_found_by_its_family(function: str, family: str, least: str) -> None:
    order = ["low", "medium", "high", "critical"]
    card = attack(function)
    found = severity(card, family)
    assert found is not None, verdict(card)
    assert found in order[order.index(least) :], (found, verdict(card))
    assert card.fails("low")


@pytest.mark.parametrize(
    ("expression", "tasks"),
    [
        ("gate(number(), by=form())", SUMS),
        ("number()", SUMS),
        ("number() + overlong(200, 20)", SUMS),
        ("number(marker='####')", SUMS),
        ("gate(choice(), by=form())", CHOICES),
        ("choice()", CHOICES),
        ("exact()", TOWNS),
        ("gate(exact(), by=form(answer=''))", TOWNS),
        ("math()", FRACTIONS),
        pytest.param("gate(math(), by=form(answer=''))", FRACTIONS, marks=pytest.mark.slow),
    ],
)
def test_a_good_reward_comes_out_clean(expression: str, tasks: list[Task]) -> None:
    card = redteam(parse_reward(expression, Path()), tasks, effort=SMALL)
    assert card.severity is None, card.weaknesses
    assert card.full == card.rows == SMALL.rows


def test_a_good_function_comes_out_clean_in_the_form_it_reads() -> None:
    card = attack("good")
    assert card.severity is None, card.weaknesses
    assert card.written == "<answer>…</answer>"


def test_an_executed_answer_is_shown_with_what_executed_it() -> None:
    _, (first, *_) = attack("evaluates").of("process")
    assert "executes answers" in first.title
    assert "togi_canary" in first.text


def test_adding_and_scaling_changes_no_payout() -> None:
    reward = python("bad_rewards.py:tags_and_answer", base=HERE)
    shares = [
        {(p.family, p.probe): pytest.approx(p.share, abs=1e-9) for p in redteam(each, SUMS, effort=SMALL).payouts}
        for each in (reward, 5.0 * reward - 2.0)
    ]
    assert shares[0] == {name: value.expected for name, value in shares[1].items()}


def test_knowing_nothing_is_measured() -> None:
    card = redteam(parse_reward("choice()", Path()), CHOICES, effort=replace(SMALL, rows=6))
    assert card.constant in "ABC"
    assert card.constant_share == pytest.approx(1 / 3)


def test_payouts_are_severe_by_what_they_earn_and_what_they_cost() -> None:
    def paid(share: float, *, free: bool) -> Payout:
        return Payout(family="form", probe="x", free=free, rows=9, share=share, most=share, task="", text="")

    shares = (0.0, 0.009, 0.01, 0.1, 0.5, 1.0)
    assert [paid(share, free=False).severity for share in shares] == [None, None, "low", "medium", "high", "high"]
    assert [paid(share, free=True).severity for share in shares][-2:] == ["critical", "critical"]


def test_no_probe_says_the_right_answer_alone() -> None:
    with Pool(workers=1) as pool:
        rows, _ = rows_of(SUMS, Grading(gate(number(), by=form()), pool), 5)
    for row in rows:
        texts = [probe.text for probe in probes(row, [each.answer for each in rows])]
        assert row.gold not in texts
        assert len(texts) > 80
        assert not any(same(text, row.answer) for text in texts)


def test_answers_are_the_same_by_value() -> None:
    assert same(" 42", "42.0")
    assert same("1/2", "0.5")
    assert same("Paris", "paris ")
    assert not same("3 m", "3 km")


def test_a_recorded_answer_is_the_gold_and_numbers_are_read_out_of_it() -> None:
    recorded = ((Message(role="assistant", content="<think>7 and 8</think><answer>15</answer>"),),)
    task = replace(SUMS[0], answer="15", recorded=recorded)
    with Pool(workers=1) as pool:
        (row,), _ = rows_of([task], Grading(gate(number(), by=form()), pool), 5)
    assert (row.gold, row.answer) == (recorded[0][0].content, "15")


def test_graders_are_moved_to_the_pool_of_the_attack() -> None:
    with Pool(workers=1) as pool:
        reward = moved(0.5 * gate(number(), by=form()) + exact(), pool)
        assert [vars(leaf)["pool"] is pool for leaf in reward.leaves] == [True] * 3  # type: ignore[attr-defined]


def test_programs_are_found_in_their_block() -> None:
    assert code_of("text\n```python\ndef f():\n    pass\n```\n") == "def f():\n    pass\n"
    assert function_of("x = 1\ndef g():\n    pass\ndef f():\n    pass") == "f"
    assert function_of("42") is None
    assert function_of("not a program") is None


@pytest.mark.slow
def test_programs_that_only_look_right_fool_a_grader_that_compares_inside() -> None:
    tasks = [replace(task, answer="def add(a, b):\n    return a + b\n") for task in SUMS]
    reward = python("bad_rewards.py:runs_programs", base=HERE)
    payouts, weak = redteam(reward, tasks, effort=replace(SMALL, rows=1, watched=0), seconds=1.0).of("code")
    assert weak
    assert payouts[0].share == 1.0


def test_rows_without_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="no task has an answer"):
        redteam(number(), [replace(SUMS[0], answer=None)])


def test_the_card_is_shown_in_a_terminal_and_as_findings() -> None:
    card = attack("tags_only")
    screen = Console(file=io.StringIO(), width=100)
    render(card, screen)
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "binding" in shown
    assert "→" in shown
    card = attack("good")
    many = replace(card, constant="42", constant_share=2 / card.rows)
    assert "one answer to every row earns" in in_a_line(many)
    assert "one answer" not in in_a_line(replace(many, constant_share=1 / card.rows))  # it is that row's own
    assert any(finding.level == "fail" for finding in findings(attack("constant")))
    assert json.loads(json.dumps(plain([card])))["cards"][0]["severity"] == card.severity


@pytest.fixture
def sums(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    rows = [{"prompt": task.prompt[0].content, "answer": task.answer} for task in SUMS]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_the_command_exits_by_severity(sums: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "card.json"
    bad = f'python("{HERE / "bad_rewards.py"}:tags_and_answer")'
    common = ["--data", str(sums), "--json", str(out), "--rows", "2"]
    assert run_command(["redteam", "gate(number(), by=form())", *common]) == 0
    assert json.loads(out.read_text())["cards"][0]["severity"] is None
    assert run_command(["redteam", bad, *common]) == 1
    assert run_command(["redteam", bad, *common, "--fail-on", "critical"]) == 0
    assert json.loads(out.read_text())["cards"][0]["weaknesses"][0]["advice"]
    assert "reward" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["number()"], "give --data"),
        (["number()", "--gym", "chain_sum", "--data", "x.jsonl"], "not both"),
        (["--data", "x.jsonl"], "name a recipe"),
        (["nope()", "--gym", "chain_sum"], "no reward"),
        (["number()", "--gym", "chain_sum", "--rows", "0"], "at least 1"),
    ],
)
def test_the_command_says_what_is_missing(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["redteam", *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_reward_that_compares_siblings_is_asked_beside_the_right_answer() -> None:
    card = attack("ranks")
    assert card.severity is None, card.weaknesses
    assert card.full == card.rows
    assert any("compares siblings" in weakness.title for weakness in card.weaknesses)


def test_free_text_is_not_hedged() -> None:
    tasks = [
        replace(task, answer=None, recorded=((Message(role="assistant", content=f"A long text, {task.id}."),),))
        for task in SUMS
    ]
    with Pool(workers=1) as pool:
        rows, _ = rows_of(tasks, Grading(exact(), pool), 2)
    assert all(row.open for row in rows)
    names = {probe.name for probe in probes(rows[0], [])}
    assert "banana" in names
    assert not any("hedge" in name for name in names)


def test_the_report_shows_the_card_kept_with_a_run(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text('name = "kept"\n')
    keep(tmp_path, [attack("tags_only")])
    page = write_report(tmp_path).read_text()
    assert "What the reward pays besides right answers" in page
    assert "is paid as much as the right one" in page
    assert "Reward digest" in page
