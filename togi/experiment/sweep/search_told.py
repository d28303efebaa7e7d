"""What a search tried and chose, in sentences and as rows, for a terminal or a page. It chooses nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from togi.experiment.outcome import Outcome
from togi.experiment.sweep.sweep_design import Trial
from togi.experiment.sweep.trials import in_words

NONE = "–"


def search_told(outcome: Outcome) -> Iterator[str]:
    """What was searched and chosen, a sentence each; nothing where there was no search."""
    sweep = outcome.plan.get("sweep")
    if sweep is None:
        return
    yield f"{_counted(outcome)} of {sweep['trials']} planned, each with {_seeds(sweep['seeds'])}."
    chosen = outcome.chosen
    if chosen is None:
        return
    if chosen.why:
        yield f"The search ended early: {chosen.why}."
    usual = [trial for trial in outcome.trials if trial.number == 0 and trial.values == sweep.get("usual")]
    beside = f", the recipe as it is {score(outcome, usual[0].value)}" if usual and chosen.trial else ""
    yield (
        f"Trial {chosen.trial} is the best: {in_words(chosen.values)}. On the tasks that choose it gave "
        f"{score(outcome, chosen.value)}{beside}."
    )
    if chosen.alike:
        yield f"{chosen.nothing_better[0].upper()}{chosen.nothing_better[1:]}."
    else:
        yield (
            "The best of several is partly luck. What it is worth is shown by the arm searched, with other seeds and "
            "on tasks that no trial was asked."
        )


def _counted(outcome: Outcome) -> str:
    count = Counter(trial.how for trial in outcome.trials)
    words = {"done": "finished", "hopeless": "stopped as hopeless", "begun": "not finished"}
    parts = ", ".join(f"{number} {words.get(how, how)}" for how, number in count.items())
    made = len(outcome.trials)
    return f"{made} trial{'s' if made != 1 else ''}{f' ({parts})' if parts else ''}"


def _seeds(seeds: list[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def score(outcome: Outcome, value: float | None) -> str:
    if value is None:
        return NONE
    return f"{100 * value:.1f}%" if in_shares(outcome) else f"{value:.3f}"


def in_shares(outcome: Outcome) -> bool:
    """Whether the measure goes from 0 to 1."""
    return str(outcome.plan["measure"]).startswith("pass@")


def trial_heads(outcome: Outcome) -> list[str]:
    if "sweep" not in outcome.plan:
        return []
    return [*outcome.plan["sweep"]["keys"], str(outcome.plan["measure"]), "state"]


def trial_rows(outcome: Outcome) -> Iterator[tuple[str, list[str]]]:
    """A row a trial, in order: its values, what it gave, and how it ended."""
    for trial in outcome.trials:
        values = [_shown(trial.values[key]) for key in outcome.plan["sweep"]["keys"]]
        yield str(trial.number), [*values, score(outcome, trial.value), _state(outcome, trial)]


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _state(outcome: Outcome, trial: Trial) -> str:
    if outcome.chosen is not None and trial.number == outcome.chosen.trial:
        return "chosen"
    return f"{trial.how}: {trial.why}" if trial.why and trial.how != "hopeless" else trial.how


def searched_keys(outcome: Outcome) -> Iterator[tuple[str, str]]:
    """Each key with the values that it could have."""
    for key, space in outcome.plan.get("sweep", {}).get("keys", {}).items():
        if "choices" in space:
            yield f"Searched: {key}", " or ".join(map(_shown, space["choices"]))
        else:
            yield f"Searched: {key}", f"{space['low']:g} to {space['high']:g}{' by magnitude' if space['log'] else ''}"
