"""Attacks the rewards of a run, each once, with the run's own model where a reward asks one. It reads no recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from togi.data import Tasks
from togi.envs import OneTurn
from togi.envs.env_apart import EnvApart
from togi.envs.open_env import Opened, SpeaksFirst
from togi.envs.programs.program_env import ProgramEnv
from togi.envs.textarena_env import TextArenaEnv
from togi.envs.trl_env import TrlEnv
from togi.envs.user_env import UserEnv
from togi.evidence.redteam.ask_reward import Make, asks_model
from togi.evidence.redteam.attack_env import Place, attack_env
from togi.evidence.redteam.attack_reward import ASKED, FULL, SECONDS, Effort, NoAnswer, redteam
from togi.evidence.redteam.reward_card import Card
from togi.protocols import Env, Reward
from togi.rewards.algebra import NotTrainedYet, leaves_of
from togi.run import BASE, Evaluation, Run, Stage, open_model, ready
from togi.types import Limits, Message, Task, Trajectory

if TYPE_CHECKING:
    from togi.tokenization import Chat

ENV_SHARE, FEWEST = 6, 2  # an environment is attacked at a sixth of the rows of a reward: each attack is an attempt


@dataclass(frozen=True, kw_only=True)
class Target:
    """A reward of a run, with the tasks it pays for. ``text`` is how the recipe writes it."""

    name: str
    text: str
    reward: Reward
    tasks: Tasks


def targets(run: Run) -> list[Target]:
    """Every different reward of the run, with its first stage's tasks; the evaluation's and the truth come last. Where
    an environment answers, no written answer can be attacked."""
    table = run.recipe
    written = {str(stage.get("name")): stage for stage in table.get("stage", ())}
    found: list[Target] = []
    for stage in run.stages:
        if isinstance(stage.env, SpeaksFirst):
            continue
        own = written.get(stage.name, {})
        asked: list[tuple[str, Reward | None, Any]] = [
            (f"stage {stage.name}", stage.reward, own.get("reward") or table.get("reward")),
            ("gold", stage.gold, table.get("gold")),
        ]
        found += [_target(name, reward, where, stage.tasks) for name, reward, where in asked if reward is not None]
    if run.evaluation is not None and not isinstance(run.evaluation.env, SpeaksFirst):
        where = table.get("evaluation", {}).get("reward") or table.get("reward")
        found.append(_target("evaluation", run.evaluation.reward, where, run.evaluation.tasks))
    different: list[Target] = []
    for target in found:
        if all(target.reward != other.reward for other in different):
            different.append(target)
    return different


def _target(name: str, reward: Reward, where: Any, tasks: Tasks) -> Target:
    text = str(where["score"]) if where else repr(reward)
    return Target(name=name, text=text, reward=reward, tasks=tasks)


def attack_run(run: Run, effort: Effort = FULL, *, seconds: float = SECONDS, models: bool = True) -> Iterator[Card]:
    """A card for each of the run's rewards. The model is loaded only when a reward asks one; with ``models`` false such
    rewards are passed over, and those that are blind. So are those that ask a model that is not trained yet, and those
    whose tasks have no answers."""
    for target in targets(run):
        if is_blind(target.reward) and not models:
            continue
        make: Make | None = None
        reward: Reward | None = target.reward
        if asks(target.reward):
            reward, make = _opened(run, target.reward) if models else (None, None)
        if reward is None:
            continue
        own = replace(ASKED, rows=min(ASKED.rows, effort.rows)) if make else effort
        with suppress(NoAnswer):
            yield redteam(
                reward, target.tasks, name=target.name, text=target.text, effort=own, seconds=seconds, make=make
            )


def attack_environments(run: Run, effort: Effort = FULL) -> Iterator[Card]:
    """A card for each different environment of the run's stages and its evaluation. Passed over are those of several
    players, those that run a program, and those whose reward asks a model."""
    seen: list[Callable[[Task], Env]] = []
    places: list[tuple[str, Stage | Evaluation]] = [(f"stage {stage.name}", stage) for stage in run.stages]
    places += [("evaluation", run.evaluation)] if run.evaluation else []
    for name, where in places:
        place = place_of(where.env, where.reward, where.limits)
        if place is None or where.env in seen:
            continue
        seen.append(where.env)
        rows = max(FEWEST, effort.rows // ENV_SHARE)
        yield attack_env(place, where.tasks, name=f"{name}, environment", rows=rows)


def place_of(env: Callable[[Task], Env], reward: Reward | None, limits: Limits) -> Place | None:
    """An environment as one that can be played and scored here; None where it cannot."""
    if env is OneTurn or reward is None or asks(reward):
        return None
    if isinstance(env, ProgramEnv) or (isinstance(env, UserEnv | EnvApart | TextArenaEnv) and env.players):
        return None
    text = env.use if isinstance(env, UserEnv | EnvApart | TrlEnv) else type(env).__name__
    return Place(make=env, reward=reward, limits=limits, text=text, files=env.files if isinstance(env, Opened) else ())


def _opened(run: Run, reward: Reward) -> tuple[Reward | None, Make]:
    """The reward with the models it asks, or None when one of them is not trained yet; and how attempts are made."""
    # Here, since most rewards ask no model, and are attacked without torch.
    from togi.engines.open_engine import open_engine
    from togi.run_folder.manifest import choose_dtype
    from togi.tokenization import Chat

    dtype = choose_dtype(run)
    loaded = open_model(run, BASE, dtype)
    chat = Chat(loaded.tokenizer, loaded.eos_ids)
    engine = open_engine(loaded, run.engine)
    try:
        return ready(reward, run, engine, chat, dtype), tokenised(chat)
    except NotTrainedYet:
        return None, tokenised(chat)


def asks(reward: Reward) -> bool:
    """Whether a reward has parts that ask a model."""
    return any(asks_model(leaf) for leaf in leaves_of(reward))


def is_blind(reward: Reward) -> bool:
    """Whether nothing of a reward looks at a task's own answer, by what its parts say of themselves."""
    leaves = leaves_of(reward)
    return bool(leaves) and all(leaf.blind for leaf in leaves)


def tokenised(chat: Chat) -> Make:
    """Attempts in the model's own tokens."""

    def make(task: Task, text: str) -> Trajectory:
        turns = chat.of(task).recorded(task.prompt, (Message(role="assistant", content=text),))
        return Trajectory(turns=turns, stop="eos")

    return make
