"""Trees that branch after every so many tokens, with a fixed number of leaves (TreePO) or of levels (SPO). They know
no credit.

Attempts are drawn a segment at a time, and one that was only cut there goes on. Those that happen to have drawn the
same tokens go on as one, that counts as often.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from togi.protocols import Play, Sampler
from togi.samplers.group import draw
from togi.samplers.tree import Tree, check_leaves, draw_on, mean_of_branches, only_turn, scored
from togi.types import Ability, Group, Ids, Question, Sampling, Task, Trajectory, Turn

MOST_LEVELS = 12  # of 2 branches each, which make all the leaves that a tree may have


@dataclass
class _Growing:
    """A tree with the attempts that were cut at the end of a segment, and how many of each there are."""

    tree: Tree
    cut: dict[Ids, Turn] = field(default_factory=dict)
    times: Counter[Ids] = field(default_factory=Counter)

    def take(self, attempts: Sequence[Trajectory], most: int) -> None:
        """Sort what was drawn into what goes on, having fewer tokens than an answer may, and leaves."""
        for each in attempts:
            turn = only_turn(self.tree.task, each)
            if turn and each.stop == "length" and len(turn.completion) < most:
                self.cut[turn.completion] = turn
                self.times[turn.completion] += 1
            else:
                self.tree.leaves.append(each)

    def harvest(self) -> list[tuple[Turn, int]]:
        """The attempts that go on, which are no more waited for, and how many of each there were."""
        ready = [(turn, self.times[ids]) for ids, turn in self.cut.items()]
        self.cut, self.times = {}, Counter()
        return ready


@dataclass(frozen=True)
class SegmentTree(Sampler):
    """TreePO (https://arxiv.org/abs/2508.17445, section 2.2): ``n`` leaves. ``first`` attempts begin; at the end of
    each ``segment`` of tokens every one that has not ended goes on in ``arms`` branches, as long as that does not make
    more than ``n``. Where all have ended before, branches grow from the ends of their segments, chosen by chance.

    The chance depends on the task and on what was drawn alone. Left out: a draw of ``first`` for each task (the paper's
    is between 2 and 8), and what ends an attempt early that repeats itself.
    """

    n: int = 16
    segment: int = 512
    arms: int = 2
    first: int = 2

    def __post_init__(self) -> None:
        _check_segments(self.segment, self.arms, "arms")
        if self.n < 2:
            raise ValueError(f"a tree has at least 2 leaves, got attempts = {self.n}")
        if not 1 <= self.first <= self.n:
            raise ValueError(f"first is between 1 and the {self.n} attempts, got {self.first}")

    @property
    def apart(self) -> bool:
        return True

    @property
    def asks(self) -> frozenset[Ability]:
        return frozenset({"begin"})

    @property
    def last_fork(self) -> int:
        return self.segment

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        growing = [_Growing(Tree(task=task)) for task in draw(tasks, want)]
        with play.keeping():
            while asked := [(each, question) for each in growing for question in self._questions(each, play.sampling)]:
                _grow(asked, play)
        return scored([each.tree for each in growing], play)

    def _questions(self, growing: _Growing, sampling: Sampling) -> list[Question]:
        """What comes next of a tree; nothing of one that has its leaves."""
        tree, ready = growing.tree, growing.harvest()
        room = self.n - len(tree.leaves) - sum(times for _, times in ready)
        if not ready and not tree.leaves:
            return [self._question(tree, min(self.first, room), sampling)]
        questions = []
        for turn, times in ready:
            more = min(room, times * (self.arms - 1))
            room -= more
            questions.append(self._question(tree, times + more, sampling, turn, len(turn.completion)))
        if not ready and room:
            for old, length in self._old(tree, -(-room // self.arms)):
                arms = min(room, self.arms) if old else room
                room -= arms
                questions.append(self._question(tree, arms, sampling, old, length))
        return questions

    def _question(
        self, tree: Tree, attempts: int, sampling: Sampling, turn: Turn | None = None, length: int = 0
    ) -> Question:
        most = min(length + self.segment, sampling.max_tokens)
        if turn and (attempts > 1 or length < len(turn.completion)):
            tree.forks.add(turn.completion[:length])
        return tree.question(attempts, turn, length, replace(sampling, max_tokens=most))

    def _old(self, tree: Tree, count: int) -> list[tuple[Turn | None, int]]:
        """Ends of segments in the leaves, at most so many, by chance; the root where there are none."""
        turns = [turn for each in tree.leaves if (turn := only_turn(tree.task, each))]
        ends = {
            turn.completion[:end]: (turn, end)
            for turn in turns
            for end in range(self.segment, len(turn.completion), self.segment)
        }
        if not ends:
            return [(None, 0)]
        places = list(ends.values())
        chosen = np.random.default_rng(_seed(tree)).choice(len(places), min(count, len(places)), replace=False)
        return [places[i] for i in chosen]


@dataclass(frozen=True)
class LevelTree(Sampler):
    """SPO's tree (https://arxiv.org/abs/2505.23564, section 4.2): ``n`` branches of every branch on ``levels`` levels,
    each but the last as long as a ``segment``. That is ``n`` to the power of ``levels`` leaves where none ends early.

    A branch is worth the mean of its branches, and not of its leaves, of which one that ended early has fewer.
    """

    n: int = 6
    levels: int = 3
    segment: int = 600

    def __post_init__(self) -> None:
        _check_segments(self.segment, self.n, "attempts")
        if self.levels < 2:
            raise ValueError(
                f"levels must be at least 2, got {self.levels}; a tree of 1 is a flat group, which is grpo's"
            )
        if self.levels > MOST_LEVELS:
            raise ValueError(f"levels must be at most {MOST_LEVELS}, got {self.levels}")
        check_leaves(self.n**self.levels, f"attempts than {self.n}, or fewer levels than {self.levels}")

    @property
    def apart(self) -> bool:
        return True

    @property
    def asks(self) -> frozenset[Ability]:
        return frozenset({"begin"})

    @property
    def last_fork(self) -> int:
        return self.segment * (self.levels - 1)

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        growing = [_Growing(Tree(task=task)) for task in draw(tasks, want)]
        most = play.sampling.max_tokens
        with play.keeping():
            for level in range(1, self.levels + 1):
                length = most if level == self.levels else min(most, self.segment * level)
                asked = [
                    (each, question)
                    for each in growing
                    for question in self._questions(each, replace(play.sampling, max_tokens=length), root=level == 1)
                ]
                _grow(asked, play)
        return scored([each.tree for each in growing], play, mean_of_branches)

    def _questions(self, growing: _Growing, sampling: Sampling, *, root: bool) -> list[Question]:
        tree, ready = growing.tree, growing.harvest()
        if root:
            return [tree.question(self.n, sampling=sampling)]
        tree.forks.update(turn.completion for turn, _ in ready)
        return [tree.question(self.n * times, turn, len(turn.completion), sampling) for turn, times in ready]


def _grow(asked: Sequence[tuple[_Growing, Question]], play: Play) -> None:
    """Draw what comes next of trees."""
    drawn = draw_on(play, [(each.tree, question) for each, question in asked])
    for (each, _), attempts in zip(asked, drawn, strict=True):
        each.take(attempts, play.sampling.max_tokens)


def _check_segments(segment: int, arms: int, called: str) -> None:
    if segment < 1:
        raise ValueError(f"a segment has at least 1 token, got {segment}")
    if arms < 2:
        raise ValueError(f"with {called} = {arms} nothing branches: take 2 or more, or grpo")


def _seed(tree: Tree) -> int:
    """A number from all that the choice may depend on: the task, and what was drawn."""
    digest = hashlib.blake2b(repr(tree.task.id).encode(), digest_size=8)
    for each in tree.leaves:
        digest.update(repr([turn.completion for turn in each.turns]).encode())
    return int.from_bytes(digest.digest(), "big")
