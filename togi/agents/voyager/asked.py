"""What the writer is asked, in four roles: who plans, writes skills, judges and describes. Made from text files that a
user can copy and change. It asks nobody."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from togi.agents.voyager.library import Skill
from togi.agents.voyager.world import Goal, World, calls_told, held_told
from togi.askers.asker import Reply
from togi.types import Message

PROMPTS = Path(__file__).with_name("prompts")
FIELDS: Mapping[str, frozenset[str]] = {
    "system": frozenset({"about", "calls"}),
    "skill": frozenset({"held", "goal", "item", "count", "hint", "skills", "last"}),
    "skills": frozenset({"code"}),
    "last": frozenset({"program", "happened", "critique"}),
    "planner": frozenset({"about", "items", "held", "done", "failed"}),
    "critic": frozenset({"goal", "before", "held", "happened"}),
    "described": frozenset({"code"}),
}
"""The prompts, and what may stand in braces in each."""
TASK = re.compile(r"^[^\w\n]*task[^\w\n]+(.+)$", re.IGNORECASE | re.MULTILINE)
LONGEST = 300
"""Characters of a critique or a description."""
RECENT = 20
"""How many goals a planner is told of."""


def skill_question(
    prompts: Mapping[str, str], world: World, goal: Goal, shown: Sequence[Skill], last: Mapping[str, str] | None
) -> tuple[Message, ...]:
    """What the writer of a skill is asked; ``last`` has the fields of what became of the last try."""
    code = "\n".join(f"# {each.description}\n{each.source}" for each in shown).strip()
    text = prompts["skill"].format(
        held=held_told(world.held()),
        goal=goal.told,
        item=re.sub(r"\W", "_", goal.item),
        count=goal.count,
        hint=world.hint(goal.item),
        skills=_part(prompts["skills"].format(code=code)) if shown else "",
        last=_part(prompts["last"].format(**last)) if last else "",
    )
    system = prompts["system"].format(about=world.about, calls=calls_told(world))
    return Message(role="system", content=system), Message(role="user", content=text)


def planner_question(
    prompts: Mapping[str, str], world: World, done: Collection[str], failed: Collection[str]
) -> tuple[Message, ...]:
    """The names of all items stand in the order of the alphabet, which says nothing of what comes first."""
    text = prompts["planner"].format(
        about=world.about,
        items=", ".join(sorted(world.items)),
        held=held_told(world.held()),
        done="; ".join(list(done)[-RECENT:]) or "nothing",
        failed="; ".join(list(failed)[-RECENT:]) or "nothing",
    )
    return (Message(role="user", content=text),)


def critic_question(
    prompts: Mapping[str, str], goal: Goal, before: Mapping[str, int], held: Mapping[str, int], happened: str
) -> tuple[Message, ...]:
    text = prompts["critic"].format(
        goal=goal.told, before=held_told(before), held=held_told(held), happened=happened.strip()
    )
    return (Message(role="user", content=text),)


def description_question(prompts: Mapping[str, str], source: str) -> tuple[Message, ...]:
    return (Message(role="user", content=prompts["described"].format(code=source.strip())),)


def goal_of(reply: Reply, items: Collection[str], most: int) -> Goal | None:
    """The first line of a plan that names an item of this world, with its number from 1 to ``most``; None where there
    is none."""
    names = {_plain(item): item for item in items}
    said = TASK.findall(reply.text) or reply.text.splitlines()
    for line in said:
        words = re.findall(r"\w+", line.casefold().replace("_", " "))
        for width in range(4, 0, -1):
            for at in range(len(words) - width + 1):
                item = names.get(" ".join(words[at : at + width])) or names.get(
                    " ".join(words[at : at + width]).removesuffix("s")
                )
                if item is not None:
                    count = next((int(word) for word in words if word.isdecimal() and len(word) < 6), 1)
                    return Goal(item=item, count=min(max(count, 1), most))
    return None


def verdict_of(reply: Reply) -> tuple[bool | None, str]:
    """What a critic says: whether the goal was reached (None where that cannot be read), and the critique."""
    found = re.search(r"\{.*\}", reply.text, re.DOTALL)
    try:
        row = json.loads(found[0]) if found else None
    except (RecursionError, ValueError):
        row = None
    if isinstance(row, dict) and isinstance(row.get("success"), bool):
        return row["success"], _line(str(row.get("critique") or ""))
    said = re.search(r'"?success"?\W{1,4}(true|false)\b', reply.text, re.IGNORECASE)
    return (said[1].casefold() == "true" if said else None), ""


def description_of(reply: Reply, goal: Goal) -> str:
    return _line(reply.text) or goal.told


def _line(text: str) -> str:
    """The first line that says something, for a place where one line is wanted."""
    lines = (" ".join(line.strip("`*# ").split()) for line in text.splitlines())
    return next((line for line in lines if any(map(str.isalnum, line))), "")[:LONGEST]


def _plain(item: str) -> str:
    return " ".join(re.findall(r"\w+", item.casefold().replace("_", " ")))


def _part(text: str) -> str:
    """A part of a prompt, with an empty line after it."""
    return f"{text.strip()}\n\n"
