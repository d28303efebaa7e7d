"""A tree of attempts at one task, and what its branches turned out to be worth. Knows trajectories, scores and a Play;
it does not know where a tree is to branch, nor what is made of the values.

A branch is known by the tokens up to its end, so that branches which happen to draw the same tokens are one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from togi.protocols import Play
from togi.types import Group, Ids, Question, Sampling, Score, Task, Trajectory, Turn

ROOT: Ids = ()
"""What all attempts have in common: the end of the prompt."""
MOST_LEAVES = 4096


def check_leaves(count: int, fewer: str) -> None:
    """Raises ValueError for more leaves than a tree may have; ``fewer`` says of what there should be less."""
    if count > MOST_LEAVES:
        raise ValueError(f"that makes {count:,} leaves a task, wanted at most {MOST_LEAVES:,}: take fewer {fewer}")


@dataclass
class Tree:
    """``leaves`` are whole attempts, ``forks`` the beginnings that several of them went on from, but for the root.
    ``drawn`` has for each beginning that was gone on from what each draw made of it."""

    task: Task
    leaves: list[Trajectory] = field(default_factory=list)
    forks: set[Ids] = field(default_factory=set)
    drawn: dict[Ids, list[Ids]] = field(default_factory=dict)

    @property
    def tokens(self) -> int:
        """How many tokens were drawn for it."""
        return sum(len(ids) - len(begun) for begun, all_ids in self.drawn.items() for ids in all_ids)

    def question(
        self, attempts: int, turn: Turn | None = None, length: int = 0, sampling: Sampling | None = None
    ) -> Question:
        """Attempts that go on from the first so many tokens of a turn, or from the root."""
        begun, logp = (turn.completion[:length], turn.logp[:length]) if turn else (ROOT, ())
        return Question(task=self.task, attempts=attempts, beginning=begun, logp=logp, sampling=sampling)


Worth = Callable[[Tree, Sequence[Score]], Mapping[Ids, float]]
"""The value of the root and of each fork of a tree, from the scores of its leaves; what nobody could tell is absent."""


def draw_on(play: Play, asked: Sequence[tuple[Tree, Question]]) -> list[tuple[Trajectory, ...]]:
    """The attempts at each question of a tree, which notes them."""
    played = play.attempts([question for _, question in asked])
    for (tree, question), attempts in zip(asked, played, strict=True):
        turns = [turn for each in attempts if (turn := only_turn(tree.task, each))]
        tree.drawn.setdefault(question.beginning, []).extend(turn.completion for turn in turns)
    return played


def only_turn(task: Task, attempt: Trajectory) -> Turn | None:
    """The turn of an attempt, None where it failed before any. Raises ValueError for several."""
    if len(attempt.turns) > 1:
        raise ValueError(
            f"task {task.id}: an attempt has {len(attempt.turns)} turns, and a tree branches within one: take an "
            "environment that answers once, or compare turns with gigpo"
        )
    return attempt.turns[0] if attempt.turns else None


def mean_of_leaves(tree: Tree, scores: Sequence[Score]) -> dict[Ids, float]:
    """A branch is worth the mean of the leaves that begin with it."""
    rewards: dict[Ids, list[float]] = {}
    for leaf, score in zip(tree.leaves, scores, strict=True):
        if score.status == "ok":
            for fork in (ROOT, *forks_of(tree, leaf)):
                rewards.setdefault(fork, []).append(score.value)
    return {fork: fmean(each) for fork, each in rewards.items()}


def mean_of_branches(tree: Tree, scores: Sequence[Score]) -> dict[Ids, float]:
    """A branch is worth the mean of those that were drawn after it, each as often as it was drawn."""
    rewards: dict[Ids, list[float]] = {}
    for leaf, score in zip(tree.leaves, scores, strict=True):
        turn = only_turn(tree.task, leaf)
        if score.status == "ok" and turn:
            rewards.setdefault(turn.completion, []).append(score.value)
    worth = {ids: fmean(each) for ids, each in rewards.items()}
    for begun in sorted(tree.drawn, key=len, reverse=True):
        known = [worth[ids] for ids in tree.drawn[begun] if ids in worth]
        if known:
            worth[begun] = fmean(known)
    return worth


def forks_of(tree: Tree, leaf: Trajectory) -> list[Ids]:
    """The forks that a leaf went through, from the root on."""
    turn = only_turn(tree.task, leaf)
    if turn is None:
        return []
    lengths = sorted({len(fork) for fork in tree.forks if len(fork) < len(turn.completion)})
    return [begun for length in lengths if (begun := turn.completion[:length]) in tree.forks]


def scored(trees: Sequence[Tree], play: Play, worth: Worth = mean_of_leaves) -> list[Group]:
    """Each tree as a group of its leaves. A score's ``steps`` are what the branches on the way to the leaf are worth,
    the leaf's own reward the last one; the group's ``baseline`` is the root's worth.

    Left in ``play.counts``: ``tree/leaves`` and ``tree/forks`` (a task), and ``tree/shared``, the share of the leaves'
    tokens that did not have to be drawn, since they stand in several.
    """
    groups = play.scored([(tree.task, tree.leaves) for tree in trees])
    valued = [_valued(tree, group, worth(tree, group.scores)) for tree, group in zip(trees, groups, strict=True)]
    play.counts.update(_counts(trees))
    return valued


def _counts(trees: Sequence[Tree]) -> dict[str, float]:
    lengths = [len(turn.completion) for tree in trees for each in tree.leaves for turn in each.turns]
    return {
        "tree/leaves": fmean(len(tree.leaves) for tree in trees),
        "tree/forks": fmean(len(tree.forks) for tree in trees),
        "tree/shared": 1 - sum(tree.tokens for tree in trees) / max(1, sum(lengths)),
    }


def _valued(tree: Tree, group: Group, worth: Mapping[Ids, float]) -> Group:
    scores = []
    for leaf, score in zip(tree.leaves, group.scores, strict=True):
        turn = only_turn(tree.task, leaf)
        if score.status == "ok" and turn and turn.completion:
            forks = [fork for fork in forks_of(tree, leaf) if fork in worth]
            ends = (*(len(fork) - 1 for fork in forks), len(turn.completion) - 1)
            score = replace(score, steps=(*(worth[fork] for fork in forks), score.value), step_ends=ends)
        scores.append(score)
    return replace(group, scores=tuple(scores), baseline=worth.get(ROOT))
