"""A game in which the model is one player and somebody who does not learn is each of the others. It knows no tokens."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from togi.envs.env_apart import EnvApart
from togi.envs.row_seed import seed_of
from togi.envs.step_clock import at_most
from togi.envs.user_env import UserEnv
from togi.find_function import files_of
from togi.protocols import Env, Heard
from togi.types import Message, Task

MOST_MOVES = 1000  # of others between two of the model's
Player = Callable[[str, random.Random], str]


@dataclass(frozen=True, kw_only=True)
class OtherPlayers:
    """Makes an episode of ``game`` for each task. The model is the player that the row's column ``player`` names, else
    one that the task's seed chooses. ``move``, which was found by its name ``others``, is called for all others, with
    what that player was told since its last move, and a generator of random numbers that the seed begins."""

    game: UserEnv | EnvApart
    others: str
    move: Player = field(compare=False, repr=False)

    def __call__(self, task: Task) -> Env:
        seed = seed_of(task)
        mine = task.info.get("player", self.game.players[seed % len(self.game.players)])
        if mine not in self.game.players:
            there = " and ".join(map(repr, self.game.players))
            raise ValueError(f"task {task.id} wants to be the player {mine!r:.200}; there are {there}")
        return _Episode(self, self.game(task), mine, random.Random(seed))

    @property
    def files(self) -> tuple[Path, ...]:
        return (*self.game.files, *files_of(self.others))


class _Episode(Env):
    """The game as the model's player sees it; what others do between two of its turns is done at once."""

    def __init__(self, how: OtherPlayers, game: Env, mine: str, chance: random.Random) -> None:
        self.player = mine
        self._how, self._game, self._chance = how, game, chance
        self._told: dict[str, list[str]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._game, name)

    def start(self) -> Heard:
        told, _, done = self._until_mine(self._game.start(), 0.0, False, "")
        if done:
            raise ValueError(f"the game was over before {self.player} could act")
        return told

    def step(self, message: Message) -> tuple[Heard, float, bool]:
        return self._until_mine(*self._game.step(message), self.player)

    def close(self) -> None:
        self._game.close()

    def _until_mine(
        self, heard: Heard, paid: float | Mapping[str, float], done: bool, mover: str
    ) -> tuple[tuple[Message, ...], float, bool]:
        told, earned = tuple[Message, ...](), 0.0
        for _ in range(MOST_MOVES):
            earned += (paid if isinstance(paid, Mapping) else {mover: paid}).get(self.player, 0.0)
            acts = mover if done else str(self._game.player)  # type: ignore[attr-defined]
            for name, messages in (heard if isinstance(heard, Mapping) else {acts: heard}).items():
                if name == self.player:
                    told += messages
                else:
                    self._told.setdefault(name, []).extend(message.content for message in messages)
            if done or acts == self.player:
                return told, earned, done
            mover = acts
            heard, paid, done = self._game.step(Message(role="assistant", content=self._moved(acts)))
        raise ValueError(f"the others made {MOST_MOVES} moves, and it was not {self.player}'s turn")

    def _moved(self, player: str) -> str:
        told = "\n".join(self._told.pop(player, []))
        with at_most(self._how.game.seconds):
            text = self._how.move(told, self._chance)
        if not isinstance(text, str):
            raise ValueError(
                f"{self._how.others.rpartition(':')[2]}() gave {text!r:.200}; wanted a text, {player}'s move"
            )
        return text
