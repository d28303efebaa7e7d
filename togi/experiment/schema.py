"""What the file of an experiment may say: one frozen pydantic model a table. It knows no recipe and no training."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, Strict, StrictFloat, StrictInt

from togi.recipe.schema import Name, StageName, Table, Text

Control = Literal[
    "random_reward", "format_only", "shuffled_answers", "sft_same_tokens", "best_of_n", "majority", "better_prompt"
]
Vary = Annotated[tuple[Literal["init", "order", "sampling"], ...], Strict(False), Field(min_length=1, max_length=3)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
MOST_SEEDS, MOST_ARMS = 1000, 100


class BudgetTable(Table):
    hours: Annotated[float, Field(gt=0)] | None = None
    """Hours by the clock, however many jobs are at work at once."""
    tokens: Annotated[int, Field(ge=1)] | None = None
    """Completion tokens that are learned from or measured, in all cells together."""
    money: Annotated[float, Field(gt=0)] | None = None
    """What all cells may cost, at the prices of `[experiment.prices]`."""


Price = Annotated[float, Field(gt=0)]


class PricesTable(Table):
    hour: Price | None = None
    """What an hour of this machine costs."""
    kilowatt_hour: Price | None = None
    """What a kilowatt hour of energy costs, where the machine tells how much it used."""
    judge_input: Price | None = None
    """What a million tokens cost that a judge at a server reads."""
    judge_output: Price | None = None
    """What a million tokens cost that a judge at a server writes."""
    currency: Annotated[Text, Field(max_length=10)] | None = None
    """What stands behind amounts of money, such as `EUR`."""


class ArmTable(Table):
    recipe: Text | None = None
    """Recipe of this arm, relative to the file; the experiment's own when left out."""
    changes: Annotated[tuple[Text, ...], Strict(False), Field(max_length=1000)] = ()
    """Changes to the recipe, as on the command line: `["stage.grpo.learning_rate=5e-6"]`."""
    vary: Vary | None = None
    """What differs between the seeds of this arm; what the experiment says when left out."""


class SearchedTable(Table):
    low: StrictInt | StrictFloat | None = None
    """Least value; with `high`, and whole numbers only where both are whole."""
    high: StrictInt | StrictFloat | None = None
    """Greatest value."""
    log: bool = False
    """Search by orders of magnitude: as much from 1e-6 to 1e-5 as from 1e-5 to 1e-4."""
    choices: Annotated[tuple[Any, ...], Strict(False), Field(max_length=100)] | None = None
    """One of these values instead: numbers, texts, true or false, or lists of them."""


class SweepTable(Table):
    keys: Annotated[dict[Text, SearchedTable], Field(min_length=1, max_length=20)]
    """What is searched: keys of the recipe in quotes, each with `low` and `high` or `choices`."""
    trials: Annotated[int, Field(ge=2, le=1000)]
    """How many values are tried; the recipe's own are the first."""
    seeds: (
        Annotated[int, Field(ge=1, le=MOST_SEEDS)]
        | Annotated[tuple[Seed, ...], Strict(False), Field(min_length=1, max_length=MOST_SEEDS)]
    ) = 1
    """How many seeds each trial is run with, or which; none that an arm is run with."""
    sampler: Literal["tpe", "random"] = "tpe"
    """How values are chosen: by what earlier trials gave (`tpe`), or at `random`."""
    seed: Seed = 0
    """Seed of the sampler."""
    stop_hopeless: bool = False
    """Stop a trial that is below the median of finished ones; needs `evaluation.every` in the recipe."""
    budget_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the experiment's budget that trials may spend, so that the rest is left for measuring the best."""


class ExperimentTable(Table):
    name: Name | None = None
    """Name of the experiment, whose folder is `experiments/NAME`; the file's own name when left out."""
    question: Text
    """What the experiment is to answer, in a sentence."""
    recipe: Text
    """The recipe that arms change, relative to the file."""
    changes: Annotated[tuple[Text, ...], Strict(False), Field(max_length=1000)] = ()
    """Changes to the recipe in every arm and control."""
    measure: Annotated[str, Field(pattern=r"^(score|pass@[1-9][0-9]{0,3})$")]
    """What is compared, on held-out tasks: `pass@1` (or `pass@8`, …), or `score`, the mean score of a task."""
    smallest_effect: Annotated[float, Field(gt=0)]
    """The smallest difference that matters, in the measure's own unit: 0.03 is three points of pass@1."""
    rule: Literal["better", "no worse"] = "better"
    """What an arm must be for the answer to be go: `better` than `against`, or `no worse` by the smallest effect."""
    against: StageName = "base"
    """What arms are compared with: `base`, the untrained model, or an arm."""
    seeds: (
        Annotated[int, Field(ge=1, le=MOST_SEEDS)]
        | Annotated[tuple[Seed, ...], Strict(False), Field(min_length=1, max_length=MOST_SEEDS)]
    )
    """How many seeds each arm is run with, or which."""
    vary: Vary = ("init", "order", "sampling")
    """What differs between seeds: `init` of what is made new, the `order` of tasks, `sampling` of answers."""
    controls: Annotated[tuple[Control, ...], Strict(False), Field(max_length=7)] = ()
    """Controls by name: arms that gain only what has nothing to do with the reward."""
    better_prompt: Text | None = None
    """System message of the control `better_prompt`."""
    ablate: Annotated[tuple[Text, ...], Strict(False), Field(max_length=MOST_ARMS)] = ()
    """Arms without one thing: `stage.NAME`, `reward.PART`, or a key that the recipe sets."""
    level: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Level of the intervals."""
    others: Annotated[dict[StageName, Text], Field(max_length=MOST_ARMS)] = Field(default_factory=dict)
    """Recipes by name whose held-out tasks all arms are measured on too, so that what was forgotten is seen."""
    budget: BudgetTable = BudgetTable()
    """What stops the experiment with what is known by then."""
    prices: PricesTable = PricesTable()
    """What things cost, to tell the experiment's cost in money."""


class ExperimentFile(Table):
    """An experiment, written down."""

    experiment: ExperimentTable
    """What is asked, and how it is decided."""
    arms: Annotated[dict[StageName, ArmTable], Field(max_length=MOST_ARMS)] = Field(default_factory=dict)
    """Arms by name; the recipe as it is, named `recipe`, when there are none and no grid."""
    grid: dict[str, JsonValue] = Field(default_factory=dict)
    """Values of recipe keys: an arm for every combination."""
    sweep: SweepTable | None = None
    """A search for better values of the recipe's keys; what it chooses is the arm `searched`."""
