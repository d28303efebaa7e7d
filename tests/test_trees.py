"""Attempts that branch: what trees look like, what their branches are worth, and what each token is credited with."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import numpy as np
import pytest
from test_rollout import Letters

from togi import batch as batching
from togi.algorithms import SPO, SPO_TREE, TreePO, TreeRL, VinePPO
from togi.branch_credit import gain, segment_ends, treepo, treerl
from togi.envs import OneTurn
from togi.protocols import Sampler
from togi.rollout import Episodes
from togi.samplers import EntropyTree, Groups, LevelTree, SegmentTree, ValuedSegments, ValuedSteps
from togi.samplers.tree import ROOT, Tree, forks_of, mean_of_branches, mean_of_leaves, scored
from togi.types import Group, Ids, Limits, Message, Prompt, Question, Sample, Sampling, Score, Task, Trajectory, Turn

END = ord(".")


@dataclass
class Dreamer:
    """Writes the letters a to d, each depending on the seed and its place alone; "." ends an answer, rarely. How sure
    it is of a letter depends on all before it."""

    version: int = 0
    calls: list[list[Prompt]] = field(default_factory=list)
    keeps: list[str] = field(default_factory=list)

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Callable[[int, int], None] | None = None
    ) -> list[list[Turn]]:
        self.calls.append(list(prompts))
        return [[self._turn(prompt, seed, sampling) for seed in prompt.seeds] for prompt in prompts]

    def _turn(self, prompt: Prompt, seed: int, sampling: Sampling) -> Turn:
        ids, logp, most = (
            list(prompt.ids),
            [],
            min(sampling.max_tokens, math.inf if prompt.left is None else prompt.left),
        )
        while len(logp) < most and (not logp or ids[-1] != END):
            chance = hashlib.blake2b(f"{seed} {len(ids)}".encode(), digest_size=2).digest()
            ids.append(END if chance[0] < 20 else ord("a") + chance[1] % 4)
            logp.append(-hashlib.blake2b(repr(ids).encode(), digest_size=1).digest()[0] / 64)
        text = "".join(map(chr, ids[len(prompt.ids) :]))
        ended = bool(logp) and ids[-1] == END
        return Turn(
            prompt=prompt.ids,
            completion=tuple(ids[len(prompt.ids) :]),
            text=text,
            stop="eos" if ended else "tokens" if most < sampling.max_tokens else "length",
            logp=tuple(logp),
        )


class Chat(Letters):
    """Steps end at "d"."""

    def step_ends(self, completion: Sequence[int], separator: str) -> tuple[int, ...]:
        inner = [i for i, token in enumerate(completion[:-1]) if chr(token) == separator]
        return (*inner, len(completion) - 1)


def paid(task: Task, attempts: Sequence[Trajectory]) -> list[Score]:
    """How many of the letters are an a; one that begins with "c" cannot be scored."""
    return [
        Score(value=math.nan, status="timeout") if text[:1] == "c" else Score(value=text.count("a") / max(1, len(text)))
        for text in (attempt.turns[-1].text for attempt in attempts)
    ]


def play(max_tokens: int = 40, reward: object = paid) -> Episodes:
    chat = Chat()
    return Episodes(
        engine=Dreamer(), chat=chat, env=OneTurn, reward=reward, sampling=Sampling(max_tokens=max_tokens), seed=5
    )  # type: ignore[arg-type]


def tasks() -> Iterator[Task]:
    return (Task(id=str(i), prompt=(Message(role="user", content=f"{i} is it?"),)) for i in range(99))


def sampled(sampler: Sampler, max_tokens: int = 40, want: int = 3) -> tuple[list[Group], Episodes]:
    playing = play(max_tokens)
    return sampler(tasks(), want, playing), playing


TREES = [
    EntropyTree(n=3, forks=2, arms=2, rounds=1),
    EntropyTree(n=2, forks=1, arms=3, rounds=3),
    SegmentTree(n=9, segment=5, arms=2, first=2),
    SegmentTree(n=8, segment=7, arms=3, first=2),
    LevelTree(n=3, levels=3, segment=6),
    LevelTree(n=2, levels=4, segment=3),
    ValuedSteps(n=4, continuations=3, separator="d"),
    ValuedSegments(n=4, continuations=2, cutpoints=6, unsure=0.5),
]


def turns(group: Group) -> list[Turn]:
    return [each.turns[0] for each in group.trajectories]


@pytest.mark.parametrize("sampler", TREES, ids=repr)
def test_leaves_are_whole_attempts_with_a_log_probability_each_token(sampler: Sampler) -> None:
    groups, playing = sampled(sampler)
    engine = playing.engine
    assert isinstance(engine, Dreamer)
    for turn in (turn for group in groups for turn in turns(group)):
        assert turn.completion[-1] == END or len(turn.completion) == 40
        assert turn.stop == ("eos" if turn.completion[-1] == END else "length")
        assert "".join(map(chr, turn.completion)) == turn.text
        # What a fresh draw would have given for each prefix, whoever drew it.
        wanted = [-hashlib.blake2b(repr([*turn.prompt, *turn.completion[: i + 1]]).encode(), digest_size=1).digest()[0]
                  / 64 for i in range(len(turn.completion))]  # fmt: skip
        assert turn.logp == pytest.approx(tuple(wanted))
    assert groups == sampled(sampler)[0]
    alone = sampled(sampler, want=1)[0]
    assert alone == groups[:1]  # a tree does not depend on its neighbours


@pytest.mark.parametrize("sampler", TREES[:6], ids=repr)
def test_steps_are_what_the_leaves_behind_them_earned(sampler: Sampler) -> None:
    """By brute force: the mean over leaves that begin so, or over branches, found in what was drawn alone."""
    groups, _ = sampled(sampler)
    branched = 0
    for group in groups:
        ok = [
            (turn.completion, score)
            for turn, score in zip(turns(group), group.scores, strict=True)
            if score.status == "ok"
        ]
        for ids, score in ok:
            assert score.step_ends[-1] == len(ids) - 1
            assert score.steps[-1] == score.value
            for end, worth in zip(score.step_ends[:-1], score.steps[:-1], strict=True):
                inside = [other.value for own, other in ok if own[: end + 1] == ids[: end + 1]]
                branched += len(inside) > 1
                if not isinstance(sampler, LevelTree):
                    assert worth == pytest.approx(fmean(inside))
        if ok and not isinstance(sampler, LevelTree):
            assert group.baseline == pytest.approx(fmean(score.value for _, score in ok))
        unscored = [score for score in group.scores if score.status != "ok"]
        assert all(not score.steps for score in unscored)
    assert branched > 5


def test_an_entropy_tree_forks_where_the_policy_was_least_sure() -> None:
    [group], playing = sampled(EntropyTree(n=2, forks=2, arms=3), want=1)
    engine = playing.engine
    assert isinstance(engine, Dreamer)
    first, second = engine.calls
    assert [len(prompt.seeds) for prompt in first] == [2]
    assert [len(prompt.seeds) for prompt in second] == [3] * 4
    assert len(group.trajectories) == 2 * (1 + 2 * 3)
    chains = [turn for turn in turns(group) if turn.logp][::7]
    for number, chain in enumerate(chains):
        likely = sorted(range(1, len(chain.logp)), key=lambda at: chain.logp[at])[:2]
        begun = [(*chain.prompt, *chain.completion[:at]) for at in likely]
        assert [prompt.ids for prompt in second[2 * number : 2 * number + 2]] == begun


def test_later_rounds_fork_branches_too_and_nowhere_twice() -> None:
    [group], playing = sampled(EntropyTree(n=1, forks=2, arms=2, rounds=4), want=1)
    engine = playing.engine
    assert isinstance(engine, Dreamer)
    asked = [prompt.ids for call in engine.calls for prompt in call]
    assert len(asked) == len(set(asked)) == 1 + 2 * 4
    chain = turns(group)[0]
    assert any(ids != (*chain.prompt, *chain.completion)[: len(ids)] for ids in asked)
    assert len(group.trajectories) == 1 + 2 * 2 * 4


@pytest.mark.parametrize("sampler", TREES[2:4], ids=repr)
def test_a_segment_tree_has_its_leaves_and_branches_at_ends_of_segments_alone(sampler: SegmentTree) -> None:
    groups, playing = sampled(sampler)
    engine = playing.engine
    assert isinstance(engine, Dreamer)
    assert [len(group.trajectories) for group in groups] == [sampler.n] * 3
    for group in groups:
        for score in group.scores:
            assert all((end + 1) % sampler.segment == 0 for end in score.step_ends[:-1])
    begun = [len(prompt.ids) - len("0 is it?") for call in engine.calls for prompt in call]
    assert all(length % sampler.segment == 0 for length in begun)
    assert max(len(prompt.seeds) for call in engine.calls for prompt in call if prompt.begun) == sampler.arms
    # No token is drawn twice: what stands in several leaves was drawn once.
    assert playing.counts["tree/shared"] > 0.1


def test_where_all_have_ended_branches_grow_from_what_there_is() -> None:
    """Answers of one token have no end of a segment inside: the rest are new attempts."""

    def of_one(self: Dreamer, prompt: Prompt, seed: int, sampling: Sampling) -> Turn:
        return Turn(prompt=prompt.ids, completion=(END,), text=".", stop="eos", logp=(-1.0,))

    playing = play()
    playing.engine._turn = of_one.__get__(playing.engine)  # type: ignore[attr-defined]
    [group] = SegmentTree(n=6, segment=4)(tasks(), 1, playing)
    assert len(group.trajectories) == 6
    assert [(score.steps, group.baseline) for score in group.scores] == [((0.0,), 0.0)] * 6


def test_a_level_tree_branches_so_often_on_each_level() -> None:
    """An answer that ends early is one branch of its parent, whatever the others became."""
    groups, _ = sampled(LevelTree(n=3, levels=3, segment=6))
    sizes = set()
    for group in groups:
        by_first = Counter(turn.completion[:6] for turn in turns(group) if len(turn.completion) > 6)
        ended = sum(len(turn.completion) <= 6 for turn in turns(group))
        assert ended + len(by_first) == 3
        for begun in by_first:
            own = [turn for turn in turns(group) if turn.completion[:6] == begun]
            second = Counter(turn.completion[:12] for turn in own if len(turn.completion) > 12)
            assert all(count == 3 for count in second.values())
            assert sum(len(turn.completion) <= 12 for turn in own) + len(second) == 3
        sizes.add(len(group.trajectories))
    assert max(sizes) > 9


def test_branches_that_draw_the_same_are_one_and_count_as_often() -> None:
    tree = Tree(task=next(tasks()), drawn={ROOT: [(1,), (1,), (2, 9)], (1,): [(1, 3), (1, 3), (1, 4), (1, 5)]})
    for ids in [(2, 9), (1, 3), (1, 3), (1, 4), (1, 5)]:
        turn = Turn(prompt=(7,), completion=ids, text="", stop="eos", logp=(-1.0,) * len(ids))
        tree.leaves.append(Trajectory(turns=(turn,), stop="eos"))
    scores = [Score(value=value) for value in (1.0, 1.0, 1.0, 0.0, 0.0)]
    assert tree.tokens == 1 + 1 + 2 + 4
    worth = {ROOT: 2 / 3, (1,): 0.5, (2, 9): 1.0, (1, 3): 1.0, (1, 4): 0.0, (1, 5): 0.0}
    assert mean_of_branches(tree, scores) == pytest.approx(worth)
    tree.forks.add((1,))
    assert mean_of_leaves(tree, scores) == pytest.approx({ROOT: 0.6, (1,): 0.5})
    lost = [Score(value=math.nan, status="error"), *scores[1:]]
    assert mean_of_branches(tree, lost)[ROOT] == 0.5
    assert [forks_of(tree, leaf) for leaf in tree.leaves] == [[]] + [[(1,)]] * 4


# What becomes of beginnings


@pytest.mark.parametrize("sampler", TREES[6:], ids=repr)
def test_beginnings_are_worth_what_becomes_of_them(sampler: ValuedSteps | ValuedSegments) -> None:
    groups, playing = sampled(sampler)
    further = replace(playing, _played={}).at(0)
    for group in groups:
        further.attempts([Question(task=group.task, attempts=sampler.n)])  # whose seeds come first
        wanted = {}
        for turn, score in zip(turns(group), group.scores, strict=True):
            for end in (-1, *score.step_ends[:-1]):
                begun = turn.completion[: end + 1]
                if begun not in wanted:
                    again = Question(task=group.task, attempts=sampler.continuations, beginning=begun)
                    wanted[begun] = [s.value for s in further([again])[0].scores if s.status == "ok"]
        assert group.baseline == (pytest.approx(fmean(wanted[ROOT])) if wanted[ROOT] else None)
        for turn, score in zip(turns(group), group.scores, strict=True):
            if score.status == "ok":
                assert score.steps[-1] == score.value
                for end, worth in zip(score.step_ends[:-1], score.steps, strict=False):
                    assert worth == pytest.approx(fmean(wanted[turn.completion[: end + 1]]))
    assert playing.counts["values/steps"] > 2
    assert playing.counts["values/tokens"] > 20
    assert all(len(group.trajectories) == sampler.n for group in groups)


def test_a_beginning_whose_continuations_have_no_score_ends_no_step() -> None:
    def only_first(task: Task, attempts: Sequence[Trajectory]) -> list[Score]:
        lost = Score(value=math.nan, status="timeout")
        return [Score(value=1.0) if len(attempts) == 4 else lost for _ in attempts]

    playing = play(reward=only_first)
    [group] = ValuedSteps(n=4, continuations=3, separator="d")(tasks(), 1, playing)
    assert group.baseline is None
    assert all(score.steps == (1.0,) for score in group.scores)
    credited = VinePPO(kl=0, whiten=False).credit(batching.samples([group]), {})
    assert not any(sample.advantage.any() for sample in credited if sample.advantage is not None)


# By hand: root -> A {1, 0}, root -> B {1, 1, 0}

LEAVES: Mapping[Ids, float] = {(1, 1, 1): 1, (1, 2): 0, (2, 2, 1): 1, (2, 2, 2): 1, (2, 2, 3): 0}


class Given:
    """A play that scores leaves as they are told."""

    def __init__(self) -> None:
        self.counts: dict[str, float] = {}

    def scored(self, asked: Sequence[tuple[Task, Sequence[Trajectory]]]) -> list[Group]:
        return [
            Group(
                task=task,
                trajectories=tuple(leaves),
                scores=tuple(Score(value=LEAVES[leaf.turns[0].completion]) for leaf in leaves),
            )
            for task, leaves in asked
        ]


def fixture(worth: Callable[..., Mapping[Ids, float]] = mean_of_leaves, logp: float = -1.0) -> list[Sample]:
    tree = Tree(task=next(tasks()), forks={(1,), (2, 2)})
    tree.drawn = {ROOT: [(1,), (2, 2)], (1,): list(LEAVES)[:2], (2, 2): list(LEAVES)[2:]}
    for ids in LEAVES:
        turn = Turn(prompt=(8, 9), completion=ids, text="", stop="eos", logp=(logp,) * len(ids))
        tree.leaves.append(Trajectory(turns=(turn,), stop="eos"))
    return batching.samples(scored([tree], Given(), worth))  # type: ignore[arg-type]


def advantages(samples: Sequence[Sample]) -> list[list[float]]:
    found = []
    for sample in samples:
        assert sample.advantage is not None
        found.append(sample.advantage[2:].tolist())
    return found


def test_treerl_by_hand() -> None:
    a, b = -0.141421, 0.07698
    wanted = [[a, 0.9, 0.9], [a, -1.1], [b, b, 0.733333], [b, b, 0.733333], [b, b, -1.26667]]
    for got, want in zip(advantages(TreeRL(kl=0).credit(fixture(), {})), wanted, strict=True):
        assert got == pytest.approx(want, abs=1e-5)


@pytest.mark.parametrize(
    ("weighting", "wanted"),
    [
        ("equal", [0.45, -0.55, 0.366667, 0.366667, -0.633333]),
        ("leaves", [0.428571, -0.571429, 0.375, 0.375, -0.625]),
    ],
)
def test_treepo_by_hand(weighting: str, wanted: list[float]) -> None:
    plain = advantages(TreePO(weighting=weighting, whiten=False).credit(fixture(), {}))  # type: ignore[arg-type]
    assert plain == [[pytest.approx(each, abs=1e-6)] * len(ids) for each, ids in zip(wanted, LEAVES, strict=True)]
    white = np.concatenate(advantages(TreePO(weighting=weighting).credit(fixture(), {})))  # type: ignore[arg-type]
    tokens = np.concatenate(plain)
    assert white == pytest.approx((tokens - tokens.mean()) / np.sqrt(tokens.var(ddof=1) + 1e-8), abs=1e-6)


def test_spo_tree_by_hand_each_token_once() -> None:
    samples = fixture(mean_of_branches)
    assert samples[0].baseline == pytest.approx(0.583333, abs=1e-6)
    credited = SPO_TREE.credit(samples, {})
    wanted = [[-0.083333, 0.5, 0.5], [0.0, -0.5], [0.083333, 0.083333, 1 / 3], [0, 0, 1 / 3], [0, 0, -0.666667]]
    for got, want in zip(advantages(credited), wanted, strict=True):
        assert got == pytest.approx(want, abs=1e-5)
    learned = [ids for sample in credited for t in np.flatnonzero(sample.mask) for ids in [tuple(sample.ids[: t + 1])]]
    assert len(learned) == len(set(learned)) == 9
    assert {sample.weight for sample in credited} == {1 / 9}
    assert not any(sample.mask.any() for sample in SPO_TREE.credit(fixture(mean_of_branches, logp=math.log(0.9)), {}))


def test_vineppo_by_hand() -> None:
    turn = Turn(prompt=(8,), completion=(1, 2, 3, 4, 5), text="", stop="eos", logp=(-1.0,) * 5)
    score = Score(value=1.0, steps=(6 / 9, 3 / 9, 1.0), step_ends=(1, 2, 4))
    group = Group(
        task=next(tasks()), trajectories=(Trajectory(turns=(turn,), stop="eos"),), scores=(score,), baseline=4 / 9
    )
    [sample] = VinePPO(kl=0, whiten=False).credit(batching.samples([group]), {})
    assert sample.advantage is not None
    assert sample.advantage.tolist() == pytest.approx([0, 2 / 9, 2 / 9, -1 / 3, 2 / 3, 2 / 3], abs=1e-6)
    white = VinePPO(kl=0).credit(batching.samples([group]), {})[0].advantage
    assert white is not None
    assert white[1:].mean() == pytest.approx(0, abs=1e-6)


def test_segments_end_with_every_so_manieth_unsure_token() -> None:
    chance = [0.95, 0.5, 0.99, 0.3, 0.97, 0.92, 0.4, 0.91, 0.2, 0.9]
    logp = np.log(chance)
    assert segment_ends(logp, cutpoints=2, unsure=0.9) == [3]
    assert segment_ends(logp, cutpoints=1, unsure=0.9) == [1, 3, 6]
    assert segment_ends(logp, cutpoints=3, unsure=0.9) == [6]
    assert segment_ends(logp, cutpoints=4, unsure=0.9) == []
    assert segment_ends([], cutpoints=2, unsure=0.9) == []
    turn = Turn(prompt=(8,), completion=tuple(range(10)), text="", stop="eos", logp=tuple(logp))
    group = Group(
        task=next(tasks()),
        trajectories=(Trajectory(turns=(turn,), stop="eos"),),
        scores=(Score(value=1.0, steps=(0.25, 1.0), step_ends=(3, 9)),),
        baseline=0.5,
    )
    [sample] = SPO(kl=0).credit(batching.samples([group]), {})
    assert sample.mask[1:].tolist() == [False, True, False, True, False, False, True, False, True, False]
    assert sample.advantage is not None
    assert sample.advantage[sample.mask].tolist() == pytest.approx([-0.25, -0.25, 0.75, 0.75])


def test_a_tree_without_branches_is_a_flat_group() -> None:
    groups = Groups(6)(tasks(), 4, play())
    samples = batching.samples(groups)
    mean = {n: fmean(s.reward for s in samples if s.group == n) for n in range(4)}
    for sample, rl, po in zip(
        samples, TreeRL(kl=0).credit(samples, {}), TreePO(whiten=False).credit(samples, {}), strict=True
    ):
        centred = sample.reward - mean[sample.group]
        assert rl.advantage is not None
        assert po.advantage is not None
        assert rl.advantage[sample.mask] == pytest.approx(2 * centred, abs=1e-6)
        assert po.advantage[sample.mask] == pytest.approx(centred, abs=1e-6)


@pytest.mark.parametrize(
    ("algorithm", "sampler"),
    [(TreeRL(kl=0), TREES[1]), (TreePO(), TREES[2]), (SPO_TREE, TREES[4]), (VinePPO(kl=0), TREES[6])],
    ids=["treerl", "treepo", "spo_tree", "vineppo"],
)
def test_what_all_earn_alike_teaches_nothing(algorithm: TreeRL, sampler: Sampler) -> None:
    playing = play(reward=lambda task, attempts: [Score(value=0.1) for _ in attempts])
    samples = algorithm.credit(batching.samples(sampler(tasks(), 3, playing)), {})
    assert samples
    assert not any(sample.advantage.any() for sample in samples if sample.advantage is not None)


def test_pure_credit_at_its_edges() -> None:
    assert treepo(1.0, [0.5], [1]) == 0.0  # nobody to compare with
    assert treepo(1.0, [0.5, 1.0], [4, 1]) == 0.5
    assert gain([1 / 3, 1.0], [1 / 3 + 1e-8, 0.5]).tolist() == [0.0, 0.5]
    assert treerl([0.5], [0.25], [0.0], [4]).tolist() == [0.375]


# Learning


@pytest.mark.parametrize("sampler", TREES[:6], ids=repr)
def test_learning_lays_a_trunk_out_once(sampler: Sampler) -> None:
    from togi.models.trie import packed_length  # which needs torch, as nothing else here

    groups, playing = sampled(sampler, max_tokens=200)
    everyone = [
        replace(group, scores=tuple(replace(s, status="ok", value=1.0) for s in group.scores)) for group in groups
    ]
    for group in everyone:
        samples = batching.samples([group])
        flat = len(samples[0].ids) - len(turns(group)[0].completion) + sum(len(t.completion) for t in turns(group))
        prefixes = {tuple(s.ids[: t + 1].tolist()) for s in samples for t in range(len(s.ids))}
        assert packed_length(samples) == len(prefixes)
        assert packed_length(samples) < flat
    assert playing.counts["tree/leaves"] == fmean(len(group.trajectories) for group in groups)


# What is refused


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: EntropyTree(n=0), "attempts must be at least 1, got 0"),
        (lambda: EntropyTree(arms=0), "arms must be at least 1, got 0"),
        (lambda: SegmentTree(arms=1), "with arms = 1 nothing branches: take 2 or more, or grpo"),
        (lambda: SegmentTree(n=1), "at least 2 leaves, got attempts = 1"),
        (lambda: SegmentTree(n=4, first=5), "first is between 1 and the 4 attempts, got 5"),
        (lambda: SegmentTree(segment=0), "a segment has at least 1 token, got 0"),
        (lambda: LevelTree(n=1), "with attempts = 1 nothing branches"),
        (lambda: LevelTree(levels=1), "levels must be at least 2, got 1"),
        (lambda: LevelTree(n=20, levels=4), "160,000 leaves a task, wanted at most 4,096: take fewer attempts than 20"),
        (lambda: LevelTree(n=2, levels=10_000), "levels must be at most 12, got 10000"),
        (lambda: EntropyTree(forks=100, rounds=100), "120,006 leaves a task, wanted at most 4,096"),
        (lambda: ValuedSteps(continuations=0), "must be at least 1, got 8 and 0"),
        (lambda: ValuedSteps(separator=""), "separator that is not empty"),
        (lambda: ValuedSegments(cutpoints=0), "at least 1 cutpoint, got 0"),
        (lambda: ValuedSegments(unsure=0), "a probability above 0, got 0"),
        (lambda: SPO(learn_below=0), "learn_below is a probability above 0, got 0"),
        (lambda: TreeRL(kl=0.1, kl_estimator="k1", kl_place="reward"), 'set kl_place = "loss"'),
    ],
)
def test_a_tree_that_cannot_be_is_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


def test_attempts_of_several_turns_are_refused() -> None:
    turn = Turn(prompt=(1,), completion=(2,), text="", stop="eos", logp=(-1.0,))
    tree = Tree(task=next(tasks()), leaves=[Trajectory(turns=(turn, turn), stop="eos")])
    with pytest.raises(ValueError, match="an attempt has 2 turns, and a tree branches within one"):
        scored([tree], play())


def test_a_budget_of_tokens_cuts_leaves_as_it_cuts_attempts() -> None:
    playing = replace(play(), limits=Limits(tokens=11))
    [group] = SegmentTree(n=6, segment=4)(tasks(), 1, playing)
    assert max(len(turn.completion) for turn in turns(group)) == 11
    assert {each.stop for each in group.trajectories} == {"tokens", "eos"}
