"""Everything a run is, as frozen nouns, and how its models are opened. Knows no recipe syntax and no training loop.

What loads a model is imported where it is loaded, so that a run can be described and refused without torch.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from togi.data import Collected, Tasks
from togi.engines.engine_choice import EngineChoice
from togi.envs.chat import OneTurn
from togi.models.chosen_template import OWN, ChosenTemplate
from togi.models.lora_and_optimiser import Lora, Optimiser
from togi.protocols import Algorithm, Engine, Env, Reward
from togi.rewards.algebra import Composable, Surroundings
from togi.samplers.replay import Replay
from togi.samplers.task_order import IN_TURN, Order
from togi.types import Beside, Limits, Sampling, Task

if TYPE_CHECKING:
    import torch

    from togi.models.load_model import Loaded
    from togi.rollout import Episodes
    from togi.tokenization import Chat

BASE = "base"  # what the untrained model is called among a run's policies


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """The weights a run starts from. ``dtype`` is what arithmetic runs in; ``auto`` asks the device. ``device`` names
    where every model of the run is, as ``find_device`` reads it."""

    source: str
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    device: str = "auto"
    lora: Lora | None = None
    template: ChosenTemplate = OWN


@dataclass(frozen=True, kw_only=True)
class Until:
    """A stage ends early once ``metric`` was above (or below) a bound in so many steps, one after the other.

    A step that does not give the metric interrupts the count.
    """

    metric: str
    above: float | None = None
    below: float | None = None
    steps: int = 1

    def met(self, metrics: Mapping[str, float]) -> bool:
        value = metrics.get(self.metric, math.nan)
        high = self.above is not None and value > self.above
        return high or (self.below is not None and value < self.below)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One algorithm at work: ``steps`` steps of ``tasks_per_step`` groups, each split into ``minibatches`` updates,
    ``epochs`` times over.

    It starts from the policy of the stage named ``start`` or of the run's own model ("base"); None takes the newest
    policy there is. ``critic_start`` names the stage whose reward model a critic of its own starts from. With
    ``collected`` it learns from what an earlier stage sampled at ``tasks``. ``held_out`` is the share of its tasks that
    a reward model does not learn from but is measured on. ``mix`` are tasks whose recorded answers are learned beside,
    ``mix_per_step`` of them (PPO's pretraining mix). ``gold`` is measured on every rollout and never trained on.
    ``measured`` says whether the evaluation is about this stage's policy, if it trains one. ``until`` ends it early.
    ``stop_on_collapse`` stops it where its policy is lost. After every ``reference_every`` steps the policy becomes its
    own reference (None: that stays the weights it started from). ``limits`` say where attempts in ``env`` are cut,
    ``beside`` that environments answer in threads. ``order`` says which tasks come next, ``replay`` which groups of
    earlier steps are learned from once more. ``teacher`` is a model that it learns from, a source or the name of an
    earlier stage; where nothing is trained, it is the one who answers.
    """

    name: str
    algorithm: Algorithm
    tasks: Tasks
    reward: Reward | None
    steps: int
    tasks_per_step: int
    sampling: Sampling
    optimiser: Optimiser
    minibatches: int = 1
    epochs: int = 1
    start: str | None = None
    teacher: str | None = None
    critic_start: str | None = None
    collected: Collected | None = None
    held_out: float = 0.0
    mix: Tasks | None = None
    mix_per_step: int = 0
    gold: Reward | None = None
    measured: bool = True
    until: Until | None = None
    stop_on_collapse: bool = True
    reference_every: int | None = None
    env: Callable[[Task], Env] = OneTurn
    limits: Limits = field(default=Limits())
    beside: Beside | None = None
    order: Order = IN_TURN
    replay: Replay | None = None

    @property
    def answered_by_teacher(self) -> bool:
        """Whether the teacher is the one who is sampled."""
        return self.teacher is not None and self.algorithm.trains == "nothing"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Held-out tasks, each asked ``attempts`` times of the base model and of the model after every stage; and
    ``every_attempts`` times of the policy on the way, after ``every`` steps of a stage (0: never).

    With ``best`` a stage's model is the one that was best by that metric on the way, its last step included; it is
    chosen on ``choice``, where there are such tasks, else on ``tasks``. ``under_base`` says that every answer is also
    read under the base model.
    """

    tasks: Tasks
    reward: Reward
    sampling: Sampling
    attempts: int
    every: int = 0
    every_attempts: int = 0
    best: Literal["pass@1", "mean_score"] | None = None
    choice: Tasks | None = None
    under_base: bool = False
    env: Callable[[Task], Env] = OneTurn
    limits: Limits = field(default=Limits())
    beside: Beside | None = None

    @property
    def tasks_on_the_way(self) -> Tasks:
        """What the policy is asked on the way."""
        return self.choice or self.tasks


@dataclass(frozen=True, kw_only=True)
class Logging:
    """Trackers that are sent the run's numbers, by name, and what the run is called there; "" is the run's own name."""

    to: tuple[str, ...] = ()
    project: str = "togi"
    run_name: str = ""


Chance = Literal["init", "order", "sampling"]


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """Seeds of what is random in a run: ``init`` of what is made new (models, adapters, heads) or dropped while
    learning, ``order`` of the tasks, ``sampling`` of answers. None takes the run's own seed."""

    init: int | None = None
    order: int | None = None
    sampling: int | None = None


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How many processes draw beside the one that learns (0: it draws itself), and how many learn; ``staleness`` is how
    many weight versions a group may be behind when it is learned from."""

    engines: int = 0
    learners: int = 1
    staleness: int = 0


@dataclass(frozen=True, kw_only=True)
class Run:
    """A whole run. ``recipe`` is its resolved recipe as plain data; ``save_every`` counts steps between checkpoints."""

    name: str
    folder: Path
    model: ModelChoice
    stages: tuple[Stage, ...]
    evaluation: Evaluation | None = None
    engine: EngineChoice = field(default_factory=EngineChoice)
    scale: Scale = Scale()
    seed: int = 0
    seeds: Seeds = field(default_factory=Seeds)
    save_every: int = 10
    keep: int = 2
    logging: Logging = field(default_factory=Logging)
    recipe: Mapping[str, Any] = field(default_factory=dict)


class Watch(Protocol):
    """Who is told how a run goes: a terminal, a notebook, a test."""

    def stage(self, name: str, steps: int, done: int) -> None: ...

    def phase(self, name: str) -> None: ...

    def progress(self, done: int, total: int) -> None: ...

    def step(self, step: int, metrics: Mapping[str, float], seconds: Mapping[str, float]) -> None: ...

    def note(self, text: str) -> None: ...


class Silent:
    """Watches nothing, but passes notes on to standard error: a warning must not get lost."""

    def stage(self, name: str, steps: int, done: int) -> None: ...

    def phase(self, name: str) -> None: ...

    def progress(self, done: int, total: int) -> None: ...

    def step(self, step: int, metrics: Mapping[str, float], seconds: Mapping[str, float]) -> None: ...

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)


def stage_model(folder: Path, name: str) -> Path:
    """Where the weights at the end of stage ``name`` are kept."""
    return folder / "models" / name


def seed_of(run: Run, chance: Chance) -> int:
    """The seed of one of the things that are random in a run."""
    own: int | None = getattr(run.seeds, chance)
    return run.seed if own is None else own


def start_of(run: Run, number: int) -> str:
    """The name of the policy that stage ``number`` starts from: an earlier stage's, or "base"."""
    named = run.stages[number].start
    earlier = [stage.name for stage in run.stages[:number] if stage.algorithm.trains == "policy"]
    return named or (earlier[-1] if earlier else BASE)


