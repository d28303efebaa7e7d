"""Where attempts are cut: by their turns, their tokens, the context, or as void; and what is learned of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from test_native_engine import engine_of, qwen2
from test_ppo import PLAIN, close, credited, fixture
from test_rollout import Guess, episodes, parity, task

from togi.batch import samples, trajectories
from togi.evidence.after.evaluation_summary import summary
from togi.evidence.after.play_evaluation import from_groups
from togi.protocols import Abort
from togi.records import is_truncated, rollout_metrics
from togi.samplers.group import ask
from togi.types import Limits, Message, Prompt, Sampling, Stop


class Ends(Guess):
    """Goes on for three turns, of two tokens each, and says that a limit of its own ended it."""

    cut = True


class Gone(Guess):
    def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
        super().step(message)
        raise Abort("the server is gone")


LIMITS: list[tuple[type[Guess], Limits, Stop, int]] = [
    (Guess, Limits(), "eos", 3),
    (Guess, Limits(turns=3), "eos", 3),  # what ends with its last turn was not cut
    (Guess, Limits(turns=2), "turns", 2),
    (Guess, Limits(turns=1), "turns", 1),
    (Guess, Limits(tokens=7), "eos", 3),
    (Guess, Limits(tokens=6), "eos", 3),
    (Guess, Limits(tokens=4), "tokens", 2),
    (Guess, Limits(tokens=4, turns=1), "turns", 1),
    (Ends, Limits(), "turns", 3),
    (Gone, Limits(), "abort", 1),
]


@pytest.mark.parametrize(("env", "limits", "stop", "turns"), LIMITS)
def test_an_attempt_ends_at_its_first_limit(env: type[Guess], limits: Limits, stop: Stop, turns: int) -> None:
    play = replace(episodes(env=env)[0], limits=limits)
    [group] = play(ask([task("a")], 2))
    assert [(each.stop, len(each.turns)) for each in group.trajectories] == [(stop, turns)] * 2
    assert rollout_metrics([group])[f"stop/{stop}"] == 1.0
    assert all(is_truncated(each) == (stop in ("turns", "tokens")) for each in group.trajectories)
    cut = stop in ("turns", "tokens")
    if stop != "abort":
        assert trajectories(samples([group])).truncated_S.tolist() == [cut, cut]


def test_a_void_attempt_is_not_scored_and_nobody_is_blamed() -> None:
    Guess.made = 0
    [group, other] = episodes(env=lambda of: (Gone if of.id == "a" else Guess)(of))[0](ask([task("a"), task("b")], 2))
    assert {(score.status, score.own_fault) for score in group.scores} == {("error", None)}
    assert "the server is gone" in group.scores[0].note
    assert {score.status for score in other.scores} == {"ok"}
    assert Guess.made == 4, "nothing was played again"


def test_a_turn_has_no_more_tokens_than_its_attempt_has_left() -> None:
    engine = engine_of(qwen2(), eos=())
    prompts = [Prompt(ids=(5, 6), seeds=(1,), left=left) for left in (None, 9, 5, 4, 0)]
    drawn = [turn for [turn] in engine.generate(prompts, Sampling(max_tokens=5))]
    assert [(len(turn.completion), turn.stop) for turn in drawn] == [(5, "length")] * 3 + [(4, "tokens"), (0, "tokens")]
    assert drawn[3].completion == drawn[0].completion[:4]


def test_what_was_cut_and_broke_its_environment_is_seen_as_cut() -> None:
    [group] = episodes(parity, env=Guess)[0](ask([task("a", fails_at=1)], 1))
    [broke] = group.trajectories
    assert broke.stop == "error"
    assert not is_truncated(broke)
    cut = replace(broke, turns=(replace(broke.turns[0], stop="length"),))
    assert is_truncated(cut)
    for trajectory, share in ((broke, 0.0), (cut, 1.0)):
        played = [replace(group, trajectories=(trajectory,))]
        record = from_groups(played, 1, model="base", step=0, sampling=Sampling())
        assert summary(record).truncated == share


def test_the_critic_speaks_after_the_limits_that_are_named() -> None:
    base, free = replace(PLAIN, kl=0.1), close([0.352912, 0.27675, 0.165, 0.1])
    ended = credited(base, fixture(0.0))
    for stop, after in (("turns", free), ("tokens", free), ("length", ended[0]), ("eos", ended[0])):
        choice = replace(base, truncation={"turns": "bootstrap", "tokens": "bootstrap"})
        assert credited(choice, fixture(0.0, stop)) == [after]  # type: ignore[arg-type]


@pytest.mark.parametrize("truncation", [{"turn": "bootstrap"}, {"turns": "go on"}, {"eos": "bootstrap"}])
def test_a_truncation_that_cannot_be_is_named(truncation: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="truncation has "):
        replace(PLAIN, truncation=truncation)
