"""Steps: where they end, who says what they are worth, and the model that learns it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle, pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from test_rollout import Dice, Letters, episodes, task
from tiny_text import byte_level

from togi import batch as batching, losses
from togi.algorithms import ProcessRewardModel
from togi.batch import collate
from togi.data import Collected, DataError, Rows, Tasks, load_tasks
from togi.data.earlier_rollouts import load_collected
from togi.envs import OneTurn
from togi.recipe import RecipeError, load_recipe
from togi.records import rollout_rows
from togi.rollout import Episodes
from togi.samplers import StepLabels, Stepwise
from togi.samplers.reasoning_steps import _counts as step_counts
from togi.tokenization import Chat
from togi.types import Limits, Message, Outputs, Question, Sample, Sampling, Score, Task, Trajectory

RECIPES = Path(__file__).parent.parent / "recipes"


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(byte_level(), frozenset())


def pieces(chat: Chat, completion: Sequence[int], ends: Sequence[int]) -> list[str]:
    starts = [0, *(end + 1 for end in ends)]
    return [chat.show(completion[a:b]) for a, b in pairwise(starts)]


@pytest.mark.parametrize(
    ("text", "separator", "steps"),
    [
        ("2 + 3 = 5\n5 is it", "\n", ["2 + 3 = 5\n", "5 is it<|im_end|>"]),
        ("one\n\n\ntwo\n", "\n", ["one\n\n", "\ntwo\n<|im_end|>"]),
        ("äöü 日本\n🙂 is\nit", "\n", ["äöü 日本\n", "🙂 is\n", "it<|im_end|>"]),
        ("a; b; c", "; ", ["a; ", "b; ", "c<|im_end|>"]),
        ("no line ends", "\n", ["no line ends<|im_end|>"]),
    ],
)
def test_a_step_ends_with_the_token_in_which_its_separator_is_complete(
    chat: Chat, text: str, separator: str, steps: list[str]
) -> None:
    completion = chat.completion(text)
    assert pieces(chat, completion, chat.step_ends(completion, separator)) == steps


def test_blank_text_has_no_step_and_an_empty_separator_is_refused(chat: Chat) -> None:
    assert chat.step_ends(chat.completion("\n \n")) == ()
    assert chat.step_ends(()) == ()
    with pytest.raises(ValueError, match="separator that is not empty"):
        chat.step_ends(chat.completion("a"), "")


def test_a_separator_inside_a_token_ends_its_step_there(chat: Chat) -> None:
    completion = chat.completion("one\n\n\ntwo")
    assert any(chat.decode([token]) == "\n\n" for token in completion)
    assert pieces(chat, completion, chat.step_ends(completion)) == ["one\n\n", "\ntwo<|im_end|>"]


# What rows say


def stepwise(tmp_path: Path, *rows: dict[str, object]) -> Tasks:
    path = tmp_path / "steps.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_tasks(Rows(path=path), split="train")


def test_rows_with_labels_are_the_steps_of_one_answer(tmp_path: Path) -> None:
    row = {"prompt": "1+2+3?", "completions": ["1+2=3", " 3+3=7\n"], "labels": [True, False], "level": 2}
    [first, second] = stepwise(tmp_path, row, {**row, "prompt": "?", "labels": [0.25, None]})
    assert first.recorded == ((Message(role="assistant", content="1+2=3\n3+3=7"),),)
    assert (first.worth, first.step_worth, first.info) == ((), ((1.0, 0.0),), {"level": 2})
    assert second.step_worth[0][0] == 0.25
    assert math.isnan(second.step_worth[0][1])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"labels": [True]}, '"labels" is a list of 2'),
        ({"labels": [1, -1]}, "write a rating as rating >= 0"),
        ({"labels": [1, "good"]}, '"labels" holds numbers'),
        ({"completions": ["a\nb", "c"]}, "a step is one line"),
        ({"completions": ["a", " "]}, "a step is text that is not empty"),
        ({"labels": [None, None]}, "no step of the answer has a label"),
    ],
)
def test_bad_steps_are_named(tmp_path: Path, changed: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        stepwise(tmp_path, {"prompt": "q", "completions": ["a", "b"], "labels": [1, 0]} | changed)


def judged(*worths: float, text: str = "a\nb\nc") -> Task:
    answer = (Message(role="assistant", content=text),)
    return Task(id="t", prompt=(Message(role="user", content="q"),), recorded=(answer,), step_worth=(worths,))


def recorded_play(chat: Chat) -> Episodes:
    return Episodes(engine=Dice(), chat=chat, env=OneTurn, reward=None, sampling=Sampling())  # type: ignore[arg-type]


def test_recorded_labels_stand_at_the_last_token_of_each_step(chat: Chat) -> None:
    [group] = Stepwise()(cycle([judged(1, 1, 0)]), 1, recorded_play(chat))
    [sample] = batching.samples([group])
    assert sample.steps is not None
    at = np.flatnonzero(~np.isnan(sample.steps))
    assert sample.steps[at].tolist() == [1, 1, 0]
    assert [chat.show([sample.ids[t]]) for t in at] == ["\n", "\n", "<|im_end|>"]


def test_steps_and_labels_that_do_not_match_are_refused(chat: Chat) -> None:
    with pytest.raises(ValueError, match=r"task t: an answer has 3 steps when it is cut at '\\n', and 2 labels"):
        Stepwise()(cycle([judged(1, 1)]), 1, recorded_play(chat))
    with pytest.raises(ValueError, match="says nothing of its answer's steps"):
        Stepwise()(cycle([replace(judged(1), step_worth=())]), 1, recorded_play(chat))


# What continuations say


def test_a_continuation_begins_as_told_and_depends_on_the_beginning_alone() -> None:
    play, engine, _ = episodes(seed=3)
    begun = tuple(map(ord, "7"))
    [one, other] = play([Question(task=task(name), attempts=3, beginning=begun) for name in "ab"])
    for trajectory in one.trajectories:
        [turn] = trajectory.turns
        assert turn.prompt == tuple(map(ord, "ask a"))
        assert turn.completion[:1] == begun
        assert turn.text == "".join(map(chr, turn.completion))
        assert len(turn.text) == 3
        assert turn.logp == ()
    assert [prompt.ids for prompt in engine.calls[0]] == [tuple(map(ord, "ask a7")), tuple(map(ord, "ask b7"))]
    # Not on neighbours, or on what was played before; asked for again, it gets further attempts.
    fresh, _, _ = episodes(seed=3)
    [[two], [third]] = (fresh([Question(task=task("a"), attempts=n, beginning=begun)]) for n in (2, 1))
    assert two.trajectories + third.trajectories == one.trajectories
    [elsewhere] = play([Question(task=task("a"), attempts=3, beginning=tuple(map(ord, "8")))])
    assert [t.turns[0].text[1:] for t in elsewhere.trajectories] != [t.turns[0].text[1:] for t in one.trajectories]
    assert other.scores[0].status == "ok"


def test_a_continuation_is_cut_off_where_the_policy_would_have_been() -> None:
    play, engine, _ = episodes()
    [group] = replace(play, sampling=Sampling(max_tokens=3))(
        [Question(task=task("a"), beginning=tuple(map(ord, "12")))]
    )
    [turn] = group.trajectories[0].turns
    assert len(turn.completion) == 3
    assert turn.stop == "length"
    assert [(prompt.left, prompt.begun) for prompt in engine.calls[-1]] == [(1, 2)]


@pytest.mark.parametrize(("budget", "left"), [(None, 6), (5, 3), (9, 6), (1, 0)])
def test_a_beginning_counts_among_the_tokens_of_its_attempt(budget: int | None, left: int) -> None:
    play, engine, _ = episodes()
    play = replace(play, sampling=Sampling(max_tokens=8), limits=Limits(tokens=budget))
    play([Question(task=task("a"), beginning=tuple(map(ord, "12")))])
    assert [prompt.left for prompt in engine.calls[-1]] == [left]


def test_what_the_policy_began_with_keeps_its_log_probabilities() -> None:
    play, begun = episodes()[0], tuple(map(ord, "12"))
    [group] = play([Question(task=task("a"), beginning=begun, logp=(-0.5, -0.25))])
    assert group.trajectories[0].turns[0].logp == (-0.5, -0.25, -1.0, -2.0)
    with pytest.raises(ValueError, match="a beginning of 2 tokens has a log-probability for each of them or for none"):
        Question(task=task("a"), beginning=begun, logp=(-0.5,))


class Lines(Letters):
    """Cuts letters at "1": a digit of a drawn number."""

    def step_ends(self, completion: Sequence[int], separator: str) -> tuple[int, ...]:
        text = "".join(map(chr, completion))
        inner = [i for i, letter in enumerate(text[:-1]) if letter == separator]
        return (*inner, len(text) - 1)


@dataclass
class Walk(Dice):
    """Writes "abc", or goes on from a beginning with what the seed says: "x" is right, "y" is wrong."""

    def _turn(self, ids, seed):  # type: ignore[no-untyped-def]
        begun = "".join(map(chr, ids)).split("?")[1]
        text = "p|q|z" if not begun else "y" if "q" in begun else ("x", "y")[seed % 2]
        turn = super()._turn(ids, seed)
        return replace(turn, completion=tuple(map(ord, text)), text=text, logp=(-1.0,) * len(text))


def ends_in_x(task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
    return [Score(value=float("x" in t.turns[-1].text)) for t in trajectories]


def walk() -> Episodes:
    return Episodes(engine=Walk(), chat=Lines(), env=OneTurn, reward=ends_in_x, sampling=Sampling())  # type: ignore[arg-type]


ASKED = [Task(id=f"t{i}", prompt=(Message(role="user", content=f"{i}?"),)) for i in range(3)]


@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_steps_are_worth_what_becomes_of_them(labels: str) -> None:
    play = walk()
    sampler = StepLabels(n=2, continuations=16, labels=labels, separator="|")  # type: ignore[arg-type]
    groups = sampler(cycle(ASKED), 3, play)
    for group in groups:
        for score in group.scores:
            assert score.step_ends == (1, 3, 4)
            first, second, last = score.steps
            assert (second, last) == (0.0, 0.0)
            assert first == 1.0 if labels == "hard" else 0.1 < first < 0.9
    assert play.counts["step_labels/steps"] == 3
    assert play.counts["step_labels/unlabelled"] == 0
    # Equal beginnings are continued once, from the end of a step on, and a label does not depend on who else was asked.
    begun = play.engine.calls[1]  # type: ignore[attr-defined]
    assert [len(prompt.seeds) for prompt in begun] == [16] * 6
    assert sorted("".join(map(chr, prompt.ids)).split("?")[1] for prompt in begun) == ["p|"] * 3 + ["p|q|"] * 3
    [alone] = sampler(cycle(ASKED[1:]), 1, walk())
    assert [score.steps for score in alone.scores] == [score.steps for score in groups[1].scores]


def test_an_attempt_without_a_score_has_no_steps_and_those_after_it_have() -> None:
    def first_is_lost(task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        lost = Score(value=math.nan, status="timeout")
        scores = ends_in_x(task, trajectories)
        return [lost, *scores[1:]] if len(trajectories) == 2 else scores

    sampler = StepLabels(n=2, continuations=4, separator="|")
    [group] = sampler(cycle(ASKED), 1, replace(walk(), reward=first_is_lost))
    assert [len(score.steps) for score in group.scores] == [0, 3]


@pytest.mark.parametrize(
    ("values", "soft", "hard"),
    [((1.0, 0.6, 0.59), 2 / 3, 1.0), ((0.0, 0.59), 0.0, 0.0), ((), math.nan, math.nan), ((0.6,), 1.0, 1.0)],
)
def test_a_step_is_worth_what_its_scored_continuations_are(values: tuple[float, ...], soft: float, hard: float) -> None:
    lost = Score(value=math.nan, status="timeout")
    scores = [*(Score(value=value) for value in values), lost]
    shaped = [*(Score(value=1 - value, parts={"correct": value}) for value in values), lost]
    for told in (scores, shaped):
        assert StepLabels(labels="soft", right_from=0.6)._worth(told) == pytest.approx(soft, nan_ok=True)
        worth = StepLabels(labels="hard", right_from=0.6)._worth(told)
        assert worth == pytest.approx(hard, nan_ok=True)
        assert type(worth) is float


def test_labels_are_counted() -> None:
    counts = {"step_labels/steps": 1.5, "step_labels/unlabelled": 1 / 3, "step_labels/mean": 0.5}
    assert step_counts([(1.0, math.nan), (0.0,)]) == pytest.approx(counts)
    assert step_counts([(math.nan,)]) == {"step_labels/steps": 1, "step_labels/unlabelled": 1}
    assert step_counts([]) == {}


def test_labels_go_through_rollouts_to_a_later_stage(tmp_path: Path) -> None:
    groups = StepLabels(n=2, continuations=4, separator="|")(cycle(ASKED), 3, walk())
    nobody = replace(groups[0].scores[1], value=math.nan, status="timeout", steps=(), step_ends=())
    groups[0] = replace(groups[0], scores=(groups[0].scores[0], nobody))
    half = replace(groups[1].scores[0], steps=(1.0, math.nan, 0.0))
    groups[1] = replace(groups[1], scores=(half, replace(groups[1].scores[1], steps=(), step_ends=())))
    rows = rollout_rows(groups, [], [], str, {"stage": "labels", "step": 1})
    (tmp_path / "rollouts").mkdir()
    from togi.run_folder.files import dumps

    (tmp_path / "rollouts" / "labels-000001.jsonl").write_text("".join(dumps(row) + "\n" for row in rows))
    first, second, third = load_collected(Collected(stages=("labels",)), Tasks(ASKED), tmp_path)
    assert first.step_worth == ((1.0, 0.0, 0.0),)
    assert second.step_worth[0][0] == 1.0
    assert math.isnan(second.step_worth[0][1])
    assert second.step_worth[1] == ()
    assert third.step_worth == ((1.0, 0.0, 0.0),) * 2


def test_several_turns_are_refused() -> None:
    from test_rollout import Guess

    play = replace(walk(), env=Guess, engine=Dice(), reward=lambda task, ts: [Score(value=1.0) for _ in ts])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="an attempt has 3 turns"):
        StepLabels(n=1)(cycle(ASKED), 1, play)


# The model that learns labels


def answer(steps: Sequence[float], *, prompt: int = 2, between: int = 1, trajectory: int = 0) -> Sample:
    """A prompt and steps of ``between`` + 1 tokens with the labels given."""
    length = prompt + len(steps) * (between + 1)
    labels = np.full(length, np.nan, np.float32)
    labels[prompt + between :: between + 1] = steps
    return Sample(
        ids=np.arange(length) % 7, mask=np.arange(length) >= prompt, logp=np.zeros(length, np.float32), reward=0.0,
        group=trajectory, trajectory=trajectory, task=f"t{trajectory}", stop="eos", recorded=True, steps=labels,
    )  # fmt: skip


def outputs(samples: Sequence[Sample], logit: Sequence[Sequence[float]]) -> Outputs:
    """A model that says ``logit[b][k]`` after step k of sample b, and 9 after every other token."""
    batch = collate(samples)
    value_BT, score_B = torch.full(batch.mask_BT.shape, 9.0, dtype=torch.float64), torch.zeros(len(samples)).double()
    for row, (sample, own) in enumerate(zip(samples, logit, strict=True)):
        assert sample.steps is not None
        at = [*range(3, len(sample.ids), 2)]
        for t, x in zip(at, own, strict=True):
            if t + 1 < len(sample.ids):
                value_BT[row, t + 1] = x
        score_B[row] = own[-1]
    return Outputs(logp_BT=torch.zeros(batch.mask_BT.shape), value_BT=value_BT, score_B=score_B)


def logits(*chances: float) -> list[float]:
    return [math.log(p / (1 - p)) for p in chances]


def test_the_loss_is_binary_cross_entropy_at_the_last_token_of_each_step() -> None:
    label = torch.tensor([1.0, 1, 0, 1], dtype=torch.float64)
    direct = losses.binary(torch.tensor(logits(0.9, 0.8, 0.95, 0.6), dtype=torch.float64), label)
    assert float(direct.mean()) == pytest.approx(0.958765, abs=1e-6)
    algorithm = ProcessRewardModel(after_error=True)
    [credited] = algorithm.credit([answer([1, 1, 0, 1])], {})
    found = algorithm.loss(outputs([credited], [logits(0.9, 0.8, 0.95, 0.6)]), collate([credited]))
    assert float(found.value) == pytest.approx(0.958765, abs=1e-6)
    soft = losses.binary(torch.tensor(logits(0.7)), torch.tensor([0.25]))
    assert float(soft) == pytest.approx(-0.25 * math.log(0.7) - 0.75 * math.log(0.3), abs=1e-6)


def test_labels_stop_at_the_first_error() -> None:
    algorithm = ProcessRewardModel()
    [credited] = algorithm.credit([answer([1, 0, 1, 0])], {})
    found = algorithm.loss(outputs([credited], [logits(0.9, 0.8, 0.01, 0.99)]), collate([credited]))
    assert float(found.value) == pytest.approx(-(math.log(0.9) + math.log(0.2)) / 2, abs=1e-6)


def test_every_labelled_step_counts_alike_however_the_step_is_split() -> None:
    algorithm, chances = ProcessRewardModel(), [[0.9, 0.8, 0.4], [0.3]]
    samples = [answer([1, math.nan, 0]), answer([1], trajectory=1)]
    credited = algorithm.credit(samples, {})
    own = [logits(*each) for each in chances]
    whole = float(algorithm.loss(outputs(credited, own), collate(credited)).value)
    parts = sum(
        float(algorithm.loss(outputs([s], [x]), collate([s])).value) for s, x in zip(credited, own, strict=True)
    )
    wanted = -(math.log(0.9) + math.log(0.6) + math.log(0.3)) / 3
    assert whole == pytest.approx(wanted, abs=1e-6)
    assert parts == pytest.approx(wanted, abs=1e-6)


def test_metrics_tell_where_the_first_error_is_called() -> None:
    algorithm = ProcessRewardModel()
    credited = algorithm.credit([answer([1, 1, 0]), answer([1, 0, 0], trajectory=1), answer([1, 1], trajectory=2)], {})
    own = [logits(0.9, 0.8, 0.3), logits(0.4, 0.2, 0.9), logits(0.9, 0.4)]
    metrics = algorithm.loss(outputs(credited, own), collate(credited)).metrics
    assert (metrics["steps/first_error"].total, metrics["steps/first_error"].count) == (1, 2)
    assert (metrics["steps/accuracy"].total, metrics["steps/accuracy"].count) == (5, 7)
    assert metrics["steps/right"].total / metrics["steps/right"].count == pytest.approx(5 / 7)


def test_a_logit_of_0_calls_a_step_neither_right_nor_wrong() -> None:
    credited = ProcessRewardModel().credit([answer([1, 1, 0])], {})
    metrics = ProcessRewardModel().loss(outputs(credited, [[0.5, 0.0, -2.0]]), collate(credited)).metrics
    assert (metrics["steps/accuracy"].total, metrics["steps/accuracy"].count) == (2, 3)
    assert (metrics["steps/first_error"].total, metrics["steps/first_error"].count) == (1, 1)


def test_answers_without_a_label_are_refused() -> None:
    unlabelled = replace(answer([1]), steps=None)
    for rows in ([unlabelled], [unlabelled, replace(answer([1], trajectory=1), steps=None, recorded=False)]):
        with pytest.raises(ValueError, match=f"none of the step's {len(rows)} answers has a labelled step"):
            ProcessRewardModel().credit(rows, {})


# The recipe


def test_the_recipe_builds_and_its_problems_are_right() -> None:
    run = load_recipe(RECIPES / "process.toml").run
    assert [stage.algorithm.trains for stage in run.stages] == ["policy", "nothing", "scorer", "policy"]
    for asked in run.stages[0].tasks[:50]:
        *steps, last = asked.recorded[0][0].content.split("\n")
        assert last == f"The answer is {asked.answer}"
        total = int(re.findall(r"\d+", asked.prompt[-1].content)[0])
        for step in steps:
            left, sign, right, _, result = step.split()
            assert int(left) == total
            total = int(left) + int(right) if sign == "+" else int(left) - int(right)
            assert int(result) == total >= 0
        assert str(total) == asked.answer


def test_a_recipe_whose_answers_have_no_labelled_steps_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "q", "completion": "a"}\n' * 2)
    text = (RECIPES / "process.toml").read_text().replace("additions.py", str(RECIPES / "additions.py"))
    (tmp_path / "process.toml").write_text(text.replace('rollouts = "labels"', 'file = "rows.jsonl"'))
    with pytest.raises(RecipeError, match="none of 2 tasks has such: give rows prompt, completions"):
        load_recipe(tmp_path / "process.toml")
