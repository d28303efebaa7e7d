"""The look before a run: prompts, gold answers in the demanded form, what is odd about a reward, and the estimate."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny_text import THINKING, byte_level, tiny_folder

from togi.algorithms import GRPO, SFT
from togi.data import Tasks
from togi.evidence.before.cost_estimate import EVALUATION, Rates, estimate, rates
from togi.evidence.before.preview import Preview, preview
from togi.evidence.before.row_answers import cases_of, gold_text, judge
from togi.models.load_model import Loaded, load_model
from togi.models.policy import Optimiser
from togi.protocols import Reward, Sampler
from togi.rewards import concise, form, gate, number, parse_reward, python
from togi.rewards.algebra import Leaf
from togi.run import Evaluation, ModelChoice, Run, Stage
from togi.samplers import Against, Budgeted, Dynamic, Groups, Rejection, WithGreedy
from togi.sandbox.workers.pool import Pool
from togi.tokenization import Chat
from togi.types import Message, Sampling, Score, Task, Trajectory

FORMED = gate(number(), by=form())


@dataclass(frozen=True)
class By(Leaf):
    """A reward of a table from text to value; what is not in it is not scored."""

    values: tuple[tuple[str, float], ...]
    name: str = "by"

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        table = dict(self.values)
        texts = [trajectory.turns[-1].text for trajectory in trajectories]
        lost = Score(value=float("nan"), status="timeout", note="too slow")
        return [Score(value=table[text], parts={"by": table[text]}) if text in table else lost for text in texts]


def ask(answer: Any, name: str, written: str | None = None) -> Task:
    recorded = () if written is None else ((Message(role="assistant", content=written),),)
    return Task(id=name, prompt=(Message(role="user", content=f"what is {name}?"),), answer=answer, recorded=recorded)


def solution(answer: int) -> str:
    return f"<think>count to {answer}</think><answer>{answer}</answer>"


def some(*answers: Any, written: bool = False) -> Tasks:
    return Tasks([ask(each, f"t{i}", solution(each) if written else None) for i, each in enumerate(answers)])


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(byte_level(), frozenset({2}))


def findings(tasks: Sequence[Task], reward: Reward, chat: Chat) -> list[tuple[str, str]]:
    return [(finding.level, finding.title) for finding in judge(cases_of(tasks, reward, chat))]


def test_gold_empty_and_wrong_answers_are_scored(chat: Chat) -> None:
    first, _ = cases_of(some(7, 8, written=True), FORMED, chat)
    seen = [(attempt.kind, attempt.text, attempt.read, attempt.score.value) for attempt in first.attempts]
    assert seen == [("gold", solution(7), "7", 1), ("empty", "", None, 0), ("wrong", solution(8), "8", 0)]
    assert first.tokens == len(chat.completion(solution(7)))


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("gate(number(), by=form())", 7),
        ("gate(number(), by=form(answer='', min_think=30))", 7),
        ("number(marker='####')", "7"),
        ("number()", "six and one is seven #### 7"),
        ("math()", r"\frac{1}{2}"),
        ("gate(choice(), by=form()) + 0.1 * overlong(64, 16)", "B"),
        ("exact()", ["seven", "7"]),
    ],
)
def test_an_answer_is_written_in_the_form_the_reward_demands(chat: Chat, expression: str, answer: Any) -> None:
    reward = parse_reward(expression, Path())
    cases = cases_of([ask(answer, "a")], reward, chat)
    assert cases[0].attempts[0].score.value == 1, cases


@pytest.mark.parametrize("expression", ["gate(number(), by=form())", "gate(number(), by=form(answer=''))"])
def test_a_thought_that_the_template_begins_is_seen_by_readers_of_tags(expression: str) -> None:
    tasks, chat = some(7, 8, 9), Chat(byte_level(THINKING), frozenset({2}))
    reward = parse_reward(expression, Path())
    assert findings(tasks, reward, chat) == [("ok", "all 3 gold answers checked get full marks")]
    cut = chat.recorded(tasks[0].prompt, (Message(role="assistant", content="so it is 7"),))
    assert parse_reward("number()", Path())(tasks[0], [Trajectory(turns=cut, stop="length")])[0].value == 0


def test_a_reward_that_works_is_found_to_work(chat: Chat) -> None:
    assert findings(some(7, 8, 9), FORMED, chat) == [("ok", "all 3 gold answers checked get full marks")]
    assert findings(some(7, 8, 9), gate(concise(100), by=FORMED) + FORMED, chat)[0][0] == "ok"


def test_a_gold_answer_without_full_marks_names_its_row(chat: Chat) -> None:
    tasks = Tasks([ask(7, "good", solution(7)), ask(8, "bad", solution(9)), ask(9, "bare", "9")])
    (finding,) = judge(cases_of(tasks, FORMED, chat))
    assert finding.level == "fail"
    assert finding.title == "2 of 3 gold answers do not get full marks: bad, bare"
    assert "task bad" in finding.detail


def test_a_gold_answer_that_cannot_be_read_names_its_row(chat: Chat) -> None:
    finding, *others = judge(cases_of(some(7, "seven", 8), FORMED, chat))
    assert not any("empty or wrong" in other.title for other in others), "one fault of a row is one finding"
    assert (finding.level, finding.title) == ("fail", "1 of 3 gold answers could not be scored: t1")
    assert "'seven' is not one number" in finding.detail


def test_a_reward_that_never_differs_is_a_failure(chat: Chat) -> None:
    constant = By((("7", 0.5), ("8", 0.5), ("", 0.5)))
    assert ("fail", "the reward never differs: right, empty and wrong answers all get 0.5") in findings(
        some(7, 8), constant, chat
    )


def test_a_reward_that_reads_no_answer_is_not_blamed_for_wrong_ones(chat: Chat) -> None:
    voted = cases_of(some(7, 8, 9), parse_reward("majority()", Path()), chat)
    (finding,) = judge(voted, "blind")
    assert (finding.level, finding.title) == ("warn", "the reward reads no answer: it cannot tell right from wrong")
    assert "[gold]" in finding.advice
    assert judge(voted, "blind", measured=True)[0].advice == ""
    assert any(found.level == "fail" for found in judge(voted))
    empty = By((("7", 0.5), ("8", 1.0), ("", 1.0)))
    levels = [found.level for found in judge(cases_of(some(7, 8), empty, chat), "blind")]
    assert "fail" in levels


def test_an_answer_that_is_paid_for_nothing(chat: Chat) -> None:
    table = (("7", 1.0), ("8", 1.0), ("", 1.0), ("9", 0.0))
    levels = findings(some(7, 8, 9), By(table), chat)
    assert ("fail", "an empty answer is paid as much as the right one in 2 of 2 tasks: t0, t1") in levels
    assert ("warn", "another task's answer is paid as much as the right one in 1 of 2 tasks: t0") in levels


def test_lost_grades_are_told(chat: Chat) -> None:
    told = findings(some(7, 8), By((("7", 1.0), ("8", 0.9))), chat)
    assert ("warn", "2 empty or wrong answers ended in timeout") in told


def test_a_grader_that_hangs_on_everything_is_given_up(chat: Chat) -> None:
    assert len(cases_of(some(*range(50)), By(()), chat)) == 2


def test_a_slow_grader_is_asked_for_some_seconds_only(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("togi.evidence.before.row_answers.SECONDS", 0.0)
    assert len(cases_of(some(*range(50)), FORMED, chat)) == 1


def test_tasks_without_answers_are_told(chat: Chat) -> None:
    levels = findings([ask(None, "a"), ask(None, "b")], By((("", 1.0),)), chat)
    assert ("warn", "no task has an answer that can be written down, so the reward cannot be checked") in levels
    assert gold_text(ask(None, "a"), FORMED) is None


# The whole -----------------------------------------------------------------------------------------------------------


def test_a_rule_that_a_reward_reads_is_no_answer(chat: Chat) -> None:
    """An object says what answers must be like: scoring it as an answer would call a sound reward broken."""
    found = findings(some({"most": 13}, {"most": 9}), By((("", 0.0),)), chat)
    assert [level for level, _ in found] == ["warn"]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load_model(str(tiny_folder(tmp_path_factory.mktemp("model"))))


def a_run(tasks: Tasks, max_tokens: int = 64) -> Run:
    sampling = Sampling(max_tokens=max_tokens)
    sft = Stage(
        name="form",
        algorithm=SFT(),
        tasks=tasks,
        reward=None,
        steps=3,
        tasks_per_step=2,
        sampling=sampling,
        optimiser=Optimiser(),
    )
    grpo = replace(sft, name="pay", algorithm=GRPO(sampler=Groups(4)), reward=FORMED, steps=5)
    evaluation = Evaluation(tasks=tasks[:2], reward=FORMED, sampling=sampling, attempts=2)
    model = ModelChoice(source="tiny", dtype="float32")
    return Run(name="toy", folder=Path("runs/toy"), model=model, stages=(sft, grpo), evaluation=evaluation)


def rendered(found: Preview) -> str:
    page = io.StringIO()
    found.render(Console(width=160, file=page))
    return page.getvalue()


def test_a_preview_shows_prompts_scores_and_costs(loaded: Loaded) -> None:
    found = preview(a_run(some(7, 8, 9, written=True)), loaded, speed=Rates(sample=10, read=100, learn=50))
    assert found.findings == []
    text = rendered(found)
    for shown in ("<|im_start|>user", "what is t0?", solution(7), "correct 1", "3 gold answers", "Nothing stands"):
        assert shown in text
    assert text.count("what is t0?") == 1  # stages that ask the same show it once


def test_foreign_text_cannot_act_on_the_terminal(loaded: Loaded) -> None:
    tasks = Tasks([ask(7, "a[bold]\x1b[2J", solution(7)), ask(8, "b", solution(8))])
    text = rendered(preview(a_run(tasks), loaded))
    assert "\x1b[2J" not in text
    assert "[bold]⟨U+001B⟩" in text


def test_prompts_and_answers_that_do_not_fit_are_named(loaded: Loaded) -> None:
    long = Task(id="long", prompt=(Message(role="user", content="word " * 300),), answer=7, recorded=())
    found = preview(
        a_run(Tasks([*some(7, 8, written=True), replace(long, recorded=some(7, written=True)[0].recorded)])), loaded
    )
    assert any(finding.title.startswith("the prompt of task long has ") for finding in found.findings)
    assert "This run cannot work" in rendered(found)
    short = preview(a_run(some(7, 8, written=True), max_tokens=5), loaded)
    titles = [finding.title for finding in short.looks[1].findings]
    assert any(title.startswith("2 of 2 recorded answers are longer than max_tokens = 5") for title in titles)


@pytest.mark.parametrize(
    ("stop", "told"),
    [(("</answer>",), False), (("\n\n",), False), (("</think>",), True), (("answer>",), True), (("never", "7<"), True)],
)
def test_a_stop_that_cuts_right_answers_is_told(loaded: Loaded, stop: tuple[str, ...], told: bool) -> None:
    run = a_run(some(7, 8, written=True))
    run = replace(run, stages=tuple(replace(one, sampling=replace(one.sampling, stop=stop)) for one in run.stages))
    titles = [finding.title for finding in preview(run, loaded).looks[1].findings]
    assert any(title.startswith(f"stop = {list(stop)} cuts") for title in titles) == told


def test_the_estimate_adds_up(chat: Chat) -> None:
    tasks = some(7, 8, written=True)
    run = a_run(tasks)
    prompt, answer = len(chat.prompt(tasks[0].prompt)), len(chat.completion(solution(7)))
    found = estimate(run, chat, Rates(sample=10, read=100, learn=50))
    played = 3 * 2  # evaluations of the base model and after each stage, two tasks each
    expected, most = 5 * 2 * 4 * answer + played * 2 * answer, 5 * 2 * 4 * 64 + played * 2 * 64
    assert found.sampled == (expected, most)
    assert found.learned == 3 * 2 * (answer + prompt) + 5 * 2 * (4 * 64 + prompt)
    learning = 6 * (answer + prompt) + 10 * (4 * answer + prompt)
    reading = (6 + 10 * (1 + len(run.stages[1].algorithm.needs & {"old_logp", "ref_logp"})) + played) * prompt
    reading += 10 * 4 * answer * len(run.stages[1].algorithm.needs & {"old_logp", "ref_logp"})
    assert found.seconds[0] == pytest.approx(expected / 10 + learning / 50 + reading / 100)
    graded = estimate(run, chat, Rates(sample=10, read=100, learn=50), {run.stages[1].name: 0.5, EVALUATION: 2.0})
    assert graded.grading == (5 * 2 * 4 * 0.5 + played * 2 * 2.0,) * 2
    assert graded.seconds[1] == pytest.approx(found.seconds[1] + graded.grading[1])


def test_what_own_rewards_print_and_how_long_they_take_is_shown(loaded: Loaded, tmp_path: Path) -> None:
    source = (
        "def mine(task, completion):\n    print('seen \\x1b[1m' + completion)\n    return float(completion == '7')\n"
    )
    (tmp_path / "own.py").write_text(source)
    run = a_run(some(7, 8, written=True))
    with Pool(workers=1) as pool:
        own = python("own.py:mine", base=tmp_path, pool=pool)
        stages = (run.stages[0], replace(run.stages[1], reward=own))
        found = preview(replace(run, stages=stages, evaluation=None), loaded)
    look = found.looks[1]
    assert look.printed[0].startswith("mine: seen \x1b[1m<think>")
    assert look.grading > 0
    assert found.estimate.grading[0] == pytest.approx(look.grading * 5 * 2 * 4)
    screen = Console(file=io.StringIO(), width=200)
    found.render(screen)
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "mine: seen ⟨U+001B⟩[1m" in shown


@pytest.mark.parametrize(
    ("sampler", "fewest", "most", "kept"),
    [
        (Groups(4), 4, 4, 4),
        (Groups(4, votes=16), 16, 16, 4),
        (Dynamic(4, max_rounds=5), 4, 20, 4),
        (Dynamic(4, max_rounds=2, demonstrations=1), 4, 8, 5),
        (Budgeted(4), 4, 4, 4),
        (Rejection(8, keep=2), 8, 8, 2),
        (WithGreedy(1), 2, 2, 1),
        (Against(3), 6, 6, 6),
    ],
)
def test_the_estimate_knows_how_many_attempts_a_sampler_draws(
    chat: Chat, sampler: Sampler, fewest: int, most: int, kept: int
) -> None:
    tasks = some(7, 8)
    run = a_run(tasks)
    stage = replace(run.stages[1], algorithm=GRPO(sampler=sampler))
    found = estimate(replace(run, stages=(stage,), evaluation=None), chat, Rates(sample=10, read=100, learn=50))
    steps = stage.steps * stage.tasks_per_step
    assert found.sampled == (steps * fewest * 64, steps * most * 64)
    assert found.learned == steps * (kept * 64 + len(chat.prompt(tasks[0].prompt)))


def test_rates_follow_size_and_machine() -> None:
    one, double = rates(10**8, 1e11), rates(2 * 10**8, 2e11)
    assert one == double
    assert one.learn == pytest.approx(one.read / 3)
