"""Trees that branch where the policy was least sure of what it drew (TreeRL). Knows no credit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from togi.protocols import Play, Sampler
from togi.samplers.group import draw
from togi.samplers.tree import Tree, check_leaves, draw_on, only_turn, scored
from togi.types import Ability, Group, Ids, Task, Trajectory, Turn

_Chain = list[tuple[int, Trajectory]]
"""An attempt from the root and all its branches, each with the number of tokens that it took over."""


@dataclass(frozen=True)
class EntropyTree(Sampler):
    """EPTree (https://arxiv.org/abs/2506.11902, section 3.1): ``n`` attempts from the prompt, and in each of ``rounds``
    each of them forks at its ``forks`` least probable tokens, from where ``arms`` further attempts go on, which draw
    that token anew. That is ``n`` (1 + ``forks`` ``arms`` ``rounds``) leaves: 30 by default.

    How unsure the policy was is read from -log p of the token that was drawn, as in the released code. In later rounds
    branches fork too. An answer's first token is no fork: all attempts differ there. Left out: the words ("answer",
    "conclusion") after which the released code lets nothing fork, and the choice of a part of the leaves.
    """

    n: int = 6
    forks: int = 2
    arms: int = 2
    rounds: int = 1

    def __post_init__(self) -> None:
        for name in ("n", "forks", "arms", "rounds"):
            if vars(self)[name] < 1:
                called = "attempts" if name == "n" else name
                raise ValueError(f"{called} must be at least 1, got {vars(self)[name]}; a flat group is grpo's")
        check_leaves(self.n * (1 + self.forks * self.arms * self.rounds), "attempts, forks, arms or rounds")

    @property
    def apart(self) -> bool:
        return True

    @property
    def asks(self) -> frozenset[Ability]:
        return frozenset({"begin"})

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        trees = [Tree(task=task) for task in draw(tasks, want)]
        with play.keeping():
            begun = draw_on(play, [(tree, tree.question(self.n)) for tree in trees])
            chains: list[tuple[Tree, _Chain]] = [
                (tree, [(0, each)]) for tree, attempts in zip(trees, begun, strict=True) for each in attempts
            ]
            for _ in range(self.rounds):
                places = [(tree, chain, *fork) for tree, chain in chains for fork in self._forks(tree, chain)]
                asked = [(tree, tree.question(self.arms, turn, at)) for tree, _, turn, at in places]
                for (tree, chain, turn, at), attempts in zip(places, draw_on(play, asked), strict=True):
                    tree.forks.add(turn.completion[:at])
                    chain.extend((at, each) for each in attempts)
        for tree, chain in chains:
            tree.leaves.extend(each for _, each in chain)
        return scored(trees, play)

    def _forks(self, tree: Tree, chain: _Chain) -> list[tuple[Turn, int]]:
        """The least probable tokens of a chain, where nothing has forked yet: a turn with one, and its place there."""
        turns = [(start, turn) for start, each in chain if (turn := only_turn(tree.task, each))]
        unlikely = sorted(
            (logp, number, at)
            for number, (start, turn) in enumerate(turns)
            for at, logp in enumerate(turn.logp)
            if at > start
        )
        found: dict[Ids, tuple[Turn, int]] = {}
        for _, number, at in unlikely:
            turn = turns[number][1]
            if len(found) < self.forks and turn.completion[:at] not in tree.forks:
                found[turn.completion[:at]] = turn, at
        return list(found.values())
