"""Revised answers: what a model wrote after criticising itself becomes what it learns to write at once.

It knows chains of turns and a Play, and nothing of principles: the environment asks for critiques and revisions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from togi.protocols import Play, Sampler
from togi.samplers.group import ask, draw, recorded
from togi.types import CUT, Group, Message, Score, Status, Task, Trajectory

Fault = Literal["empty", "cut", "unfinished"]
_WHY: dict[Fault, str] = {
    "empty": "the revision is empty",
    "cut": "the revision ran out of tokens, and half an answer teaches to stop half-way",
    "unfinished": "the context was full before the last revision",
}


@dataclass(frozen=True)
class Revised(Sampler):
    """``n`` chains of answer, critique and revision a task; each becomes the task's own prompt with the final revision
    as a recorded answer, so that SFT learns it (Constitutional AI, https://arxiv.org/abs/2212.08073, section 3.1).

    The environment decides how long a chain is. The note of a score holds the whole chain. A chain without a usable
    revision stays in the group as it is, with status ``abstain`` (``error`` where the episode failed), and is never
    learned from. Left in ``play.counts``: ``revision/empty``, ``revision/cut`` and ``revision/unfinished`` (shares of
    all chains), ``revision/rounds_changed`` (mean over usable chains of rounds that changed the answer) and
    ``revision/unchanged`` (share of usable chains that end with the first answer's words).
    """

    n: int = 1

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"attempts must be at least 1, got {self.n}")

    @property
    def rewarded(self) -> bool:
        return False

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        """Raises ValueError when not one chain of the step has a revision to learn from."""
        drawn = draw(tasks, want)
        played = play.attempts(ask(drawn, self.n))
        everything = [chain for chains in played for chain in chains]
        faults = Counter(fault for chain in everything if (fault := fault_of(chain)))
        if faults.total() == len(everything):
            got = ", ".join(f"{count} {fault}" for fault, count in faults.most_common())
            raise ValueError(
                f"none of the step's {len(everything)} chains ended in a revision to learn from ({got}): "
                "sample more tokens, take fewer rounds, or start from a model that follows requests"
            )
        play.counts.update(_counts(everything, faults))
        groups = []
        for task, chains in zip(drawn, played, strict=True):
            pairs = [_learned(task, chain, play) for chain in chains]
            groups.append(
                Group(task=task, trajectories=tuple(t for t, _ in pairs), scores=tuple(score for _, score in pairs))
            )
        return groups


def fault_of(chain: Trajectory) -> Fault | None:
    """Why a chain has no revision to learn from; None when it has one."""
    # An environment that was not done with an episode had replied to its last turn.
    if chain.error is not None or len(chain.turns) < 3 or chain.turns[-1].replies:
        return "unfinished"
    if not chain.turns[-1].text.strip():
        return "empty"
    return "cut" if chain.turns[-1].stop in CUT else None


def _learned(task: Task, chain: Trajectory, play: Play) -> tuple[Trajectory, Score]:
    fault = fault_of(chain)
    if fault:
        status: Status = "error" if chain.error is not None else "abstain"
        # Without log-probabilities, as every attempt of such a step: nobody was paid, and metrics say no reward.
        turns = tuple(replace(turn, logp=()) for turn in chain.turns)
        return replace(chain, turns=turns), Score(value=math.nan, status=status, note=chain.error or _WHY[fault])
    answer = (Message(role="assistant", content=chain.turns[-1].text),)
    group = recorded(replace(task, recorded=(answer,), worth=()), play.chat)
    return group.trajectories[0], Score(value=0.0, note=written(chain))


def written(chain: Trajectory) -> str:
    """A chain as readable text: what the model wrote, and what it was asked between."""
    pieces = []
    for turn in chain.turns:
        pieces.append(f"[assistant] {turn.text}")
        pieces += [f"[{reply.role}] {reply.content.strip()}" for reply in turn.replies]
    return "\n".join(pieces)


def _counts(chains: Sequence[Trajectory], faults: Counter[Fault]) -> dict[str, float]:
    counts = {
        "revision/empty": faults["empty"] / len(chains),
        "revision/cut": faults["cut"] / len(chains),
        "revision/unfinished": faults["unfinished"] / len(chains),
    }
    # Answer and revisions are every other turn.
    answers = [[turn.text.strip() for turn in chain.turns[::2]] for chain in chains if not fault_of(chain)]
    changed = [sum(a != b for a, b in pairwise(each)) for each in answers]
    counts["revision/rounds_changed"] = sum(changed) / len(answers)
    counts["revision/unchanged"] = sum(each[0] == each[-1] for each in answers) / len(answers)
    return counts