def open_model(run: Run, policy: str, dtype: torch.dtype | None = None, *, sampled: bool = True) -> Loaded:
    """The weights of a policy of the run, that of a finished stage or "base", the run's own source: in ``dtype`` to be
    asked alone, in float32 to be trained; of a model at a cluster its shape alone. Raises ValueError for a base that
    cannot be sampled, where the run samples and this process is one where it is ``sampled``.
    """
    import torch

    from togi.engines.open_engine import check_engine
    from togi.models.load_model import load_model, load_shape

    source = run.model.source if policy == BASE else str(stage_model(run.folder, policy))
    if run.engine.cluster is not None:
        loaded = replace(load_shape(run.model.source, template=run.model.template), source=source)
    else:
        loaded = load_model(
            source,
            dtype=dtype or torch.float32,
            device=run.model.device,
            lora=run.model.lora,
            template=run.model.template,
            seed=seed_of(run, "init"),
        )
    if sampled and policy == BASE and (run.evaluation or any(stage.algorithm.sampler.writes for stage in run.stages)):
        check_engine(loaded, run.engine)
    return loaded


def open_teacher(run: Run, stage: Stage, dtype: torch.dtype) -> Loaded:
    """The weights of a stage's teacher, which are never trained. Raises ValueError for one that the stage cannot use:
    where tokens are compared, it has to read the same ones; where it answers, it has to be one that is sampled."""
    from togi.engines.open_engine import check_engine
    from togi.models.load_model import load_model

    loaded = load_model(teacher_source(run, stage), dtype=dtype, device=run.model.device, seed=seed_of(run, "init"))
    loaded.model.requires_grad_(False)
    if stage.answered_by_teacher:
        check_engine(loaded, run.engine)
    return loaded


