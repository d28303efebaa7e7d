"""What thoughts are worth on texts that were held out of their stage: how likely each token is without and with them.

It knows tokens, kinds and likelihoods; it trains nothing and draws nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, TypedDict, cast

import numpy as np

from togi.batch import collate
from togi.data.token_kinds import kinds_of
from togi.evidence.after.record_file import read_record, write_record
from togi.statistics import bootstrap_mean
from togi.types import Batch, Group, Ids, Outputs, Sample

ALL = "all"
SHOWN = 12  # places of which thoughts are kept: where the next token was least likely without them


class Texts(Protocol):
    """Writes token ids as text: ``decode`` without special tokens, ``show`` with them."""

    def decode(self, ids: Ids) -> str: ...

    def show(self, ids: Ids) -> str: ...


class KindRecord(TypedDict):
    """Tokens of a kind: how many, their mean negative log-likelihood without and with thoughts, in nats, how much lower
    the latter is, a text's mean over the texts with its 95% interval, and the thoughts' mean share in the mixture."""

    tokens: int
    without: float
    with_thoughts: float
    gain: dict[str, float | None]
    share: float


class PlaceRecord(TypedDict):
    """One place: the text before it, the token that follows, the thoughts, and the token's log-probabilities without a
    thought and with each."""

    before: str
    token: str
    thoughts: list[str]
    without: float
    with_thoughts: list[float]


class ThoughtsRecord(TypedDict):
    """What the thoughts of a stage's model were worth, by kind of token; ``all`` are those of every kind."""

    name: str
    step: int
    kinds: dict[str, KindRecord]
    places: list[PlaceRecord]


@dataclass(kw_only=True)
class _Sums:
    """Numbers of a kind, text by text."""

    without: dict[int, list[float]] = field(default_factory=dict)
    after: dict[int, list[float]] = field(default_factory=dict)
    share: list[float] = field(default_factory=list)

    def add(self, text: int, place: _Place) -> None:
        self.without.setdefault(text, []).append(-place.without)
        self.after.setdefault(text, []).append(-statistics.fmean(place.after))
        self.share.append(place.share)

    def record(self) -> KindRecord:
        without, after = (np.concatenate(list(each.values())) for each in (self.without, self.after))
        gains = [np.subtract(self.without[text], self.after[text]).tolist() for text in self.without]
        gain = asdict(bootstrap_mean(gains, seed=0))
        return {
            "tokens": len(without),
            "without": float(without.mean()),
            "with_thoughts": float(after.mean()),
            "gain": {key: value if np.isfinite(value) else None for key, value in gain.items()},
            "share": float(np.mean(self.share)),
        }


def measure_thoughts(
    groups: Sequence[Group],
    samples: Sequence[Sample],
    outputs: Callable[[Batch], Outputs],
    texts: Texts,
    *,
    name: str,
    step: int,
    budget: int = 2000,
) -> ThoughtsRecord:
    """``samples`` are the parts of the texts in ``groups``, their thoughts drawn, and ``outputs`` what a model says of
    them. ``budget`` bounds memory, in tokens."""
    import torch

    from togi.models.microbatch import microbatches

    kinds = [_kinds_of_tokens(group, texts.decode) for group in groups]
    sums: dict[str, _Sums] = {}
    hardest: list[tuple[float, Sample, _Place]] = []
    for part in microbatches(samples, budget):
        batch = collate([samples[i] for i in part])
        with torch.no_grad():
            out = outputs(batch)
        for row, sample in enumerate(batch.samples):
            for place in _places(sample, out, row):
                of_place = kinds[sample.group].get(place.at, [])
                for kind in (ALL, *of_place):
                    sums.setdefault(kind, _Sums()).add(sample.group, place)
                hardest.append((place.without, sample, place))
        hardest = sorted(hardest, key=lambda each: each[0])[:SHOWN]
    found = {kind: sums[kind].record() for kind in sorted(sums, key=lambda each: (each != ALL, each))}
    places = [_shown(sample, place, texts.show) for _, sample, place in hardest]
    return {"name": name, "step": step, "kinds": found, "places": places}


@dataclass(frozen=True, kw_only=True)
class _Place:
    """What is said of token ``at``, without and after each of its ``thoughts``."""

    at: int
    thoughts: Sequence[Sequence[int]]
    without: float
    after: Sequence[float]
    share: float


def _places(sample: Sample, out: Outputs, row: int) -> Iterator[_Place]:
    thoughts, said = sample.thoughts, out.after_thoughts
    assert thoughts is not None
    assert said is not None
    for n, at in enumerate(thoughts.at_N.tolist()):
        yield _Place(
            at=at,
            thoughts=thoughts.ids_NPL[n].tolist(),
            without=float(out.logp_BT[row, at]),
            after=said.logp_BNPA[row, n, :, 0].tolist(),
            share=float(said.weight_BNPA[row, n, :, 0].mean()),
        )


def _shown(sample: Sample, place: _Place, show: Callable[[Ids], str]) -> PlaceRecord:
    return {
        "before": show(tuple(sample.ids[: place.at].tolist())),
        "token": show((int(sample.ids[place.at]),)),
        "thoughts": [show(tuple(thought)) for thought in place.thoughts],
        "without": place.without,
        "with_thoughts": list(place.after),
    }


def _kinds_of_tokens(group: Group, decode: Callable[[Ids], str]) -> dict[int, list[str]]:
    """The kinds of each token of a text, by its place: those of the character that it ends with."""
    spans, turn = kinds_of(group.task), group.trajectories[0].turns[-1]
    ends = [len(decode(turn.completion[: count + 1])) for count in range(len(turn.completion))] if spans else []
    found: dict[int, list[str]] = {}
    for number, (begin, end) in enumerate(pairwise([0, *ends])):
        kinds = [kind for kind, pieces in spans.items() if any(first < end <= last for first, last in pieces)]
        if kinds and end > begin:
            found[len(turn.prompt) + number] = kinds
    return found


def write_thoughts(folder: Path, record: ThoughtsRecord) -> Path:
    """Write ``folder/thoughts/NAME.json`` whole or not at all, and give its path."""
    return write_record(folder / "thoughts", record["name"], record)


def read_thoughts(path: Path) -> ThoughtsRecord:
    """Read and check one file; ``ValueError`` says what is wrong with it."""
    found = read_record(path, "measurement of thoughts", ThoughtsRecord, _faults, "run the stage again")
    return cast(ThoughtsRecord, found)


def _faults(data: Mapping[str, Any]) -> Iterator[str]:
    for part, shape in (("kinds", KindRecord), ("places", PlaceRecord)):
        rows = data[part]
        rows = list(rows.values()) if isinstance(rows, Mapping) else rows
        for row in rows if isinstance(rows, list) else [None]:
            if not isinstance(row, Mapping) or any(key not in row for key in shape.__annotations__):
                yield f'"{part}" needs {", ".join(shape.__annotations__)}'


def said(record: ThoughtsRecord) -> str:
    """The record in a sentence."""
    kinds = record["kinds"]
    told = [_told(kind, kinds[kind]) for kind in kinds if kind != ALL or len(kinds) == 1]
    return f"{record['name']}, on texts that were held out: with thoughts {'; '.join(told)}"


def _told(kind: str, one: KindRecord) -> str:
    low, high = one["gain"]["low"], one["gain"]["high"]
    name = "the next token" if kind == ALL else f"{kind} tokens"
    sure = "" if low is None or high is None else f" (95% {low:+.3f} to {high:+.3f})"
    return f"{name} gain {one['gain']['point']:+.3f} nats{sure}"
