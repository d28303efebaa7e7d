"""Builds the Run that a checked recipe describes, and refuses combinations that cannot work, naming the fix.

It knows what values mean for each other. It loads tasks, but no model, and it runs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from togi.algorithms import ALGORITHMS
from togi.data import Collected, Generated, HubRows, Prompting, ReasoningGym, Rows, Source, Tasks, load_tasks, mixed
from togi.engines.engine_choice import DOES, LACKS, EngineChoice
from togi.envs import OneTurn
from togi.envs.constitution import Constitution, read_principles
from togi.envs.user_env import user_env
from togi.extras import lacking
from togi.find_function import absolute, imported
from togi.models.chosen_template import OWN, ChosenTemplate, read_template
from togi.models.lora_and_optimiser import Lora, Optimiser
from togi.models.model_source import check_source
from togi.protocols import Algorithm, Env, Reward
from togi.recipe import combinations as check
from togi.recipe.algorithm_settings import SettingError, attempts_of, configured, settings_of
from togi.recipe.errors import RecipeError, did_you_mean
from togi.recipe.key_lines import Key
from togi.recipe.read_toml import Reading
from togi.recipe.schema import (
    SOURCES,
    EnvTable,
    LoggingTable,
    OneSourceTable,
    RewardTable,
    SamplingTable,
    SourceTable,
    StageSourceTable,
    StageTable,
)
from togi.rewards.expression import parse_reward
from togi.run import Evaluation, Logging, ModelChoice, Run, Stage, Until
from togi.sandbox.workers.pool import Pool
from togi.types import Sampling, Task

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One stage with its algorithm and sampling decided, before anything is loaded."""

    table: StageTable
    name: str
    key: Key
    algorithm: Algorithm
    sampling: SamplingTable


def build(reading: Reading, folder: Path | None = None) -> Run:
    """The run of a recipe; ``folder`` is ``runs/NAME`` unless given.

    Raises:
        RecipeError: combinations that cannot work, tasks that cannot be loaded, rewards that cannot be read.
    """
    return Builder(reading).run(folder)


