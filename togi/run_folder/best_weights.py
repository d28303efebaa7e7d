"""Which weights of a stage were best by what was measured on the way, and which of them must stay. It measures nothing.

A *look* is one measurement of the policy on the way: the step of its stage and what the metric was there. A checkpoint
counts the looks that were made before it, so the best weights of every kept checkpoint stay: whichever of them a run
goes on from, it has what it may end with.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from togi.run_folder.checkpoint import STATE

BEST = "best"
CHOICE = {"step": int, "metric": str, "value": int | float, "looks": int, "tasks": str}


def best_of(looks: Mapping[int, float]) -> int | None:
    """The step of the best look. Of equal ones the last: what shows no difference is no reason to undo training."""
    return max(looks, key=lambda step: (looks[step], step), default=None)


def looks_of(work: Mapping[str, Any] | None) -> dict[int, float]:
    """The looks that the state of a stage counts."""
    return {int(step): float(value) for step, value in (work or {}).get("looks", {}).items()}


def weights_at(stage: str, step: int) -> str:
    """Where the weights of a look are kept in the run folder."""
    return f"{BEST}/{stage}-{step:06d}"


def best_at(stages: Iterable[str], state: Mapping[str, Any]) -> str | None:
    """The weights that a checkpoint's stage would end with, had it no further look."""
    best = best_of(looks_of(state["work"]))
    return None if best is None else weights_at(list(stages)[int(state["position"]["stage"])], best)


def needed(stages: Iterable[str], kept: Iterable[Path]) -> set[str]:
    """The weights that some of the checkpoints ``kept`` may end with; one that cannot be read is none to go on from."""
    names = tuple(stages)
    return {name for path in kept for state in _state(path) if (name := best_at(names, state))}


def _state(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        yield json.loads((path / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return


def weights_kept(folder: Path) -> list[str]:
    """The weights of looks that a run folder holds."""
    return sorted(f"{BEST}/{path.name}" for path in (folder / BEST).glob("[!.]*"))


def choice_of(looks: Mapping[int, float], metric: str, *, apart: bool) -> dict[str, Any]:
    """The best look as an event tells it, ``apart`` if other tasks measure what was chosen; empty without a look."""
    best = best_of(looks)
    if best is None:
        return {}
    tasks = "other" if apart else "same"
    return {"step": best, "metric": metric, "value": looks[best], "looks": len(looks), "tasks": tasks}


def chosen_steps(events: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """What was chosen at the end of each stage that chose, by the stage's name. What has another shape says nothing."""
    ended = (event for event in events if event.get("event") == "stage_done")
    return {str(event.get("name")): event["best"] for event in ended if _is_choice(event.get("best"))}


def _is_choice(told: Any) -> bool:
    return isinstance(told, dict) and all(isinstance(told.get(key), kind) for key, kind in CHOICE.items())


def in_words(stage: str, steps: int, chosen: Mapping[str, Any]) -> str:
    """One sentence on what was chosen."""
    if chosen["looks"] == 1:
        return (
            f"{stage}: the weights after step {chosen['step']} of {steps} are kept, the only ones that were looked at"
        )
    return (
        f"{stage}: the weights after step {chosen['step']} of {steps} are kept, the best {chosen['metric']} of "
        f"{chosen['looks']} looks on the way ({chosen['value']:.3f})"
    )
