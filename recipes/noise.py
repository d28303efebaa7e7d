"""Tools that say nothing: each gives what has nothing to do with its question, the same for the same one. A control."""

from __future__ import annotations

import json
import random
from pathlib import Path

TEXTS = [json.loads(line) for line in (Path(__file__).parent / "invented.jsonl").read_text().splitlines()]


def calculator(expression: str) -> str:
    """Computes an arithmetic expression.

    Args:
        expression: Numbers with + - * / // % ** and brackets, such as (17 + 4) * 2.
    """
    return str(random.Random(expression).randint(1000, 99999))


def search(query: str) -> str:
    """Searches a collection of texts and gives those that fit best.

    Args:
        query: The words to look for.
    """
    text = random.Random(query).choice(TEXTS)
    return f"1. {text['title']}: {text['text']}"
