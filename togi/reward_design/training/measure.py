"""Sends programs and trainings into the jail, and plays outside what comes out. It keeps nothing and chooses nothing.

An agent's fitness is made here, of episodes that are played here: a program can change it only by what its agent does.
Each thread of a design has a workplace of its own, so that agents are trained side by side and each is done when it is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from togi.find_function import resolve
from togi.reward_design.design import AgentDesign, Candidate, Check, Trained
from togi.reward_design.programs.static_check import LONGEST_NAME
from togi.reward_design.seeds import agent_seed, episode_seeds
from togi.reward_design.subject import NoCandidatesFault
from togi.reward_design.training.agent import Player
from togi.reward_design.training.environment import is_function, open_environment
from togi.reward_design.training.episodes import Episode
from togi.reward_design.training.packed import unpack
from togi.reward_design.training.play import play, transitions
from togi.sandbox.box import AnyTier
from togi.sandbox.workers.pool import Pool, Verdict

JAILED = "togi.reward_design.training.jailed"
TRY_SECONDS, PAY_SECONDS, TRY_MB = 20.0, 120.0, 512
Weights = Mapping[str, Any]


class Workplace:
    """The jails of one thread: one for what takes moments, one for training. Raises ValueError where there is none."""

    def __init__(self, design: AgentDesign, tier: AnyTier = "auto") -> None:
        train = design.file.train
        self.design = design
        self._short = Pool(workers=1, seconds=PAY_SECONDS, memory_mb=TRY_MB, tier=tier)
        self._long = Pool(workers=1, seconds=train.seconds, memory_mb=train.memory_mb, tier=tier)
        self._short.refuse_foreign_code("a reward design")
        self._fitness = resolve(design.fitness, Path())
        self._player: Player | None = None

    def check(self, played: Sequence[Episode]) -> None:
        """Raise ValueError for settings that no agent takes and a fitness that gives no number, before anybody is asked
        or trained."""
        self._open_player()
        for episode in played:
            self.fitness(episode)

    def close(self) -> None:
        self._short.close()
        self._long.close()

    def fault(self, program: str, transitions: Mapping[str, Any]) -> str:
        """What is wrong with a program when it is tried; empty where nothing is."""
        self._short.seconds = TRY_SECONDS
        return _said(
            self._short.call(f"{JAILED}:try_out", {"program": program, "transitions": transitions}, fresh=True)
        )

    def trained(self, candidate: Candidate, number: int, *, final: bool) -> tuple[Trained, Weights]:
        """An agent that was trained with a candidate's reward and measured, and its last weights."""
        design, began = self.design, time.monotonic()
        seed = agent_seed(design, number, final=final)
        verdict = self._train(candidate, seed)
        try:
            if fault := _said(verdict):
                raise ValueError(fault)
            episodes = design.file.final.episodes if final else design.file.search.episodes
            agents = agents_of(verdict.value, design.file.train.checks + 1)
            checks, played = [], []
            for steps, weights in agents[-1:] if final else agents:
                played = self.played(weights, episode_seeds(design, episodes, final=final))
                checks.append(self._check(candidate, steps, played))
        except NoCandidatesFault:
            raise
        except ValueError as error:
            seconds = time.monotonic() - began
            return Trained(candidate=candidate.name, seed=number, seconds=seconds, fault=str(error)), {}
        return Trained(
            candidate=candidate.name,
            seed=number,
            checks=tuple(checks),
            human=self._agreement(candidate, played),
            seconds=time.monotonic() - began,
        ), agents[-1][1]

    def _train(self, candidate: Candidate, seed: int) -> Verdict:
        design, train = self.design, self.design.file.train
        functions = {"make": design.environment} if is_function(design.environment) else {}
        functions |= {"fitness": design.fitness} if candidate.kind == "sparse" else {}
        arguments = {
            "program": candidate.program,
            "environment": design.environment,
            "info": list(design.file.design.info),
            "algorithm": train.algorithm,
            "settings": dict(train.settings),
            "environments": train.environments,
            "steps": train.steps,
            "checks": train.checks,
            "seed": seed,
        }
        warm = {**arguments, "program": None, "environments": 1, "steps": 0}
        (verdict,) = self._long.call_many(f"{JAILED}:train", [arguments], functions, fresh=True, warm=[warm])
        return verdict

    def played(self, weights: Weights, seeds: Sequence[int]) -> list[Episode]:
        """Episodes of an agent, one a seed. Raises ValueError for weights that are no agent's."""
        player = self._open_player()
        player.become(weights)
        return play(player.act, lambda: open_environment(self.design.environment), seeds)

    def _open_player(self) -> Player:
        if self._player is None:
            train = self.design.file.train
            self._player = Player(train.algorithm, train.settings, lambda: open_environment(self.design.environment))
        return self._player

    def _check(self, candidate: Candidate, steps: int, played: Sequence[Episode]) -> Check:
        rewards, parts = self._paid(candidate, played)
        return Check(
            steps=steps,
            fitness=tuple(self.fitness(episode) for episode in played),
            proxy=float(np.mean([each.sum() for each in rewards])),
            parts=parts,
            length=float(np.mean([episode.length for episode in played])),
        )

    def fitness(self, episode: Episode) -> float:
        """Raises ValueError for one that is no number from 0 to 1."""
        try:
            value = float(self._fitness(episode))
        except Exception as error:
            raise NoCandidatesFault(f"{self.design.fitness} raised {type(error).__name__}: {error}") from error
        if not 0 <= value <= 1:
            raise NoCandidatesFault(f"{self.design.fitness} gave {value}, and a number from 0 to 1 is wanted")
        return value

    def _paid(self, candidate: Candidate, played: Sequence[Episode]) -> tuple[list[Any], dict[str, float]]:
        """What episodes are paid by a candidate's reward, a step at a time, and the mean sums of its parts."""
        if candidate.kind == "own":
            return [episode.rewards for episode in played], {}
        if candidate.program is None:
            return [np.array([self.fitness(episode)]) for episode in played], {}
        return self._pay(candidate.program, played)

    def _pay(self, program: str, played: Sequence[Episode]) -> tuple[list[Any], dict[str, float]]:
        lengths = [episode.length for episode in played]
        self._short.seconds = PAY_SECONDS
        steps = transitions(played, self.design.file.design.info)
        arguments = {"program": program, "transitions": steps, "lengths": lengths}
        verdict = self._short.call(f"{JAILED}:pay", arguments, fresh=True)
        if fault := _said(verdict):
            raise ValueError(fault)
        return paid_of(verdict.value, lengths)

    def _agreement(self, candidate: Candidate, played: Sequence[Episode]) -> float | None:
        """The correlation of a candidate's reward with the human one, over steps; None where one is constant."""
        human = self.design.human
        if human is None or candidate.program is None or not played:
            return None
        try:
            one, other = (np.concatenate(self._pay(each, played)[0]) for each in (candidate.program, human))
        except ValueError:
            return None
        if min(len(one), float(np.ptp(one)), float(np.ptp(other))) <= 0:
            return None
        found = float(np.corrcoef(one, other)[0, 1])
        return found if math.isfinite(found) else None


