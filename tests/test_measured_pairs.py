"""Held-out pairs: what is a pair, what its numbers say, and whether a reward model just likes long answers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_text import byte_level

from togi.evidence.after.measure_reward import measure_pairs, measure_reward, measure_reward_model
from togi.evidence.after.measured_pairs_file import PairRecord, PairsRecord, Scale, read_pairs, write_pairs
from togi.evidence.after.pair_agreement import Agreement, agreement, calibration, verdict
from togi.tokenization import Chat
from togi.types import Message, Sample, Score, Task, Trajectory


def task(*worth: float, name: str = "t", texts: Sequence[str] = (), **info: Any) -> Task:
    texts = texts or [f"answer {i}" for i in range(len(worth))]
    recorded = tuple((Message(role="assistant", content=text),) for text in texts)
    prompt = (Message(role="user", content="?"),)
    return Task(id=name, prompt=prompt, recorded=recorded, worth=tuple(worth), info=info)


def measured(task: Task, scores: Sequence[float | None], lengths: Sequence[int] = (3, 2, 1, 1, 1)) -> PairsRecord:
    return measure_pairs([scores], [task], [lengths[: len(scores)]], name="rm", step=7)


def pair(
    chosen: float, rejected: float, tokens: tuple[int, int] = (5, 5), *, task: str = "t", label: float = 1.0,
    truth: float | None = None,
) -> PairRecord:  # fmt: skip
    return PairRecord(
        task=task, label=label, chosen_score=chosen, rejected_score=rejected, chosen_tokens=tokens[0],
        rejected_tokens=tokens[1], truth=truth,
    )  # fmt: skip


def agreed(pairs: Sequence[PairRecord], scale: Scale = "log_odds") -> Agreement:
    return agreement(PairsRecord(name="rm", step=1, scale=scale, tasks=len(pairs), pairs=list(pairs), skipped={}))


# What is a pair ------------------------------------------------------------------------------------------------------


def test_the_answer_of_higher_worth_is_the_chosen_one() -> None:
    [found] = measured(task(0, 1), [0.3, 1.2])["pairs"]
    assert found == pair(1.2, 0.3, (2, 3))


def test_a_ranking_has_all_its_pairs() -> None:
    found = measured(task(2, 0, 1), [5.0, 6.0, 7.0])["pairs"]
    assert [(p["chosen_score"], p["rejected_score"]) for p in found] == [(5, 6), (5, 7), (7, 6)]
    assert {p["label"] for p in found} == {1.0}


def test_chances_are_soft_labels_and_other_worths_are_not() -> None:
    assert measured(task(0.3, 0.7), [0, 0])["pairs"][0]["label"] == 0.7
    assert measured(task(0.7, 0.0), [0, 0])["pairs"][0]["label"] == 1.0
    assert measured(task(5, 3), [0, 0])["pairs"][0]["label"] == 1.0
    assert [p["label"] for p in measured(task(0.5, 0.2, 0.3), [0, 0, 0])["pairs"]] == [1.0] * 3


def test_what_is_no_pair_is_counted_by_reason() -> None:
    tasks = [
        task(1, name="alone"),
        task(1, 1, name="tie"),
        task(1, 0, name="identical", texts=["same", "same"]),
        task(1, 0, name="unscored"),
        task(1, 0, name="infinite"),
        task(1, 0, name="good"),
    ]
    scores: list[list[float | None]] = [[1.0], [1.0, 2.0], [1.0, 2.0], [None, 1.0], [math.inf, 1.0], [1.0, 0.0]]
    found = measure_pairs(scores, tasks, [[1] * len(row) for row in scores], name="rm", step=0)
    assert found["skipped"] == {"alone": 1, "tie": 1, "identical": 1, "unscored": 2}
    assert ([p["task"] for p in found["pairs"]], found["tasks"]) == (["good"], 6)


def test_truth_is_the_index_of_the_best_answer() -> None:
    assert measured(task(0, 1, truth=0), [0, 0])["pairs"][0]["truth"] == 0.0
    assert measured(task(0, 1, truth=1), [0, 0])["pairs"][0]["truth"] == 1.0
    assert measured(task(0, 1), [0, 0])["pairs"][0]["truth"] is None
    assert [p["truth"] for p in measured(task(2, 1, 0, truth=1), [0, 0, 0])["pairs"]] == [0.0, None, 1.0]
    for wrong in (2, -1, "first", True):
        with pytest.raises(ValueError, match=r"task t: the column truth is the index"):
            measured(task(0, 1, truth=wrong), [0, 0])


def test_answers_that_nobody_judged_are_refused() -> None:
    bare = Task(id="t", prompt=(Message(role="user", content="?"),), recorded=task(1, 0).recorded)
    with pytest.raises(ValueError, match="nothing of the worth"):
        measured(bare, [0, 0])


# Measuring -----------------------------------------------------------------------------------------------------------


@dataclass
class Longer:
    """A reward model that likes long answers; as a reward it abstains of answers with an x."""

    def scores(self, samples: Sequence[Sample]) -> NDArray[np.float64]:
        assert all(not sample.mask[:5].any() for sample in samples), "the prompt is not part of the answer"
        return np.array([sample.mask.sum() for sample in samples], dtype=np.float64)

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        turns = [trajectory.turns[-1] for trajectory in trajectories]
        return [
            Score(value=math.nan, status="abstain") if "x" in turn.text else Score(value=float(len(turn.completion)))
            for turn in turns
        ]


def test_a_reward_model_and_a_reward_are_measured_alike() -> None:
    chat = Chat(byte_level(), frozenset({2}))
    tasks = [task(1, 0, name="a", texts=["hello there, world", "5"]), task(0.2, 0.8, name="b", texts=["hello", "x"])]
    by_model = measure_reward_model(Longer(), chat, tasks, name="rm", step=3)  # type: ignore[arg-type]
    by_reward = measure_reward(Longer(), chat, tasks, name="judge", scale="probability")
    first, second = by_model["pairs"]
    assert first["chosen_tokens"] == first["chosen_score"] > first["rejected_tokens"] == first["rejected_score"] == 2
    assert second["label"] == 0.8
    assert by_reward["pairs"] == [first]
    assert (by_reward["skipped"]["unscored"], by_reward["scale"], by_model["scale"]) == (1, "probability", "log_odds")


def test_the_file_reads_back_and_a_broken_one_is_named(tmp_path: Path) -> None:
    record = measured(task(0, 1, truth=1), [0.3, 1.2])
    path = write_pairs(tmp_path, record)
    assert path == tmp_path / "preferences" / "rm.json"
    assert read_pairs(path) == record
    with pytest.raises(ValueError, match="may not contain a path"):
        write_pairs(tmp_path, PairsRecord(**{**record, "name": "../rm"}))
    faults: list[tuple[Any, str]] = [
        ("[", "not a readable file"),
        ([], "a JSON object, got list"),
        ({"name": "rm"}, "not a readable file of pairs: it needs step, scale, tasks, pairs, skipped"),
        ({**record, "scale": "metres"}, "log_odds or probability, got 'metres'"),
        ({**record, "pairs": [{"task": "t"}]}, "pair 0 needs task, label"),
        ({**record, "pairs": [{**record["pairs"][0], "label": None}]}, "pair 0 needs a number"),
        ({**record, "pairs": 3}, "a list of pairs"),
    ]
    for content, says in faults:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        with pytest.raises(ValueError, match=says):
            read_pairs(path)


# Accuracy and calibration --------------------------------------------------------------------------------------------


def test_accuracy_counts_ties_half_and_tasks_alike() -> None:
    pairs = [pair(1, 0, task="a"), pair(0, 1, task="a"), pair(1, 0, task="b"), pair(2, 2, task="c")]
    found = agreed(pairs).accuracy
    assert found is not None
    assert found.point == pytest.approx((0.5 + 1 + 0.5) / 3)
    assert 0 <= found.low < found.point < found.high <= 1


def test_pairs_of_one_task_do_not_make_the_interval_narrower() -> None:
    once = [pair(float(i % 3 > 0), 0.5, task=str(i)) for i in range(30)]
    alone, many = agreed(once).accuracy, agreed(once * 5).accuracy
    assert alone is not None
    assert many is not None
    assert (many.low, many.high) == pytest.approx((alone.low, alone.high))


def test_full_agreement_still_has_an_interval() -> None:
    found = agreed([pair(1, 0, task=str(i)) for i in range(20)]).accuracy
    assert found is not None
    assert (found.point, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(0.8389, abs=1e-4)


def test_truth_and_noise_are_counted_where_they_are_known() -> None:
    pairs = [
        pair(1, 0, task="a", truth=1.0),
        pair(1, 0, task="b", truth=0.0),
        pair(0, 1, task="c", truth=0.0),
        pair(1, 0, task="d"),
    ]
    found = agreed(pairs)
    assert found.accuracy is not None
    assert found.truth is not None
    assert found.noise is not None
    assert (found.accuracy.point, found.truth.point, found.noise.point) == pytest.approx((0.75, 2 / 3, 2 / 3))
    assert agreed(pairs[3:]).truth is None


def test_calibration_by_hand() -> None:
    odds = math.log(0.8 / 0.2)
    found = calibration([odds, -odds, odds, 0.0], [1, 1, 1, 1])
    [even, sure] = found.bins
    assert (even.pairs, even.predicted, even.observed, even.low, even.high) == (1, 0.5, 0.5, 0.5, 0.55)
    assert (sure.pairs, sure.predicted, sure.observed) == pytest.approx((3, 0.8, 2 / 3))
    assert found.error == pytest.approx(3 / 4 * (0.8 - 2 / 3))
    assert found.brier == pytest.approx((0.04 + 0.64 + 0.04 + 0.25) / 4)
    assert found.log_loss == pytest.approx(-(2 * math.log(0.8) + math.log(0.2) + math.log(0.5)) / 4)
    assert found.floor == 0


def test_soft_labels_are_met_exactly_by_their_own_log_odds() -> None:
    odds = [math.log(0.7 / 0.3), math.log(0.1 / 0.9)]
    found = calibration(odds, [0.7, 0.1])
    assert found.error == pytest.approx(0, abs=1e-12)
    assert found.brier == pytest.approx(0, abs=1e-12)
    assert found.log_loss == pytest.approx(found.floor)
    assert calibration([0.5], [0.642696]).log_loss == pytest.approx(0.652729, rel=1e-5)


def test_which_answer_stands_first_changes_no_calibration() -> None:
    rng = np.random.default_rng(0)
    odds, label = rng.normal(size=50), rng.random(50)
    turned = rng.random(50) < 0.5
    one, other = (
        calibration(odds, label),
        calibration(np.where(turned, -odds, odds), np.where(turned, 1 - label, label)),
    )
    for name in ("error", "brier", "log_loss", "floor"):
        assert vars(one)[name] == pytest.approx(vars(other)[name])


def test_a_calibrated_scorer_is_found_calibrated_and_a_loud_one_is_not() -> None:
    rng = np.random.default_rng(1)
    odds = rng.normal(0, 2, 20_000)
    label = (rng.random(20_000) < 1 / (1 + np.exp(-odds))).astype(float)
    assert calibration(odds, label).error < 0.01
    assert calibration(5 * odds, label).error > 0.1
    assert calibration(5 * odds, label).log_loss > calibration(odds, label).log_loss


def test_a_judge_s_scores_are_chances_already() -> None:
    found = agreed([pair(0.8, 0.2), pair(1.0, 0.0, task="u")], "probability").calibration
    assert found is not None
    assert [each.predicted for each in found.bins] == pytest.approx([0.8, 1.0], abs=1e-5)
    assert math.isfinite(found.log_loss)


# Length --------------------------------------------------------------------------------------------------------------


def judged(by: str, count: int = 60, seed: int = 0) -> Agreement:
    """Pairs whose better answer is longer as often as shorter, scored by length, by worth, or by both."""
    rng, pairs = np.random.default_rng(seed), []
    for number in range(count):
        lengths = (30, 10) if number % 2 else (10, 30)
        long, worth = np.sign(lengths[0] - lengths[1]), 1.0
        margin = {"length": long, "brevity": -long, "worth": worth, "both": 0.5 * worth + 0.45 * long}[by]
        pairs.append(pair(float(margin + 0.4 * rng.normal()), 0.0, lengths, task=str(number)))
    return agreed(pairs)


def test_the_rule_that_the_longer_answer_wins() -> None:
    pairs = [pair(1, 0, (9, 3), task="a"), pair(1, 0, (3, 9), task="b"), pair(0, 1, (5, 5), task="c")]
    found = agreed(pairs).length
    assert found is not None
    assert found.pairs == {"longer": 1, "shorter": 1, "equal": 1}
    assert found.rule.point == 0.5
    assert found.gain.point == pytest.approx(2 / 3 - 0.5)
    assert found.favours_longer is not None
    assert found.favours_longer.point == 0.5
    assert found.correlation == pytest.approx(0.0)
    assert found.equal is not None
    assert found.equal.point == 0.0


def test_correlation_is_that_of_centred_scores_and_lengths() -> None:
    rng = np.random.default_rng(2)
    scores, lengths = rng.normal(size=(12, 2)), rng.integers(1, 50, (12, 2))
    pairs = [
        pair(float(s[0]), float(s[1]), (int(n[0]), int(n[1])), task=str(i))
        for i, (s, n) in enumerate(zip(scores, lengths, strict=True))
    ]
    centred = [x - x.mean(axis=1, keepdims=True) for x in (scores, lengths)]
    found = agreed(pairs).length
    assert found is not None
    assert found.correlation == pytest.approx(np.corrcoef(centred[0].ravel(), centred[1].ravel())[0, 1])


@pytest.mark.parametrize(
    ("by", "says"),
    [
        ("length", "It pays for long answers and for little else"),
        ("brevity", "It pays for short answers and for little else"),
        ("both", "It prefers long answers too much"),
        ("worth", "Length does not decide its choices: right in"),
    ],
)
def test_the_verdict_says_whether_length_decides(by: str, says: str) -> None:
    assert says in verdict(judged(by))[-1]


def test_a_scorer_no_better_than_the_rule_is_told_so() -> None:
    rng = np.random.default_rng(5)
    pairs = [pair(float(rng.normal(0.8)), 0.0, (30, 10) if i % 4 else (10, 30), task=str(i)) for i in range(80)]
    assert "not surely better than a rule that looks at length alone" in verdict(agreed(pairs))[-1]


def test_the_verdict_says_what_cannot_be_said() -> None:
    assert verdict(agreed([])) == ("No held-out pair could be measured.",)
    one_sided = [pair(1, 0, (30, 10), task=str(i)) for i in range(40)]
    assert "In only 0 pairs is the preferred answer the shorter one" in verdict(agreed(one_sided))[-1]
    assert "one task only" in verdict(agreed([pair(1, 0), pair(0, 1)]))[0]


def test_the_verdict_speaks_of_chance_truth_and_swapped_labels() -> None:
    even = [pair(float(i % 2), 0.5, task=str(i), truth=1.0) for i in range(40)]
    assert "Guessing might do as well." in verdict(agreed(even))
    assert verdict(agreed(even))[2].startswith("Against the truth it is right in 50%")
    swapped = verdict(agreed([pair(0, 1, task=str(i)) for i in range(40)]))
    assert swapped[0].startswith("It scores the preferred answer higher in 0%")
    assert swapped[1] == "That is worse than guessing: are chosen and rejected swapped?"