def other_tokens(stage: Stage) -> str:
    """What to do about a teacher with another tokenizer."""
    return (
        f"stage {stage.name}: the teacher {stage.teacher} reads other tokens than the student writes, and {stage.name} "
        'compares single tokens. Let it answer in a stage of algorithm = "collect" with this teacher, and learn its '
        "rollouts with sft; or take a teacher of the student's family"
    )


def teacher_source(run: Run, stage: Stage) -> str:
    """Where a stage's teacher is: a model that the run trains itself, or one that stands already."""
    assert stage.teacher is not None
    own = any(stage.teacher == each.name for each in run.stages)
    return str(stage_model(run.folder, stage.teacher)) if own else stage.teacher


def check_calls(where: Stage | Evaluation, chat: Chat) -> None:
    """Raises ValueError where the model's own template writes calls of tools in a form that is not read."""
    from togi.envs.open_env import Equips
    from togi.tools.form_of_calls import check_form

    if isinstance(where.env, Equips) and len(where.tasks):
        check_form(chat, where.tasks[0])


def ready(reward: Reward | None, run: Run, engine: Engine, chat: Chat, dtype: torch.dtype) -> Reward | None:
    """The reward with the models it asks loaded."""
    if isinstance(reward, Composable):
        at = Surroundings(engine=engine, chat=chat, folder=run.folder, dtype=dtype, device=run.model.device)
        return reward.opened(at)
    return reward


def open_play(run: Run, loaded: Loaded) -> Episodes:
    """Plays the evaluation's tasks with a model. Seeds depend on the run's, not on the model."""
    from togi.engines.open_engine import open_engine
    from togi.tokenization import Chat

    assert run.evaluation is not None
    engine, chat = open_engine(loaded, run.engine), Chat(loaded.tokenizer, loaded.eos_ids)
    reward = ready(run.evaluation.reward, run, engine, chat, loaded.model.dtype)
    return play_of(run.evaluation, engine, chat, reward, seed_of(run, "sampling"))


def play_of(where: Stage | Evaluation, engine: Engine, chat: Chat, reward: Reward | None, seed: int) -> Episodes:
    """Plays attempts as a stage or the evaluation has them: its environment, limits and sampling. ``reward`` is opened.
    Raises ValueError for a model whose form of calls is not read."""
    from togi.rollout import Episodes

    check_calls(where, chat)
    return Episodes(
        engine=engine,
        chat=chat,
        env=where.env,
        reward=reward,
        sampling=where.sampling,
        limits=where.limits,
        beside=where.beside,
        seed=seed,
    )