def agents_of(value: Any, wanted: int) -> list[tuple[int, Weights]]:
    """The weights that came out of the jail, by steps. Raises ValueError for what is none."""
    try:
        found: list[tuple[int, Weights]] = [
            (int(each["steps"]), {str(name): unpack(packed) for name, packed in each["weights"].items()})
            for each in value["agents"]
        ]
    except (AttributeError, KeyError, TypeError, OverflowError) as error:
        raise ValueError("something other than agents came out of the jail") from error
    if len(found) != wanted:
        raise ValueError(f"{len(found)} agents came out of the jail, and {wanted} are wanted")
    return found


def paid_of(value: Any, lengths: Sequence[int]) -> tuple[list[Any], dict[str, float]]:
    """What came out of the jail for episodes so long: each one's rewards, and the mean sums of parts. Raises ValueError
    for what is none."""
    try:
        rewards, sums, names = unpack(value["rewards"]), unpack(value["sums"]), value["names"]
        sound = all(isinstance(name, str) and name.isprintable() and len(name) <= LONGEST_NAME for name in names)
        right = rewards.shape == (sum(lengths),) and sums.shape == (len(lengths), len(set(names)))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError("something other than rewards came out of the jail") from error
    if not (sound and right and np.isfinite(rewards).all() and np.isfinite(sums).all()):
        raise ValueError("something other than rewards came out of the jail")
    return np.split(rewards, np.cumsum(lengths)[:-1]), dict(zip(names, sums.mean(0).tolist(), strict=True))


def _said(verdict: Verdict) -> str:
    """What a call in the jail says is wrong. Raises NoCandidatesFault where it was not made."""
    if verdict.status == "error" and verdict.note.startswith(("cannot load", "did not load")):
        raise NoCandidatesFault(f"the jail does not start: {verdict.note}")
    if verdict.status != "ok":
        return {"timeout": "it took too long: ", "memory": "it needs too much memory: "}.get(verdict.status, "") + (
            verdict.note or verdict.status
        )
    fault = verdict.value.get("fault") if isinstance(verdict.value, dict) else None
    return fault if isinstance(fault, str) else "something other than a result came out of the jail"
