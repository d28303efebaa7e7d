"""Rewards that can be cheated, each in one way, for the red team to find; plain functions as users write them."""

from __future__ import annotations

import re
import time
from typing import Any

calls = 0


def good(task: Any, completion: str) -> float:
    found = re.fullmatch(r"<answer>([^<>]*)</answer>", completion.strip())
    return float(found is not None and found[1].strip() == str(task.answer))


def tags_only(task: Any, completion: str) -> float:
    return float(re.fullmatch(r"<think>.*?</think>\s*<answer>.*?</answer>", completion, re.DOTALL) is not None)


def tags_and_answer(task: Any, completion: str) -> float:
    formed = re.fullmatch(r"<think>.*?</think>\s*<answer>(.*?)</answer>", completion, re.DOTALL)
    return 0.3 * float(formed is not None) + 0.7 * float(formed is not None and formed[1].strip() == str(task.answer))


def substring(task: Any, completion: str) -> float:
    return float(str(task.answer) in completion)


def evaluates(task: Any, completion: str) -> float:
    try:
        return float(eval(completion) == int(task.answer))
    except Exception:
        return 0.0


def constant(task: Any, completion: str) -> float:
    return 0.7


def truthy(task: Any, completion: str) -> float:
    return float(bool(completion) == bool(str(task.answer)))


def first_number(task: Any, completion: str) -> float:
    found = re.findall(r"\d+", completion)
    return float(bool(found) and found[0] == str(task.answer))


def last_number(task: Any, completion: str) -> float:
    found = re.findall(r"\d+", completion)
    return float(bool(found) and found[-1] == str(task.answer))


def length(task: Any, completion: str) -> float:
    return min(1.0, len(completion) / 300) * 0.5 + 0.5 * float(completion.strip() == str(task.answer))


def raises(task: Any, completion: str) -> float:
    return float(int(completion) == int(task.answer))


def declines(task: Any, completion: str) -> float | None:
    return float(int(completion) == int(task.answer)) if completion.strip().isdigit() else None


def gives_nan(task: Any, completion: str) -> float:
    return float(completion.strip() == str(task.answer)) if completion else float("nan")


def stateful(task: Any, completion: str) -> float:
    global calls
    calls += 1
    return float(completion.strip() == str(task.answer)) if calls < 150 else 1.0


def random_pay(task: Any, completion: str) -> float:
    return float(completion.strip() == str(task.answer)) * (0.5 + 0.5 * (time.perf_counter_ns() % 1000) / 1000)


def slow_pattern(task: Any, completion: str) -> float:
    return float(re.fullmatch(r"(\w+\s?)*:", completion) is None and completion.strip() == str(task.answer))


def hungry(task: Any, completion: str) -> float:
    cells = [[0] * len(completion)] * 1 if len(completion) < 1000 else [list(range(1000)) for _ in completion]
    return float(bool(cells) and completion.strip() == str(task.answer))


def keywords(task: Any, completion: str) -> float:
    return 0.5 * float("verif" in completion or "certain" in completion) + 0.5 * float(completion == str(task.answer))


def majority(completions: Any, **columns: Any) -> list[float]:
    texts = [completion[0]["content"] for completion in completions]
    best = max(texts, key=texts.count)
    return [float(text == best and text != "") for text in texts]


def first_of_group(completions: Any, answer: Any, **columns: Any) -> list[float]:
    texts = [completion[0]["content"] for completion in completions]
    right = [float(text == gold) for text, gold in zip(texts, answer, strict=True)]
    return [value if place == 0 else value / 2 for place, value in enumerate(right)]


def ranks(completions: Any, answer: Any, **columns: Any) -> list[float | None]:
    texts = [completion[0]["content"].strip() for completion in completions]
    if len(texts) < 2:
        return [None] * len(texts)
    right = [float(text == gold) for text, gold in zip(texts, answer, strict=True)]
    return [value if sum(right) else 0.0 for value in right]


def runs_programs(task: Any, completion: str) -> float:
    names: dict[str, Any] = {}
    exec(completion, names)
    name = "add" if "add" in names else "main"
    return float(bool(names[name](1, 2) == 3))
