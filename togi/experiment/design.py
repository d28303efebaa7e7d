"""What an experiment is, decided before anything runs: its question, its arms, its seeds and its rule, as plain
nouns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from togi.experiment.sweep.sweep_design import SEARCHED, Numbers, Sweep
from togi.run import BASE, Chance, Run, Seeds
from togi.run_folder.run_description import made_of

ALL: tuple[Chance, ...] = ("init", "order", "sampling")
Taken = Literal["every", "best", "majority"]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What ends an experiment with what is known by then; None is no bound."""

    hours: float | None = None
    tokens: int | None = None
    money: float | None = None


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What an hour of this machine costs, a kilowatt hour, and a million tokens that a judge at a server reads and
    writes; None is no price."""

    hour: float | None = None
    kilowatt_hour: float | None = None
    judge_input: float | None = None
    judge_output: float | None = None
    currency: str | None = None

    @property
    def any(self) -> bool:
        return any(price is not None for price in (self.hour, self.kilowatt_hour, self.judge_input, self.judge_output))


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One of the things compared. ``run`` is its recipe, built; None where a function measures it.

    ``stages`` is how many of the run's stages are trained (None: all). ``control`` says that it is one, and ``about``
    in a sentence what it is. ``taken`` says which of a task's attempts counts: every one, the best of them, or the
    answer that most of them give. ``tokens_of`` names the arm whose paid stages say how many tokens it learns. ``vary``
    says what differs between its seeds (None: what the experiment says), ``levels`` which value it has of each thing
    that a grid varies, counted from 0.
    """

    name: str
    run: Run | None = None
    stages: int | None = None
    control: bool = False
    about: str = ""
    taken: Taken = "every"
    tokens_of: str | None = None
    vary: tuple[Chance, ...] | None = None
    levels: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Varied:
    """One of the recipe's keys that a grid varies; each value is compared with the first."""

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Arms times seeds, and what decides between them.

    ``measure`` is ``pass@K`` or ``score`` of held-out tasks, or, with ``function``, one of the numbers that it gives;
    ``smallest_effect`` is in its unit. Arms are compared with ``against``: an arm, or "base", the untrained model.
    ``rule`` says what an arm must be for the answer to be go. ``vary`` says what differs between seeds, ``grid`` what
    the arms with levels are all combinations of. ``others`` are runs whose held-out tasks all arms are measured on too.
    With a ``sweep`` there is one more arm, "searched": the values that it chose.
    """

    name: str
    question: str
    measure: str
    smallest_effect: float
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]
    grid: tuple[Varied, ...] = ()
    rule: Literal["better", "no worse"] = "better"
    against: str = BASE
    vary: tuple[Chance, ...] = ALL
    level: float = 0.95
    budget: Budget = field(default_factory=Budget)
    prices: Prices = field(default_factory=Prices)
    others: Mapping[str, Run] = field(default_factory=dict)
    function: Callable[[str, int], Numbers] | None = None
    sweep: Sweep | None = None

    def __post_init__(self) -> None:
        refuse(self)

    @classmethod
    def from_function(
        cls,
        function: Callable[[str, int], Numbers],
        *,
        name: str,
        question: str,
        arms: Sequence[str],
        measure: str,
        smallest_effect: float,
        seeds: int | Sequence[int],
        against: str | None = None,
        controls: Sequence[str] = (),
        rule: Literal["better", "no worse"] = "better",
        level: float = 0.95,
        budget: Budget | None = None,
        sweep: Sweep | None = None,
    ) -> Experiment:
        """An experiment on anything that can be measured: ``function(arm, seed)`` gives numbers by name, each one
        number or one a task, and ``measure`` is that which decides. Arms are compared with the first, unless
        ``against`` names another; ``controls`` are those that are controls. Higher is better. A ``sweep`` is one of
        ``Functions``, which measure the arm "searched" as well."""
        return cls(
            name=name,
            question=question,
            measure=measure,
            smallest_effect=smallest_effect,
            arms=tuple(Arm(name=arm, control=arm in controls) for arm in (*arms, *controls)),
            seeds=tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds),
            against=against or next(iter(arms), ""),
            rule=rule,
            level=level,
            budget=budget or Budget(),
            function=function,
            sweep=sweep,
        )

    @property
    def plan(self) -> dict[str, Any]:
        """All that is decided beforehand, as plain values, with the digests of data and files."""
        arms = {
            arm.name: {
                **({"stages": arm.stages} if arm.stages is not None else {}),
                "control": arm.control,
                "about": arm.about,
                "taken": arm.taken,
                **({"tokens_of": arm.tokens_of} if arm.tokens_of is not None else {}),
                **({"vary": list(arm.vary)} if arm.vary is not None else {}),
                **({"levels": list(arm.levels)} if arm.levels else {}),
                **(made_of(arm.run) if arm.run else {}),
            }
            for arm in self.arms
        }
        prices = asdict(self.prices).items()
        if self.sweep is not None:
            arms[SEARCHED] = {"control": False, "about": "what the search chose", "taken": "every"}
        own = ("name", "question", "measure", "smallest_effect", "rule", "against", "level")
        return {
            **{key: getattr(self, key) for key in own},
            "seeds": list(self.seeds),
            "vary": list(self.vary),
            "budget": {key: value for key, value in asdict(self.budget).items() if value is not None},
            **({"prices": {key: value for key, value in prices if value}} if self.prices.any else {}),
            **({"others": {name: made_of(run) for name, run in self.others.items()}} if self.others else {}),
            **({"grid": [asdict(each) for each in self.grid]} if self.grid else {}),
            "arms": arms,
            **({"sweep": self.sweep.plan} if self.sweep else {}),
        }

    def vary_of(self, arm: str) -> tuple[Chance, ...]:
        """What differs between the seeds of an arm, or of what a sweep tries."""
        own = next((each.vary for each in self.arms if each.name == arm), None)
        return self.vary if own is None else own


class ExperimentError(ValueError):
    """An experiment that cannot be run, or would show nothing; the message says what to do."""


def refuse(experiment: Experiment) -> None:
    """Raises ExperimentError for what no run could mend."""
    names = [*(arm.name for arm in experiment.arms), *([SEARCHED] if experiment.sweep else [])]
    if not names:
        raise ExperimentError("an experiment compares arms, and there is none: add [arms.NAME]")
    if odd := [name for name in names if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,99}", name)]:
        raise ExperimentError(f"{odd[0]!r} names no arm: letters, digits, - and _, the first a letter")
    if twice := [name for name in names if names.count(name) > 1]:
        raise ExperimentError(f"two arms are called {twice[0]!r}: give one another name")
    if BASE in names:
        raise ExperimentError('no arm is called "base": that is the untrained model')
    if experiment.sweep and (again := set(experiment.seeds) & set(experiment.sweep.seeds)):
        raise ExperimentError(
            f"the seed {min(again)} is that of trials and of arms: what is chosen needs seeds that had no say in the "
            "choice"
        )
    if len(set(experiment.seeds)) < len(experiment.seeds):
        raise ExperimentError("a seed is named twice: name each once")
    if len(experiment.seeds) < 2:
        raise ExperimentError(
            "one seed says nothing of how far runs differ by chance, so no interval can be given: set seeds = 3 or "
            "more. A single run is togi train RECIPE, and togi eval RUN measures it"
        )
    known = names if experiment.function else [BASE, *names]
    if experiment.against not in known:
        raise ExperimentError(f"against = {experiment.against!r} is no arm: there is {', '.join(known)}")
    if experiment.against != BASE and len(names) < 2:
        raise ExperimentError(f"{experiment.against} is compared with nothing: add another arm")
    if not experiment.sweep and all(arm.control for arm in experiment.arms if arm.name != experiment.against):
        raise ExperimentError("all arms are controls: add the arm that they are controls of")
    if experiment.budget.money is not None and not experiment.prices.any:
        raise ExperimentError(
            "budget.money needs prices: add [experiment.prices] with hour, what an hour of this machine costs"
        )
    if not experiment.smallest_effect > 0:
        raise ExperimentError(f"smallest_effect is above 0; got {experiment.smallest_effect:g}")


def seeded(run: Run, seed: int, vary: Sequence[Chance]) -> Run:
    """The run with another seed for what varies. What all varies with is the seed of the whole run."""
    if set(vary) == set(ALL):
        return replace(run, seed=seed, recipe={**run.recipe, "seed": seed})
    own = dict.fromkeys(vary, seed)
    seeds = {**run.recipe.get("seeds", {}), **own}
    return replace(run, seeds=Seeds(**seeds), recipe={**run.recipe, "seeds": seeds})


def seed_changes(seed: int, vary: Sequence[Chance]) -> list[str]:
    """The same as changes to a recipe."""
    return [f"seed={seed}"] if set(vary) == set(ALL) else [f"seeds.{chance}={seed}" for chance in vary]