class Builder:
    """One recipe being built. Problems are collected as far as possible, so that one try shows them all."""

    def __init__(self, reading: Reading) -> None:
        self.reading, self.recipe = reading, reading.recipe
        self.problems: list[str] = []
        grading = self.recipe.grading
        self.pool = Pool(
            workers=grading.workers, seconds=grading.seconds, memory_mb=grading.memory_mb, tier=grading.tier
        )
        self.loaded: dict[str, Tasks] = {}
        self.tasks_of: dict[str, Tasks] = {}
        self.prompting = Prompting()

    def run(self, folder: Path | None) -> Run:
        plans = [plan for index, table in enumerate(self.recipe.stage) if (plan := self.plan(index, table))]
        model = self.model()
        prompt = self.recipe.prompt
        try:
            self.prompting = Prompting(system=prompt.system, template=prompt.template, format=prompt.format)
        except ValueError as error:
            self.refuse(("prompt",), str(error))
        for problem in check.recipe(self.recipe, [plan.name for plan in plans]):
            self.refuse(*problem)
        for problem in check.order(self.recipe, [(plan.name, plan.algorithm) for plan in plans]):
            self.refuse(*problem)
        for plan in plans:
            for key, message in check.stage(plan.table, plan.algorithm, plan.sampling, paid=self.pays(plan.table)):
                self.refuse((*plan.key, *key), message)
        self.stop_if_refused()
        # Held-out tasks come first: they stay the same whatever is trained on, and training leaves them out.
        test = self.recipe.data.test
        held_out = self.tasks(test, ("data", "test"), "test", Tasks([])) if test else Tasks([])
        stages = [stage for plan in plans if (stage := self.stage(plan, held_out))]
        evaluation = self.evaluation(held_out)
        self.stop_if_refused()
        return Run(
            name=self.recipe.name,
            folder=folder or Path("runs") / self.recipe.name,
            model=model,
            stages=tuple(stages),
            evaluation=evaluation,
            engine=EngineChoice(kind=self.recipe.engine.kind, batch_size=self.recipe.engine.batch_size),
            seed=self.recipe.seed,
            save_every=self.recipe.checkpoint.every,
            keep=self.recipe.checkpoint.keep,
            logging=logging_of(self.recipe.logging),
            recipe=resolved(self.reading, plans),
        )

    def refuse(self, key: Key, message: str) -> None:
        self.problems.append(self.reading.problem(key, message))

    def stop_if_refused(self) -> None:
        if self.problems:
            raise RecipeError(dict.fromkeys(self.problems))

    def plan(self, index: int, table: StageTable) -> Plan | None:
        key: Key = ("stage", index)
        try:
            named = algorithm_named(table.algorithm, self.reading.base)
        except ValueError as error:
            self.refuse((*key, "algorithm"), str(error))
            return None
        sampling = merged(self.recipe.sampling, table.sampling)
        try:
            algorithm = configured(named, table.settings, attempts=table.attempts, max_tokens=sampling.max_tokens)
        except SettingError as error:
            self.refuse((*key, *error.key), str(error))
            return None
        lacking_abilities = algorithm.sampler.asks & LACKS[self.recipe.engine.kind]
        for ability in sorted(lacking_abilities):
            engine = self.recipe.engine.kind
            self.refuse((*key, "algorithm"), f"{table.algorithm} {DOES[ability]}, which the engine {engine} cannot do")
        return Plan(
            table=table,
            name=table.name or table.algorithm.rpartition(":")[2].lower(),
            key=key,
            algorithm=algorithm,
            sampling=sampling,
        )

    def model(self) -> ModelChoice:
        table = self.recipe.model
        lora = None
        if table.lora is not None:
            if find_spec("peft") is None:
                self.refuse(("model", "lora"), lacking("an adapter", "lora"))
            lora = Lora(
                rank=table.lora.rank,
                alpha=table.lora.alpha,
                dropout=table.lora.dropout,
                targets=table.lora.targets or "all-linear",
            )
        place = self.reading.base / Path(table.source).expanduser()
        source = str(place) if place.exists() else table.source
        if not place.exists() and (table.source.startswith((".", "/", "~")) or table.source.endswith(".gguf")):
            self.refuse(("model", "source"), f"there is no {place}")
        else:
            try:
                check_source(source)
            except ValueError as error:
                self.refuse(("model", "source"), str(error))
        return ModelChoice(
            source=source, dtype=table.dtype, device=table.device, lora=lora, template=self.chat_template()
        )

    def chat_template(self) -> ChosenTemplate:
        """What the recipe changes about the model's chat template; nothing after a refusal."""
        file, args = self.recipe.model.chat_template, self.recipe.prompt.template_args
        text = None
        if file is not None:
            try:
                text = read_template(self.reading.base / Path(file).expanduser())
            except ValueError as error:
                self.refuse(("model", "chat_template"), str(error))
        try:
            return ChosenTemplate(text=text, args=args)
        except ValueError as error:
            self.refuse(("prompt", "template_args"), str(error))
            return OWN

    def pays(self, table: StageTable) -> bool:
        return (table.reward or self.recipe.reward) is not None

    def stage(self, plan: Plan, held_out: Tasks | None) -> Stage | None:
        table = plan.table
        key: Key = (*plan.key, "data") if table.data else ("data", "train")
        tasks = self.asked(table.data or self.recipe.data.train, key, held_out)
        sampler = plan.algorithm.sampler
        reward = self.reward(table.reward, (*plan.key, "reward")) if sampler.rewarded else None
        gold = self.reward(self.recipe.gold, ("gold",)) if sampler.writes and self.recipe.gold else None
        env = self.env(plan)
        mix = self.asked(table.mix, (*plan.key, "mix"), held_out) if table.mix else None
        if tasks is None or env is None or (sampler.rewarded and reward is None):
            return None
        for problem in check.answers(tasks, reward) if reward else ():
            self.refuse(key, problem)
        for problem in check.credit(reward, plan.algorithm) if reward else ():
            self.refuse((*plan.key, "reward") if table.reward else ("reward",), problem)
        collected = collected_of(table.data) if table.data else None
        self.tasks_of[plan.name] = tasks
        if not sampler.writes and collected is None:
            name = plan.table.algorithm
            for problem in (*check.tasks(tasks, name), *check.judged(tasks, plan.algorithm, name)):
                self.refuse(key, problem)
        for problem in check.tasks(mix or (), "the mix"):
            self.refuse((*plan.key, "mix"), problem)
        return Stage(
            name=plan.name,
            algorithm=plan.algorithm,
            tasks=tasks,
            reward=reward,
            gold=gold,
            env=env,
            measured=table.measured,
            until=Until(**table.until.model_dump()) if table.until else None,
            stop_on_collapse=table.stop_on_collapse,
            start=table.start,
            critic_start=table.critic_start,
            collected=collected,
            held_out=table.held_out,
            mix=mix,
            mix_per_step=table.mix_per_step if mix else 0,
            steps=table.steps,
            tasks_per_step=table.tasks_per_step,
            sampling=sampling_of(plan.sampling),
            minibatches=table.minibatches,
            epochs=table.epochs,
            optimiser=Optimiser(
                learning_rate=table.learning_rate or 0.0,
                critic_learning_rate=table.critic_learning_rate,
                betas=table.betas,
                weight_decay=table.weight_decay,
                warmup_steps=table.warmup_steps,
                schedule=table.schedule,
                total_steps=table.steps * table.minibatches * table.epochs,
                clip_norm=table.clip_norm,
                tokens_per_microbatch=table.tokens_per_microbatch or Optimiser.tokens_per_microbatch,
            ),
        )

    def evaluation(self, held_out: Tasks | None) -> Evaluation | None:
        table = self.recipe.evaluation
        if table is None:
            return None
        reward = self.reward(table.reward, ("evaluation", "reward"))
        env = self.env_of(table.env, ("evaluation", "env"))
        if not held_out or reward is None or env is None:
            return None
        for problem in check.answers(held_out, reward):
            self.refuse(("data", "test"), problem)
        return Evaluation(
            tasks=held_out[: table.tasks],
            reward=reward,
            sampling=sampling_of(merged(self.recipe.sampling, table.sampling)),
            attempts=table.attempts,
            every=table.every or 0,
            every_attempts=table.every_attempts or (table.attempts if table.every else 0),
            env=env,
        )

    def env(self, plan: Plan) -> Callable[[Task], Env] | None:
        """What answers the model in a stage: nobody but the task, an environment, or a constitution. None after a
        refusal."""
        table = plan.table
        if table.constitution is None:
            return self.env_of(table.env, (*plan.key, "env")) if plan.algorithm.sampler.writes else OneTurn
        if table.env is not None:
            self.refuse((*plan.key, "env"), "the constitution is what answers the model here: leave one of the two out")
        try:
            principles = read_principles(self.reading.base / Path(table.constitution).expanduser())
            return Constitution(principles=principles, rounds=table.rounds)
        except ValueError as error:
            self.refuse((*plan.key, "constitution"), str(error))
            return None

    def env_of(self, own: EnvTable | None, own_key: Key) -> Callable[[Task], Env] | None:
        """The environment of a table, or else of the recipe; None after a refusal."""
        table, key = (own, own_key) if own else (self.recipe.env, ("env",))
        if table is None:
            return OneTurn
        try:
            return user_env(table.use, table.settings, self.reading.base)
        except ValueError as error:
            self.refuse((*key, "use"), str(error))
            return None

    def asked(self, table: SourceTable, key: Key, held_out: Tasks | None) -> Tasks | None:
        """The tasks a stage asks, or for rollouts those that were asked when they were sampled."""
        if isinstance(table, StageSourceTable) and table.rollouts is not None:
            return self.tasks_of.get(table.rollouts)
        return self.tasks(table, key, "train", held_out)

    def tasks(self, table: OneSourceTable, key: Key, split: str, exclude: Tasks | None) -> Tasks | None:
        """The tasks of a source, loaded once however many stages learn from them; None after a refusal."""
        name = f"{split} {table.model_dump_json()}"
        if name in self.loaded:
            return self.loaded[name]
        if isinstance(table, SourceTable) and table.sources is not None:
            places = ((part, (*key, "sources", index)) for index, part in enumerate(table.sources))
            parts = [self.tasks(part, place, split, exclude) for part, place in places]
            if any(part is None for part in parts):
                return None
            self.loaded[name] = mixed([each for each in parts if each], [part.weight for part in table.sources])
            return self.loaded[name]
        base, prompting = self.reading.base, self.prompting
        if table.demonstrate is not None:
            try:
                prompting = replace(prompting, demonstrate=absolute(table.demonstrate, base))
            except ValueError as error:
                self.refuse((*key, "demonstrate"), str(error))
                return None
        try:
            self.loaded[name] = load_tasks(source_of(table, base), prompting, split=split, exclude=exclude or ())
        except ValueError as error:
            self.refuse(key, str(error))
            return None
        return self.loaded[name]

    def reward(self, own: RewardTable | None, own_key: Key) -> Reward | None:
        table, key = (own, own_key) if own else (self.recipe.reward, ("reward",))
        assert table is not None
        try:
            return parse_reward(table.score, self.reading.base, pool=self.pool, tier=self.recipe.grading.tier)
        except ValueError as error:
            self.refuse((*key, "score"), str(error))
            return None


