"""What the file of an experiment may say: one frozen pydantic model a table. It knows no recipe and no training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from togi.recipe.schema import Name, StageName, Table, Text

Control = Literal[
    "random_reward", "format_only", "shuffled_answers", "sft_same_tokens", "best_of_n", "majority", "better_prompt"
]
Chances = Literal["init", "order", "sampling"]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
MOST_SEEDS, MOST_ARMS = 1000, 100


class BudgetTable(Table):
    hours: Annotated[float, Field(gt=0)] | None = None
    """Hours of work in all cells together."""
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
    vary: Annotated[tuple[Chances, ...], Strict(False), Field(min_length=1, max_length=3)] = (
        "init",
        "order",
        "sampling",
    )
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
    """Arms by name; the recipe as it is, named `recipe`, when there is none."""
