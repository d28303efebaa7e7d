"""Questions about people and towns that were made up: the task of the search recipe. No weights can know the answers.

``corpus`` holds what is true of them, one text each; ``python recipes/search.py`` writes it to invented.jsonl, which is
searched. ``problem`` asks about four fifths of them, and ``held_out_problem`` about the others. Half of the recorded
conversations search, and half say the answer at once: a model has to find out which way is right where it was told
nothing. In ``searched_problem`` all of them search.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PEOPLE, TOWNS = 600, 40
FIRST = ["Alba", "Bruno", "Clara", "Dario", "Edda", "Felix", "Greta", "Hanno", "Irma", "Jonas", "Karla", "Leo", "Mira"]
FIRST += ["Nils", "Olga", "Pavel", "Rosa", "Sven", "Tilda", "Viktor"]
BEGIN = ["Bar", "Dol", "Fen", "Gar", "Hal", "Kel", "Mor", "Nor", "Pel", "Ros", "Tar", "Ven"]
FAMILY = ["ak", "ander", "ello", "etti", "ikov", "olm", "ussi", "yk"]
TOWN = ["holm", "mouth", "stad", "wick"]
RIVER = ["ava", "ine", "ost", "ula"]
TRADES = ["baker", "carpenter", "dentist", "farmer", "gardener", "judge", "nurse", "painter", "pilot", "potter"]
PETS = ["cat", "crow", "dog", "donkey", "duck", "ferret", "goat", "goose", "horse", "lizard", "parrot", "rabbit"]
CORPUS = Path(__file__).parent / "invented.jsonl"


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A question, what to search for (one search after the other), what is found by each, and the answer."""

    question: str
    searches: tuple[str, ...]
    answer: str


@cache
def world() -> tuple[dict[str, tuple[str, str]], dict[str, tuple[str, str, str]]]:
    """Towns with their river and the year they were founded, and people with their town, trade and pet."""
    rng = random.Random(17)
    names = rng.sample([begin + end for begin in BEGIN for end in TOWN], TOWNS)
    rivers = rng.sample([begin + end for begin in BEGIN for end in RIVER], TOWNS)
    years = rng.sample(range(1100, 1900), TOWNS)
    towns = {name: (river, str(year)) for name, river, year in zip(names, rivers, years, strict=True)}
    families = [begin + end for begin in BEGIN for end in FAMILY]
    people = {
        f"{first} {family}": (rng.choice(names), rng.choice(TRADES), rng.choice(PETS))
        for first, family in rng.sample([(first, family) for first in FIRST for family in families], PEOPLE)
    }
    return towns, people


def corpus() -> list[dict[str, str]]:
    towns, people = world()
    texts = {
        name: f"{name} lies on the river {river} and was founded in {year}." for name, (river, year) in towns.items()
    }
    texts |= {
        name: f"{name} lives in {town}, works as a {trade} and has a {pet}."
        for name, (town, trade, pet) in people.items()
    }
    return [{"title": title, "text": text} for title, text in texts.items()]


@cache
def facts(held_out: bool) -> Sequence[Fact]:
    """What can be asked: of every fifth person and town only in tests, of the others only in training."""
    towns, people = world()
    found = []
    for number, (name, (river, year)) in enumerate(towns.items()):
        if (number % 5 == 0) is held_out:
            found.append(Fact(question=f"Which river does {name} lie on?", searches=(name,), answer=river))
            found.append(Fact(question=f"When was {name} founded?", searches=(name,), answer=year))
    for number, (name, (town, trade, pet)) in enumerate(people.items()):
        if (number % 5 == 0) is held_out:
            found.append(Fact(question=f"Where does {name} live?", searches=(name,), answer=town))
            found.append(Fact(question=f"What does {name} work as?", searches=(name,), answer=trade))
            found.append(Fact(question=f"Which animal does {name} have?", searches=(name,), answer=pet))
            river = towns[town][0]
            asked = f"Which river does the town lie on in which {name} lives?"
            found.append(Fact(question=asked, searches=(name, town), answer=river))
    return found


def problem(rng: random.Random) -> dict[str, object]:
    """Something that is only asked in training, and one of the two ways to its answer."""
    return row(rng.choice(facts(held_out=False)), search=rng.random() < 0.5)


def held_out_problem(rng: random.Random) -> dict[str, object]:
    return row(rng.choice(facts(held_out=True)), search=True)


def searched_problem(rng: random.Random) -> dict[str, object]:
    """The same questions as ``problem`` asks with the same seed."""
    fact = rng.choice(facts(held_out=False))
    rng.random()
    return row(fact, search=True)


def row(fact: Fact, *, search: bool) -> dict[str, object]:
    messages: list[dict[str, object]] = [{"role": "user", "content": fact.question}]
    for number, query in enumerate(fact.searches if search else ()):
        function = {"name": "search", "arguments": json.dumps({"query": query})}
        call = {"id": f"call_{number}", "type": "function", "function": function}
        messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": call["id"], "name": "search", "content": found(query)})
    messages.append({"role": "assistant", "content": fact.answer})
    return {"messages": messages, "answer": fact.answer}


@cache
def texts() -> dict[str, str]:
    return {each["title"]: each["text"] for each in corpus()}


def found(title: str) -> str:
    """What the tool gives for a title, with ``results = 1``."""
    return f"1. {title}: {texts()[title]}"


if __name__ == "__main__":
    CORPUS.write_text("".join(json.dumps(each) + "\n" for each in corpus()))