def logging_of(table: LoggingTable) -> Logging:
    return Logging(to=tuple(dict.fromkeys(table.to)), project=table.project, run_name=table.run_name or "")


def algorithm_named(name: str, base: Path) -> Algorithm:
    """Togi's own algorithm of this name, or the user's of ``file.py:NAME``: an instance, or a class to make one of.

    Raises ValueError for one that is not there, and for what is no algorithm.
    """
    if ":" not in name:
        if name not in ALGORITHMS:
            raise ValueError(f'no algorithm {name!r}; {did_you_mean(name, ALGORITHMS)} One of your own: "file.py:NAME"')
        return ALGORITHMS[name]
    try:
        found = imported(name, base)
        found = found() if isinstance(found, type) else found
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f'"{name}" cannot be made: {type(error).__name__}: {error}') from error
    missing = [each for each in ("sampler", "needs", "credit", "loss") if not hasattr(found, each)]
    if missing or not is_dataclass(found):
        lacks = f"has no {' and no '.join(missing)}" if missing else "is no dataclass"
        raise ValueError(
            f'"{name}" {lacks}: an algorithm is a frozen dataclass that derives from togi.PolicyGradient or '
            "another of Togi's algorithms"
        )
    return cast(Algorithm, found)


def collected_of(table: StageSourceTable) -> Collected | None:
    return None if table.rollouts is None else Collected(stage=table.rollouts, best=table.best)


