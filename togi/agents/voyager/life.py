"""The loop of Voyager: a goal is chosen, a skill is written for it and tried until the goal is reached or given up, and
what reached it is kept and can be called from then on.

A life asks by yielding what it wants to know and is sent the reply, so that whoever runs it can ask for several lives
at once. What was written down before is not asked and not run again: its calls are made once more.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace

from togi.agents.voyager.asked import (
    critic_question,
    description_of,
    description_question,
    goal_of,
    planner_question,
    skill_question,
    verdict_of,
)
from togi.agents.voyager.attempt import Attempt, Chosen, Lived
from togi.agents.voyager.library import Embed, Library, Skill
from togi.agents.voyager.play_skill import Limits, Played, again, ended_told, play
from togi.agents.voyager.schema import LifeTable
from togi.agents.voyager.skill_code import Code, CodeFault, code_of
from togi.agents.voyager.world import Goal, Make, World, reached
from togi.askers.asker import Reply, Request
from togi.run_folder.files import FolderError
from togi.types import Message

Asking = Generator[Request, Reply, None]
PLANS = 2
"""How often a planner is asked for one goal, before chance chooses."""
PER_LIFE, PER_PROMPT = 100_000, 8
"""Numbers of draws that a life has for itself, and a prompt in it with all that is asked around it."""
SKILL, CRITIC, DESCRIPTION = range(PLANS, PLANS + 3)
NEW_WORLDS = 7_000_003
"""What seeds of new worlds lie apart, so that nobody has lived there."""


class Life:
    """One life. ``known`` is what was written down of it, ``keep`` writes a further attempt down."""

    def __init__(
        self,
        lived: Lived,
        *,
        table: LifeTable,
        make: Make,
        prompts: Mapping[str, str],
        draw: Callable[[tuple[Message, ...], int], Request],
        embed: Embed,
        skills: Sequence[Skill],
        seed: int,
        known: Sequence[Attempt],
        keep: Callable[[Attempt, Skill | None], None],
    ) -> None:
        self.lived, self._table, self._make, self._prompts = lived, table, make, prompts
        self._draw, self._keep, self._known = draw, keep, known
        self._seed = seed + lived.seed
        self._limits = Limits(calls=table.calls, seconds=table.seconds, memory_mb=table.memory_mb)
        self.library = Library(embed, () if lived.arm == "no_library" else skills)
        self._world_seed = self._seed
        self._world: World = make(self._world_seed)
        self._unverified = lived.arm == "unverified" and not lived.goals
        self._number = 0
        self._done, self._failed = dict[str, None](), dict[str, None]()

    def run(self) -> Asking:
        """Live: until the prompts are used, or through the goals that were given, each in a new world."""
        if self.lived.goals:
            for place, item in enumerate(self.lived.goals, start=1):
                self._world_seed = self._seed + NEW_WORLDS * place
                self._world = self._make(self._world_seed)
                yield from self._pursue(Goal(item=item), "given", self._table.tries)
            return
        while (left := self._table.prompts - self._number) > 0:
            goal, chosen = yield from self._choose()
            yield from self._pursue(goal, chosen, min(left, self._table.tries))

    def _choose(self) -> Generator[Request, Reply, tuple[Goal, Chosen]]:
        """The next goal: the planner's, or one of all that there are by chance."""
        if self._number < len(self._known):
            return self._known[self._number].goal, self._known[self._number].chosen
        if self.lived.arm != "random_goals":
            question = planner_question(self._prompts, self._world, self._done, self._failed)
            for draw in range(PLANS):
                reply = yield self._request(question, draw)
                if (goal := goal_of(reply, self._world.items, self._table.most)) is not None:
                    return goal, "planner"
        item = random.Random(f"{self._seed} {self._number}").choice(sorted(self._world.items))
        return Goal(item=item), "chance"

    def _pursue(self, goal: Goal, chosen: Chosen, tries: int) -> Asking:
        before, last = dict(self._world.held()), None
        for turn in range(1, tries + 1):
            if self._number < len(self._known):
                attempt = self._once_more(self._known[self._number])
            else:
                attempt = yield from self._attempt(goal, chosen, turn, before, last)
            self._number += 1
            if attempt.done:
                self._failed.pop(goal.told, None)
                self._done[goal.told] = None
                return
            last = {
                "program": attempt.source.strip() or attempt.reply.strip(),
                "happened": self._happened(attempt),
                "critique": attempt.critique,
            }
        self._failed[goal.told] = None

    def _attempt(
        self, goal: Goal, chosen: Chosen, turn: int, before: dict[str, int], last: Mapping[str, str] | None
    ) -> Generator[Request, Reply, Attempt]:
        wanted = f"{goal.told}. {self._world.hint(goal.item)} {last['happened'] if last else ''}"
        shown = self.library.nearest(wanted, self._table.shown)
        reply = yield self._request(skill_question(self._prompts, self._world, goal, shown, last), SKILL)
        asked = Attempt(
            life=self.lived.name,
            number=self._number,
            turn=turn,
            goal=goal,
            chosen=chosen,
            world_seed=self._world_seed,
            shown=tuple(each.label for each in shown),
            reply=reply.text,
            before=before,
            held=dict(self._world.held()),
            reached=reached(goal, before, self._world.held()),
        )
        try:
            code = code_of(reply, self._world.calls)
        except CodeFault as fault:
            attempt, kept = replace(asked, fault=str(fault)), None
        else:
            attempt, kept = yield from self._tried(asked, code)
        self._keep(attempt, kept)
        return attempt

    def _tried(self, asked: Attempt, code: Code) -> Generator[Request, Reply, tuple[Attempt, Skill | None]]:
        """Run a skill, judge what it did, and keep it where the goal is taken for reached."""
        goal, before = asked.goal, asked.before
        played = play(self._world, [*self.library.sources, code.source], code.name, self._limits)
        held = dict(self._world.held())
        verdict, critique = yield from self._verified(goal, before, held, played)
        attempt = replace(
            asked,
            name=code.name,
            source=code.source,
            called=tuple(each for each in code.called if each in self.library.names),
            end=played.end,
            note=played.note,
            printed=played.printed,
            calls=played.calls,
            seen=played.seen,
            held=held,
            reached=reached(goal, before, held),
            critic=verdict,
            critique=critique,
        )
        if not self._believed(attempt):
            return attempt, None
        attempt = replace(attempt, done=True)
        if self.lived.goals or self.lived.arm == "no_library":
            return attempt, None
        described = yield self._request(description_question(self._prompts, code.source), DESCRIPTION)
        attempt = replace(attempt, description=description_of(described, goal))
        kept = self._remember(attempt)
        return replace(attempt, kept=kept.label), kept

    def _remember(self, attempt: Attempt) -> Skill:
        return self.library.add(
            name=attempt.name,
            source=attempt.source,
            description=attempt.description,
            goal=attempt.goal.told,
            called=attempt.called,
            number=attempt.number,
        )

    def _verified(
        self, goal: Goal, before: Mapping[str, int], held: Mapping[str, int], played: Played
    ) -> Generator[Request, Reply, tuple[bool | None, str]]:
        """What the critic says, beside the state; nobody is asked in a life that does not verify."""
        if self._unverified:
            return None, ""
        happened = f"{ended_told(played, self._limits)} {_printed(played.printed)}"
        reply = yield self._request(critic_question(self._prompts, goal, before, held, happened), CRITIC)
        return verdict_of(reply)

    def _believed(self, attempt: Attempt) -> bool:
        """Whether the life takes the goal for reached: without a verifier, where the skill ran to its end."""
        if self._unverified:
            return attempt.end == "ok"
        if self._table.verified == "critic" and not self.lived.goals:
            return bool(attempt.critic)
        return attempt.reached

    def _once_more(self, attempt: Attempt) -> Attempt:
        """Do what was written down. Raises FolderError where the world comes out otherwise."""
        again(self._world, attempt.calls)
        if dict(self._world.held()) != attempt.held:
            raise FolderError(
                f"{attempt.life}, prompt {attempt.number}: the same calls have led to another state than before. A "
                "world is decided by its seed and its calls alone; was its file changed? Name another folder"
            )
        if attempt.kept:
            self._remember(attempt)
        return attempt

    def _happened(self, attempt: Attempt) -> str:
        if attempt.fault:
            return f"It is no skill: {attempt.fault}."
        verdict = "" if self._unverified else "The task is not done."
        played = Played(end=attempt.end, note=attempt.note, printed=attempt.printed)
        return f"{ended_told(played, self._limits)} {_printed(attempt.printed)}{verdict}"

    def _request(self, messages: tuple[Message, ...], draw: int) -> Request:
        """A draw of its own for every question of every life, the same when it is asked again."""
        return self._draw(messages, self.lived.place * PER_LIFE + self._number * PER_PROMPT + draw)


def _printed(text: str) -> str:
    return f"It printed: {text.strip()[:500]}\n" if text.strip() else ""
