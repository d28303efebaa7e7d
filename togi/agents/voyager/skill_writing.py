"""Writing skills as an environment: a model that writes skills learns by what its skills do. It knows no library.

A row has a ``prompt``, the ``goal`` (``{"item": …, "count": …}``), the ``seed`` of its world, and the calls that were
made there ``before``. A run of Voyager leaves such rows of its own tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from togi.agents.voyager.play_skill import Limits, again, check_extra, ended_told, play
from togi.agents.voyager.skill_code import Code, CodeFault, code_of
from togi.agents.voyager.world import Goal, check_world, held_told, reached
from togi.askers.asker import Reply
from togi.find_function import resolve
from togi.types import Message, Task

TECH_TREE = "togi.agents.voyager.tech_tree:TechTree"


class SkillWriting:
    """Runs what the model wrote in a world of the row's seed, and pays 1 where the goal is reached there, and nothing
    else. A skill that fails may be written again until there were ``tries``; what it did to the world stays."""

    harmless = "def wait():\n    return None"

    def __init__(
        self, task: Task, world: str = TECH_TREE, tries: int = 1, calls: int = 200, seconds: float = 2.0
    ) -> None:
        check_extra()
        missing = [column for column in ("goal", "seed") if column not in task.info]
        if missing:
            raise ValueError(f"task {task.id}: a row of skill writing has a {missing[0]}, and this has none")
        self.task, self.tries = task, tries
        self.limits = Limits(calls=calls, seconds=seconds)
        self.world = check_world(resolve(world, Path())(int(task.info["seed"])), world)
        again(self.world, [(name, tuple(given)) for name, given in task.info.get("before", [])])
        self.goal = Goal(**task.info["goal"])
        if self.goal.item not in self.world.items:
            raise ValueError(f"the goal is {self.goal.item!r:.60}, which is no item of {world}")
        self.held = dict(self.world.held())
        self.known: Sequence[str] = task.info.get("skills", ())
        self.counts = {"tries": 0, "unreadable": 0, "calls": 0}

    def start(self) -> tuple[Message, ...]:
        return self.task.prompt

    def step(self, message: Message) -> tuple[str, float, bool]:
        self.counts["tries"] += 1
        over = self.counts["tries"] == self.tries
        try:
            code = code_of(Reply(text=message.content), self.world.calls)
        except CodeFault as fault:
            self.counts["unreadable"] += 1
            return f"This is no skill: {fault}", 0.0, over
        told = self._run(code)
        if reached(self.goal, self.held, self.world.held()):
            return "", 1.0, True
        return f"{told} There are {held_told(self.world.held())}. To do: {self.goal.told}.", 0.0, over

    def _run(self, code: Code) -> str:
        played = play(self.world, [*self.known, code.source], code.name, self.limits)
        self.counts["calls"] += len(played.calls)
        return ended_told(played, self.limits)