def source_of(table: OneSourceTable, base: Path) -> Source:
    """The source of tasks a table names, with paths made absolute. Raises ValueError."""
    if table.file is not None:
        return Rows(path=base / Path(table.file).expanduser(), columns=table.columns, turns=table.turns)
    if table.hub is not None:
        return HubRows(
            name=hub_name(table.hub, base),
            subset=table.subset,
            split=table.split,
            revision=table.revision,
            columns=table.columns,
            turns=table.turns,
        )
    assert table.size is not None
    if table.reasoning_gym is not None:
        return ReasoningGym(name=table.reasoning_gym, size=table.size, seed=table.seed, config=table.config)
    assert table.generate is not None
    return Generated(function=absolute(table.generate, base), size=table.size, seed=table.seed)


def hub_name(name: str, base: Path) -> str:
    """The name of a data set of the hub, or the folder that is a copy of one. Raises ValueError."""
    folder = base / Path(name).expanduser()
    if folder.is_dir():
        return str(folder)
    if HUB_NAME.fullmatch(name) is None:
        raise ValueError(f'hub = "{name}": there is no folder {folder}, and a data set of the hub is "owner/name"')
    return name


def merged(general: SamplingTable, own: SamplingTable) -> SamplingTable:
    """The general sampling with what a stage or the evaluation says of its own."""
    return general.model_copy(update={name: vars(own)[name] for name in own.model_fields_set})


def sampling_of(table: SamplingTable) -> Sampling:
    return Sampling(
        max_tokens=table.max_tokens,
        temperature=table.temperature,
        top_p=table.top_p,
        top_k=table.top_k,
        min_p=table.min_p,
        stop=table.stop,
        ignore_eos=table.ignore_eos,
    )


def resolved(reading: Reading, plans: list[Plan]) -> dict[str, Any]:
    """The recipe with every default filled in, as plain data that reads back as the same recipe.

    Paths stay as they were written; ``relative_to`` says what they are relative to, so that the resolved recipe runs
    from any folder.
    """
    values: dict[str, Any] = reading.recipe.model_dump(mode="json", exclude_none=True)
    values = {"name": values.pop("name"), "relative_to": str(reading.base), **values}
    given = [stage[name] for stage in values["stage"] for name in ("data", "mix") if name in stage]
    for table in (*values["data"].values(), *given):
        for part in (table, *table.get("sources", ())):
            used = next(keys for name, keys in SOURCES.items() if name in part)
            for name in part.keys() - used - ({"weight"} if part is not table else set()):
                del part[name]
    for stage, plan in zip(values["stage"], plans, strict=True):
        stage["name"] = plan.name
        stage["settings"] = settings_of(plan.algorithm)
        for name, needed in (("mix_per_step", "mix"), ("rounds", "constitution")):
            if needed not in stage:
                del stage[name]
        attempts = attempts_of(plan.algorithm)
        if attempts is None:
            del stage["sampling"]
        else:
            stage["attempts"] = attempts
            stage["sampling"] = plan.sampling.model_dump(mode="json")
    if reading.recipe.evaluation is not None:
        own = merged(reading.recipe.sampling, reading.recipe.evaluation.sampling)
        values["evaluation"]["sampling"] = own.model_dump(mode="json")
    return values
