"""Builds the Run that a checked recipe describes, and refuses combinations that cannot work, naming the fix.

It knows what values mean for each other. It loads tasks, but no model, and it runs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from togi.algorithms.policy_gradient.base import Regularised
from togi.data import Prompting, Tasks, load_tasks, mixed, with_shuffled_answers
from togi.data.mixture import weights_at
from togi.engines.engine_choice import DOES, LACKS
from togi.envs import OneTurn
from togi.envs.constitution import Constitution, read_principles
from togi.envs.open_env import NONE, Equips, against, open_env
from togi.envs.tool_use import ToolUse
from togi.envs.trl_env import TrlEnv
from togi.extras import lacking
from togi.find_function import absolute
from togi.models.chosen_template import OWN, ChosenTemplate, read_template
from togi.models.model_source import check_shape, check_source, is_function
from togi.protocols import Env, Reward
from togi.recipe import (
    ahead_combinations,
    cluster_combinations,
    combinations,
    engine_combinations,
    stage_combinations,
    task_combinations,
)
from togi.recipe.algorithm_settings import SettingError, configured
from togi.recipe.errors import RecipeError
from togi.recipe.from_tables import engine_of, logging_of, lora_of, optimiser_of, sampling_of
from togi.recipe.key_lines import Key
from togi.recipe.plan import Plan, algorithm_named, merged
from togi.recipe.read_toml import Reading
from togi.recipe.resolved import resolved
from togi.recipe.schema import (
    EnvTable,
    OneSourceTable,
    RewardTable,
    SourceTable,
    StageSourceTable,
    StageTable,
)
from togi.recipe.task_source import collected_of, prompting_of, source_of
from togi.rewards.expression import parse_reward
from togi.run import Evaluation, ModelChoice, Run, Scale, Seeds, Stage, Until
from togi.samplers import Replay
from togi.samplers.task_order import IN_TURN, Order
from togi.sandbox.workers.pool import Pool
from togi.types import Ability, Beside, Limits, Task

TOOLS_BEGIN = 60.0  # seconds until a worker of tools has begun, which its own clock does not count


def build(reading: Reading, folder: Path | None = None, *, loaded: dict[str, Tasks] | None = None) -> Run:
    """The run of a recipe; ``folder`` is ``runs/NAME`` unless given. ``loaded`` holds tasks for all recipes that are
    built with it: what one has loaded, the others take.

    Raises:
        RecipeError: combinations that cannot work, tasks that cannot be loaded, rewards that cannot be read.
    """
    return Builder(reading, {} if loaded is None else loaded).run(folder)


class Builder:
    """One recipe being built. Problems are collected as far as possible, so that one try shows them all."""

    def __init__(self, reading: Reading, loaded: dict[str, Tasks]) -> None:
        self.reading, self.recipe = reading, reading.recipe
        self.problems: list[str] = []
        grading = self.recipe.grading
        self.pool = Pool(
            workers=grading.workers, seconds=grading.seconds, memory_mb=grading.memory_mb, tier=grading.tier
        )
        self.loaded = loaded
        self.tasks_of: dict[str, Tasks] = {}
        self.envs: dict[str, Callable[[Task], Env]] = {}
        self.prompting = Prompting()

    def run(self, folder: Path | None) -> Run:
        plans = [plan for index, table in enumerate(self.recipe.stage) if (plan := self.plan(index, table))]
        model = self.model()
        try:
            self.prompting = prompting_of(self.recipe.prompt)
        except ValueError as error:
            self.refuse(("prompt",), str(error))
        for problem in combinations.recipe(self.recipe, [plan.name for plan in plans]):
            self.refuse(*problem)
        for problem in combinations.order(self.recipe, [(plan.name, plan.algorithm) for plan in plans]):
            self.refuse(*problem)
        for problem in engine_combinations.engine(self.recipe, [plan.algorithm for plan in plans], self.reading.base):
            self.refuse(*problem)
        for problem in combinations.scale(self.recipe):
            self.refuse(*problem)
        for problem in combinations.learners(self.recipe, [plan.algorithm for plan in plans]):
            self.refuse(*problem)
        if self.recipe.engine.kind == "tinker":
            for problem in cluster_combinations.recipe(self.recipe):
                self.refuse(*problem)
            for plan in plans:
                for key, message in cluster_combinations.stage(plan.table, plan.algorithm, plan.sampling):
                    self.refuse((*plan.key, *key), message)
        for problem in ahead_combinations.ahead(self.recipe, plans):
            self.refuse(*problem)
        for plan in plans:
            paid = self.pays(plan.table)
            for key, message in stage_combinations.stage(plan.table, plan.algorithm, plan.sampling, paid=paid):
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
            engine=engine_of(self.recipe.engine, self.reading.base, kept=self.recipe.scale.staleness),
            scale=Scale(**self.recipe.scale.model_dump()),
            seed=self.recipe.seed,
            seeds=Seeds(**self.recipe.seeds.model_dump()) if self.recipe.seeds else Seeds(),
            save_every=self.recipe.checkpoint.every,
            keep=self.recipe.checkpoint.keep,
            logging=logging_of(self.recipe.logging),
            recipe=resolved(self.reading, plans),
        )

    def refuse(self, key: Key, message: str) -> None:
        problem = self.reading.problem(key, message)
        if problem not in self.problems:
            self.problems.append(problem)

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
        engine = self.recipe.engine.kind
        others = engine != "native" or self.recipe.scale.staleness > 0  # another program draws, or older weights
        if others and "correction" not in table.settings and isinstance(algorithm, Regularised):
            algorithm = algorithm.for_another_program()
        asks: frozenset[Ability] = algorithm.sampler.asks | ({"think"} if algorithm.thinking else set())
        for ability in sorted(asks & LACKS[engine]):
            self.refuse((*key, "algorithm"), f"{table.algorithm} {DOES[ability]}, which the engine {engine} cannot do")
        for ability in sorted(asks & (LACKS["server"] - LACKS[engine])) if self.recipe.scale.engines else ():
            why = f"{table.algorithm} {DOES[ability]}, which only an engine in the process that learns can do"
            self.refuse(("scale", "engines"), f"{why}: remove it")
        return Plan(
            table=table,
            name=table.called,
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
            elif table.lora.base == "nf4" and find_spec("bitsandbytes") is None:
                self.refuse(("model", "lora", "base"), lacking("a base in 4 bits", "qlora"))
            lora = lora_of(table.lora)
        source = self.source(table.source, ("model", "source"))
        if lora and is_function(source):
            self.refuse(("model", "lora"), "a model that is made new has nothing an adapter could keep: leave it out")
        return ModelChoice(
            source=source, dtype=table.dtype, device=table.device, lora=lora, template=self.chat_template()
        )

    def source(self, written: str, key: Key) -> str:
        """The source of a model, with a path made absolute."""
        source = self.placed(written)
        if _is_path(written) and not (Path(source).exists() or is_function(source)):
            self.refuse(key, f"there is no {source}")
            return source
        try:
            (check_shape if self.recipe.engine.kind == "tinker" else check_source)(source)
        except ValueError as error:
            self.refuse(key, str(error))
        return source

    def placed(self, written: str) -> str:
        """The source of a model, with a path made absolute, whether there is anything or not."""
        place = self.reading.base / Path(written).expanduser()
        return str(place) if place.exists() or is_function(str(place)) or _is_path(written) else written

    def teacher(self, written: str | None) -> str | None:
        """An earlier stage, or the source of a model, which may still have to be trained."""
        return written if written is None or written in self.tasks_of else self.placed(written)

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
        if table.constitution is None and not (table.data and table.data.rollouts):  # those asked when sampled
            tasks, mix = (self.equipped(each, table.env, (*plan.key, "env")) for each in (tasks, mix))
        if tasks is None or env is None or (sampler.rewarded and reward is None):
            return None
        for problem in task_combinations.answers(tasks, reward) if reward else ():
            self.refuse(key, problem)
        for problem in stage_combinations.credit(reward, plan.algorithm) if reward else ():
            self.refuse((*plan.key, "reward") if table.reward else ("reward",), problem)
        collected = collected_of(table.data) if table.data else None
        self.tasks_of[plan.name] = tasks
        if table.answers == "shuffled":
            try:
                tasks = with_shuffled_answers(tasks)
            except ValueError as error:
                self.refuse((*plan.key, "answers"), str(error))
        name, learned = table.algorithm, sampler.reads and collected is None
        for problem in task_combinations.recorded(tasks, plan.algorithm, name) if learned else ():
            self.refuse(key, problem)
        for problem in task_combinations.demonstrations(tasks, plan.algorithm):
            self.refuse(key, problem)
        order = Order(**table.order.model_dump()) if table.order else IN_TURN
        for problem in task_combinations.levels(tasks, order):
            self.refuse((*plan.key, "order"), problem)
        for problem in task_combinations.complete(mix or (), "the mix"):
            self.refuse((*plan.key, "mix"), problem)
        return Stage(
            name=plan.name,
            algorithm=plan.algorithm,
            tasks=tasks,
            reward=reward,
            gold=gold,
            env=env,
            limits=self.limits(table.env),
            beside=self.beside(table.env, (*plan.key, "env")),
            order=order,
            replay=Replay(**table.replay.model_dump()) if table.replay else None,
            measured=table.measured,
            until=Until(**table.until.model_dump()) if table.until else None,
            stop_on_collapse=table.stop_on_collapse,
            reference_every=table.reference_every,
            start=table.start,
            teacher=self.teacher(table.teacher),
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
            optimiser=optimiser_of(table),
        )

    def evaluation(self, held_out: Tasks | None) -> Evaluation | None:
        table = self.recipe.evaluation
        if table is None:
            return None
        reward = self.reward(table.reward, ("evaluation", "reward"))
        env = self.env_of(table.env, ("evaluation", "env"))
        if not held_out or reward is None or env is None:
            return None
        for problem in task_combinations.answers(held_out, reward):
            self.refuse(("data", "test"), problem)
        equipped = self.equipped(held_out[: table.tasks], table.env, ("evaluation", "env"))
        if equipped is None:
            return None
        tasks, chosen_on = equipped, table.choice_tasks or 0
        if chosen_on >= len(tasks):
            self.refuse(("evaluation", "choice_tasks"), f"leaves none of {len(tasks)} tasks to measure on: take fewer")
            return None
        return Evaluation(
            tasks=tasks[chosen_on:],
            reward=reward,
            sampling=sampling_of(merged(self.recipe.sampling, table.sampling)),
            attempts=table.attempts,
            every=table.every or 0,
            every_attempts=table.every_attempts or (table.attempts if table.every else 0),
            best=table.best,
            choice=tasks[:chosen_on] if chosen_on else None,
            under_base=table.under_base,
            env=env,
            limits=self.limits(table.env),
            beside=self.beside(table.env, ("evaluation", "env")),
        )

    def env(self, plan: Plan) -> Callable[[Task], Env] | None:
        """What answers the model in a stage: nobody but the task, an environment, or a constitution. None after a
        refusal."""
        table = plan.table
        if table.constitution is None:
            env = self.env_of(table.env, (*plan.key, "env")) if plan.algorithm.sampler.writes else OneTurn
            if getattr(env, "players", ()) and not plan.algorithm.sampler.of_players:
                why = f"{table.algorithm} cannot learn from an environment of several players: take rae, grpo or ppo"
                self.refuse((*plan.key, "algorithm"), why)
            elif "begin" in plan.algorithm.sampler.asks and env is not None and env is not OneTurn:
                why = f"{table.algorithm} branches within answers, not between turns: remove [env], or take gigpo"
                self.refuse((*plan.key, "algorithm"), why)
            return env
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
        if table is None or (table.use == NONE and not table.settings):
            return OneTurn
        name, at = table.model_dump_json(), "use"
        try:
            if name not in self.envs:
                grading = self.recipe.grading
                workers, seconds = table.threads or 1, table.seconds
                pool = Pool(workers=workers, seconds=seconds, memory_mb=grading.memory_mb, tier=grading.tier)
                env = open_env(table.use, table.settings, self.reading.base, pool, processes=table.processes)
                at = "others"
                self.envs[name] = against(env, table.others, self.reading.base) if table.others else env
        except ValueError as error:
            self.refuse((*key, at), str(error))
            return None
        return self.envs[name]

    def limits(self, own: EnvTable | None) -> Limits:
        """Where attempts are cut, by a table of its own or else by the recipe's."""
        table = own or self.recipe.env
        return Limits(turns=table.turns, tokens=table.tokens) if table else Limits()

    def beside(self, own: EnvTable | None, own_key: Key) -> Beside | None:
        """Where environments answer, by a table of its own or else by the recipe's. A turn may have several calls of
        tools, each with its own clock, which is to ring first."""
        table, env = own or self.recipe.env, self.env_of(own, own_key)
        if table is None or not table.threads:
            return None
        calls = env.how.calls if isinstance(env, TrlEnv) else env.calls if isinstance(env, ToolUse) else 0
        seconds = table.seconds * (calls + 1) + (TOOLS_BEGIN if calls else 0)
        return Beside(threads=table.threads, seconds=seconds)

    def equipped(self, tasks: Tasks | None, own: EnvTable | None, own_key: Key) -> Tasks | None:
        """The tasks with what their environment gives them: its tools, also where recorded answers are learned."""
        env = self.env_of(own, own_key)
        if tasks is None or not isinstance(env, Equips):
            return tasks
        try:
            return tasks.changed(env.equipped)
        except ValueError as error:
            self.refuse((*(own_key if own else ("env",)), "use"), str(error))
            return None

    def asked(self, table: SourceTable, key: Key, held_out: Tasks | None) -> Tasks | None:
        """The tasks a stage asks, or for rollouts those that were asked when they were sampled."""
        if isinstance(table, StageSourceTable) and table.rollouts is not None:
            return self.sampled_at(table.rollouts, key)
        return self.tasks(table, key, "train", held_out)

    def sampled_at(self, stages: Sequence[str], key: Key) -> Tasks | None:
        """The tasks at which earlier stages sampled, all of them at the same; None after a refusal."""
        first, *others = stages
        tasks = self.tasks_of.get(first)
        for name in others:
            known = self.tasks_of.get(name)
            if tasks is not None and known is not None and known.digest != tasks.digest:
                why = f"{name} sampled at other tasks than {first}: learn from each in a stage of its own"
                self.refuse((*key, "rollouts"), why)
        return tasks

    def tasks(self, table: OneSourceTable, key: Key, split: str, exclude: Tasks | None) -> Tasks | None:
        """The tasks of a source, loaded once however many stages learn from them; None after a refusal."""
        left_out = exclude.digest if exclude else ""
        name = f"{split} {table.model_dump_json()} {self.reading.base} {self.prompting} {left_out}"
        if name in self.loaded:
            return self.loaded[name]
        if isinstance(table, SourceTable) and table.sources is not None:
            places = ((part, (*key, "sources", index)) for index, part in enumerate(table.sources))
            parts = [self.tasks(part, place, split, exclude) for part, place in places]
            weights = [part.weight for part in table.sources]
            if any(part is None for part in parts):
                return None
            found = [each for each in parts if each]
            try:
                if table.temperature is not None:
                    weights = weights_at(table.temperature, [len(each) for each in found])
            except ValueError as error:
                self.refuse((*key, "temperature"), str(error))
                return None
            self.loaded[name] = mixed(found, weights)
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
            found = parse_reward(table.score, self.reading.base, pool=self.pool, tier=self.recipe.grading.tier)
        except ValueError as error:
            self.refuse((*key, "score"), str(error))
            return None
        for problem in cluster_combinations.reward(found) if self.recipe.engine.kind == "tinker" else ():
            self.refuse((*key, "score"), problem)
        return found


def _is_path(source: str) -> bool:
    """Whether a source says of itself that it is a path, and not the id of a model on the hub."""
    return source.startswith((".", "/", "~")) or source.endswith(".gguf")
