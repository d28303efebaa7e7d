"""The trials of a sweep and what they led to, as the events of an experiment's folder tell of them. It runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from togi.experiment.sweep.sweep_design import Trial, Values
from togi.run_folder.integrity import Chain

SEARCHING, ASKED, TOLD, CHOSEN, CHOSE_NOTHING = "searching", "asked", "told", "chosen", "chose_nothing"


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What a search chose: the ``values`` of a ``trial``, and what that gave. ``alike`` names the arm that has them
    anyway, empty where none has; ``why`` says what ended the search before all trials were made."""

    trial: int
    values: Values
    value: float
    alike: str = ""
    why: str = ""

    @property
    def nothing_better(self) -> str:
        """That an arm has these values anyway; empty where none has."""
        return f"the search found nothing better than {self.alike}, which has these values" if self.alike else ""

    @property
    def about(self) -> str:
        return f"what the search chose: {in_words(self.values)}"


def in_words(values: Values) -> str:
    return ", ".join(f"{key}={value}" for key, value in values.items())


def trials_in(chain: Chain) -> list[Trial]:
    """All trials in order, as they stand."""
    found: dict[int, Trial] = {}
    for event in chain.events:
        if event.get("event") == ASKED:
            found[event["trial"]] = Trial(number=event["trial"], values=event["values"])
        elif event.get("event") == TOLD:
            found[event["trial"]] = replace(
                found[event["trial"]],
                how=event["how"],
                value=event.get("value"),
                points=tuple(event.get("points", ())),
                why=str(event.get("why", "")),
            )
    return list(found.values())


def told(trial: Trial) -> dict[str, Any]:
    """What an event says of a trial that has ended."""
    value = {} if trial.value is None else {"value": trial.value}
    why = {"why": trial.why} if trial.why else {}
    return {"trial": trial.number, "how": trial.how, **value, "points": list(trial.points), **why}


def chosen_in(chain: Chain) -> Chosen | None:
    """What was chosen in the end; None as long as nothing is."""
    found = [event for event in chain.events if event.get("event") == CHOSEN]
    names = ("trial", "values", "value", "alike", "why")
    return Chosen(**{name: found[-1][name] for name in names if name in found[-1]}) if found else None


def chose_nothing(chain: Chain) -> str:
    """Why a search has chosen nothing so far; empty where it has, or is not through."""
    found = [event for event in chain.events if event.get("event") in (CHOSEN, CHOSE_NOTHING)]
    return str(found[-1]["why"]) if found and found[-1]["event"] == CHOSE_NOTHING else ""


def with_choice(plan: Mapping[str, Any], searched: str, chosen: Chosen | None) -> dict[str, Any]:
    """A plan whose searched arm is what was chosen; without that arm where another one has these values."""
    arms = dict(plan["arms"])
    if chosen is not None and chosen.alike:
        del arms[searched]
    elif chosen is not None:
        arms[searched] = {**arms[searched], "about": chosen.about}
    return {**plan, "arms": arms}
