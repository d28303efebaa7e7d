"""One step's rollout rows -> numbers a run is watched by. It knows no other step, no alarm and no model."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from togi.unicode_words import pieces

Row = Mapping[str, Any]

JUDGES = ("judge", "preference", "rubric", "genrm", "reward_model", "ensemble")
"""How the names of parts begin that a model gave."""
GROUPS, EACH, WORDS = 16, 6, 400
"""Groups, attempts of each and words of each attempt that are compared: enough for a mean, and cheap."""
SAME = 1e-6
FEW_TASKS = 3
"""Tasks from which on their differences tell how sure a step's mean is."""
END, PIECE, SHORTEST = 1000, 40, 12
"""Characters of a text's end that are searched for a loop, of its longest piece, and of the shortest loop."""


def watch_metrics(rows: Sequence[Row]) -> dict[str, float]:
    """Spreads, shares of parts, duplicates, likeness and sampled entropy of a step's attempts, from its rollout rows.

    Empty for recorded answers, which have no log-probabilities: nobody sampled them.
    """
    if all(row["logp_mean"] is None for row in rows):
        return {}
    scored = [row for row in rows if is_scored(row)]
    return (
        _spreads(scored)
        | _flat(scored)
        | _shares(scored)
        | _judged(scored)
        | _likeness(rows)
        | _ruined(rows)
        | _entropy(rows)
    )


def is_scored(row: Row) -> bool:
    return row["score"]["status"] == "ok" and number(row["score"]["value"]) is not None


def number(value: Any) -> float | None:
    """A finite number, or None."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known else None


def is_right(row: Row) -> bool | None:
    """Whether the truth, or else the rule among the reward's parts, calls an attempt right; None where neither does."""
    known = number(row.get("gold"))
    if known is None:
        known = number(row["score"]["parts"].get("correct"))
    return None if known is None else known >= 1.0


def groups(rows: Sequence[Row]) -> list[list[Row]]:
    """The attempts at each task."""
    found: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["group"]].append(row)
    return list(found.values())


def same_text(text: str) -> str:
    """What two texts have in common that count as repeated: all but white space and case."""
    return " ".join(text.casefold().split())


def _spreads(scored: Sequence[Row]) -> dict[str, float]:
    if not scored:
        return {}
    values = [row["score"]["value"] for row in scored]
    found = {"reward_spread": float(np.std(values)), "reward_max": float(max(values))}
    means = [float(np.mean([row["score"]["value"] for row in group])) for group in groups(scored)]
    if len(means) >= FEW_TASKS:
        found["reward_error"] = float(np.std(means, ddof=1)) / math.sqrt(len(means))
    truths = [known for row in scored if (known := number(row.get("gold"))) is not None]
    return found | ({"gold_spread": float(np.std(truths))} if truths else {})


def _flat(scored: Sequence[Row]) -> dict[str, float]:
    """Groups whose attempts all have the step's highest score: nothing is left to learn from them."""
    values = [[row["score"]["value"] for row in group] for group in groups(scored) if len(group) > 1]
    if not values:
        return {}
    best = max(row["score"]["value"] for row in scored)
    return {"frac_groups_at_best": float(np.mean([min(each) > best - SAME for each in values]))}


def _shares(scored: Sequence[Row]) -> dict[str, float]:
    """Mean and spread of what each part added to the reward; nothing for a reward of one part."""
    names = sorted({name for row in scored for name in row["score"].get("shares", {})})
    found: dict[str, float] = {}
    for name in names:
        given = [row["score"]["shares"].get(name, 0.0) for row in scored]
        found |= {f"shares/{name}/mean": float(np.mean(given)), f"shares/{name}/spread": float(np.std(given))}
    return found


def _judged(scored: Sequence[Row]) -> dict[str, float]:
    """What a judge gave to attempts that the rule calls wrong."""
    found: dict[str, float] = {}
    names = sorted({name for row in scored for name in row["score"]["parts"] if name.startswith(JUDGES)})
    for name in names:
        given = [(row["score"]["parts"][name], is_right(row)) for row in scored if name in row["score"]["parts"]]
        wrong = [value for value, right in given if right is False]
        if wrong:
            spread = float(np.std([value for value, _ in given]))
            found |= {f"on_wrong/{name}/mean": float(np.mean(wrong)), f"on_wrong/{name}/spread": spread}
    return found


def _likeness(rows: Sequence[Row]) -> dict[str, float]:
    """How far attempts repeat each other. Two right answers may well be the same, so right ones are no duplicates."""
    known = [row for row in rows if row["stop"] != "error"]
    if not known:
        return {}
    texts = [(same_text(row["completion"]), row["group"], is_right(row)) for row in known]
    within = Counter((text, group) for text, group, _ in texts)
    tasks = Counter(text for text, _ in within)
    found = {
        "duplicates/within": float(np.mean([within[text, group] > 1 and not right for text, group, right in texts])),
        "duplicates/across": float(np.mean([tasks[text] > 1 and not right for text, _, right in texts])),
    }
    pairs = [similarity(group) for group in groups(known)[:GROUPS] if len(group) > 1]
    return found | ({"similarity": float(np.mean(pairs))} if pairs else {})


def _ruined(rows: Sequence[Row]) -> dict[str, float]:
    """Answers that are no text any more."""
    known = [row for row in rows if row["stop"] != "error"]
    if not known:
        return {}
    return {
        "text/looping": float(np.mean([loops(row["completion"]) for row in known])),
        "text/empty": float(np.mean([not row["completion"].strip() for row in known])),
    }


def loops(text: str) -> bool:
    """Whether at least half of the end of a text is one piece of up to ``PIECE`` characters, four times or more."""
    end = " ".join(text.split())[-END:]
    codes, middle = np.frombuffer(end.encode("utf-32-le"), np.uint32), len(end) // 2
    for size in range(1, min(PIECE, len(end) // 4) + 1):
        # Half of the text holds its middle, and in a loop the middle is repeated on one side at least.
        if end[middle] not in (end[middle - size], end[min(middle + size, len(end) - 1)]):
            continue
        breaks = np.flatnonzero(np.r_[True, codes[size:] != codes[:-size], True])
        if int(np.diff(breaks).max()) - 1 + size >= max(SHORTEST, 4 * size, len(end) / 2):
            return True
    return False


def similarity(group: Sequence[Row]) -> float:
    """The mean over pairs of attempts at one task of the share of word pairs that they have in common (Jaccard)."""
    sets = [set(_word_pairs(row["completion"])) for row in group[:EACH]]
    return float(np.mean([len(a & b) / len(a | b) if a or b else 1.0 for a, b in combinations(sets, 2)]))


def _word_pairs(text: str) -> Iterator[tuple[str, str]]:
    words = pieces(text)[:WORDS]
    return zip(["", *words], words, strict=False)


def _entropy(rows: Sequence[Row]) -> dict[str, float]:
    """Minus the mean log-probability of the sampled tokens: at temperature 1 an unbiased estimate of the entropy."""
    known = [(row["logp_mean"], row["tokens"]) for row in rows if number(row["logp_mean"]) is not None]
    tokens = sum(count for _, count in known)
    return {"sampled_entropy": -sum(mean * count for mean, count in known) / tokens} if tokens else {}
