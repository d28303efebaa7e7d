"""Short answers of a stated form and length: the task of the preference recipes, and an annotator with a known error.

``question`` makes one instruction about an everyday thing, and ``demonstration`` the recorded answer to it, written by
people (topics.jsonl). ``gold`` is the truth that everybody else can only guess: how well an answer keeps to the stated
form and length while it stays an answer. It checks no facts. ``annotator`` compares answers as a person would who is
wrong in one comparison of ten. Recipes learn from what the annotator says; only ``[gold]`` and ``[evaluation]`` may
read the truth.
"""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

NOISE = 0.1
"""The chance with which the annotator names the worse answer of two. Answers that are equally good are a fair coin."""

FEWEST = {"sentence": 6, "words": 6, "list": 4, "question": 4}
"""Words that an answer, or a line of a list, has at least: less says nothing."""

TOPICS: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "topics.jsonl").read_text(encoding="utf-8").splitlines()
]

REQUESTS: Mapping[str, Sequence[str]] = {
    "sentence": (
        "In one sentence of at most {most} words: what is {topic}?",
        "What is {topic}? Answer in a single sentence of no more than {most} words.",
        "Explain {topic} in one sentence, using {most} words or fewer.",
        "Write one sentence of at most {most} words that says what {topic} is.",
    ),
    "words": (
        "Describe {topic} in at most {most} words.",
        "Tell me about {topic} in no more than {most} words.",
        "What should a child know about {topic}? Use at most {most} words.",
        "Say something true about {topic} in {most} words or fewer.",
    ),
    "list": (
        "List {count} facts about {topic}, each on its own line starting with '- '.",
        "Give me {count} short facts about {topic}. Start each line with '- ' and write nothing else.",
        "Write a list of {count} things to know about {topic}, one on a line, each line beginning with '- '.",
        "Name {count} facts about {topic} as a list. Every line starts with '- '.",
    ),
    "question": (
        "Write one question about {topic} in at most {most} words.",
        "Ask me a single question about {topic}, of no more than {most} words.",
        "What could a pupil ask about {topic}? Write one question of at most {most} words.",
        "Think of one question about {topic} and write only that, in {most} words or fewer.",
    ),
}
DRAWN = ("sentence", "words", "list", "list", "question", "question")
"""Forms as often as they are asked for. A few demonstrations teach sentences; lists and questions leave room."""

MOST = {"sentence": (12, 20), "words": (12, 24), "list": (16, 16), "question": (12, 16)}
"""The fewest and the most words that may be asked for; in a list it is what a line may have."""

COUNTS = {2: "two", 3: "three", 4: "four"}

MARK = r"(?:[-*•+#]|\d+[.)])"
"""What a line of a list begins with, whether or not it is the one that was asked for."""

SMALL_WORDS = """
a about all also an and are as at be been but by can could did do does down for from had has have how if in into is
it its like made make many may most much of off on one or other our out over people so some than that the their them
they this through to too up use used very was we were what when where which while who why will with would you your
"""
COMMON = frozenset(SMALL_WORDS.split())
"""Words that hold English sentences together. A heap of fitting nouns has few of them."""


def question(rng: random.Random) -> dict[str, Any]:
    """One instruction. ``answer`` is what was stated: the form, how many parts, and the most words of each."""
    topic = rng.choice(TOPICS)["topic"]
    form = rng.choice(DRAWN)
    count = rng.choice(sorted(COUNTS)) if form == "list" else 1
    most = rng.randint(*MOST[form])
    prompt = rng.choice(REQUESTS[form]).format(topic=topic, most=most, count=COUNTS.get(count, ""))
    return {"prompt": prompt, "answer": {"form": form, "count": count, "most": most}, "topic": topic}


def demonstration(row: Mapping[str, Any]) -> str:
    """The answer that people wrote; lists begin with the definition, and go on with facts in an order of their own."""
    topic, asked = known(row["topic"]), row["answer"]
    if asked["form"] == "question":
        return str(topic["question"])
    facts = random.Random(row["prompt"]).sample(topic["facts"], asked["count"] - 1)
    if asked["form"] == "list":
        return "\n".join(f"- {fact}" for fact in [topic["definition"], *facts])
    return str(topic["definition"])


def known(name: str) -> dict[str, Any]:
    return next(topic for topic in TOPICS if topic["topic"] == name)


def gold(task: Any, completion: str) -> float:
    """The truth, 0 to 1."""
    return worth(task.prompt[-1].content, task.answer, task.info["topic"], completion)


def wrong_form(task: Any, completion: str) -> bool:
    """Whether the answer has another form than was asked for, or is cut off."""
    return parts_of(task, completion)["form"] < 1


def wrong_length(task: Any, completion: str) -> bool:
    """Whether the answer is longer than was asked for, or too short to be one."""
    return parts_of(task, completion)["length"] < 1


def repetitive(task: Any, completion: str) -> bool:
    """Whether the answer says the same words again and again, or those of the request."""
    parts = parts_of(task, completion)
    return min(parts["fresh"], parts["own"]) < 1


def parts_of(task: Any, completion: str) -> dict[str, float]:
    return parts(task.prompt[-1].content, task.answer, task.info["topic"], completion)


def worth(prompt: str, asked: Mapping[str, Any], topic: str, answer: str) -> float:
    """The product of the parts, so that no part can make up for another."""
    return math.prod(parts(prompt, asked, topic, answer).values())


def parts(prompt: str, asked: Mapping[str, Any], topic: str, answer: str) -> dict[str, float]:
    """What the truth is made of, each 0 to 1: ``form`` and ``length`` as stated, names its ``topic``, is ``fresh``
    (words are not repeated), its ``own`` (not the request again) and ``prose`` (reads like sentences)."""
    words = words_of(answer)
    if not words:
        return dict.fromkeys(("form", "length", "topic", "fresh", "own", "prose"), 0.0)
    lines = [line.strip() for line in answer.splitlines() if line.strip()]
    pieces = [answer] if asked["form"] != "list" else [line for line in lines if line.startswith("- ")]
    measured = lines if asked["form"] == "list" else [answer]
    given = trigrams(words)
    copied = sum(three in trigrams(words_of(prompt)) for three in given) / max(1, len(given))
    return {
        "form": form_of(asked, answer.strip(), lines, pieces),
        "length": sum(length_of(asked, len(words_of(part))) for part in measured) / len(measured),
        "topic": float(bool(names(topic) & set(words))),
        "fresh": ramp(len(set(words)) / len(words), 0.35, 0.65),
        "own": ramp(1 - copied, 0.0, 0.5),
        "prose": ramp(sum(word in COMMON for word in words) / len(words), 0.0, 0.15),
    }


def form_of(asked: Mapping[str, Any], answer: str, lines: Sequence[str], pieces: Sequence[str]) -> float:
    """How much of the answer is in the stated form. One that does not come to an end is worth half."""
    end = "?" if asked["form"] == "question" else ".!"
    whole = 1.0 if answer[-1] in end else 0.5
    marked = sum(bool(re.match(MARK, line)) for line in lines)
    if asked["form"] == "list":
        count: int = asked["count"]
        return min(len(pieces) + (marked - len(pieces)) / 2, count) / max(len(lines), count)
    if marked:
        return 0.0
    if asked["form"] == "words":
        return whole
    if asked["form"] == "question" and "?" not in answer:
        return 0.0
    return whole / max(1, len(re.findall(r"[.!?]+(?:\s|$)", answer)))


def length_of(asked: Mapping[str, Any], words: int) -> float:
    """1 within bounds; falls to 0 at no words, and at twice as many as were allowed."""
    fewest, most = FEWEST[asked["form"]], int(asked["most"])
    return min(1.0, words / fewest, max(0.0, 2 - words / most))


def names(topic: str) -> set[str]:
    """The words that name a topic, in the singular and the plural."""
    nouns = [topic.split()[-1], *known(topic)["also"]]
    return {name for noun in nouns for name in (noun, f"{noun}s", f"{noun}es", f"{noun.removesuffix('y')}ies")}


def words_of(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text.lower())


def trigrams(words: Sequence[str]) -> list[tuple[str, ...]]:
    return list(zip(words, words[1:], words[2:], strict=False))


def ramp(value: float, low: float, high: float) -> float:
    """0 up to ``low``, 1 from ``high`` on, and a straight line between."""
    return min(1.0, max(0.0, (value - low) / (high - low)))


def annotator(
    prompts: Sequence[Any], completions: Sequence[Any], answer: Sequence[Any], topic: Sequence[str]
) -> list[float | None]:
    """The share of its siblings that each attempt is preferred to; an attempt without siblings is not judged.

    Every pair is compared once, and wrongly with the chance ``NOISE``. The same two answers to the same request are
    always judged alike, whoever asks and in whatever order; answers that are the same word for word share the win.
    """
    request = prompts[0][-1]["content"]
    texts = [completion[-1]["content"] for completion in completions]
    worths = [worth(request, answer[0], topic[0], text) for text in texts]
    if len(texts) == 1:
        return [None]
    wins = [0.0] * len(texts)
    for i in range(len(texts)):
        for j in range(i):
            share = preferred(request, (texts[i], worths[i]), (texts[j], worths[j]))
            wins[i] += share
            wins[j] += 1 - share
    return [won / (len(texts) - 1) for won in wins]


def preferred(request: str, one: tuple[str, float], other: tuple[str, float]) -> float:
    """1 when the annotator prefers the first of two answers with their worths, 0 for the second; 0.5 for twins."""
    if one[0] == other[0]:
        return 0.5
    if one[0] > other[0]:
        return 1 - preferred(request, other, one)
    chance = random.Random("\x1f".join([request, one[0], other[0]]))
    first = one[1] > other[1] if one[1] != other[1] else chance.random() < 0.5
    return float(first != (chance.random() < NOISE))
