"""A game of TextArena: the model is one of its players, and one that does not learn is each of the others; or it is all
of them. It knows no tokens.
"""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from togi.envs.chat import told_more
from togi.envs.read_settings import refuse_odd, settings_of, whole_number
from togi.envs.row_seed import seed_of
from togi.envs.step_clock import at_most
from togi.extras import lacking
from togi.find_function import absolute, files_of, resolve
from togi.protocols import Env, Heard
from togi.types import Message, Task

RANDOM, ITSELF = "random", "itself"
RAW = "-raw"  # the version of a game that gives what happened in pieces, and changes no action
LISTED = re.compile(r"\b(?:available|valid|legal) (?:moves|actions)[^:\n]*:(.*)", re.IGNORECASE)
MOVE = re.compile(r"\[[^\[\]\n]+\]")
GAME, BOARD = -1, "GAME_BOARD"  # who speaks where it is no player, and what kind of message shows a board
MOST_MOVES = 1000  # of others between two of the model's
_ONE_AT_A_TIME = threading.Lock()  # games draw from the one generator of the process

Player = Callable[[str, random.Random], str]
Seen = tuple[int, str, Any]
"""Who says what, and what kind of message it is."""


@dataclass(frozen=True, kw_only=True)
class TextArenaEnv:
    """Makes an episode for each task: ``textarena.make(id, **make)``, begun with the task's seed, in which the model is
    ``player`` of ``seats`` players.

    ``opponent`` moves for all others: "random" takes one of the moves that the game lists; a function that was found by
    its name is called with what that player was told since its last move, and a generator of random numbers. With
    "itself" the model is all of them, and ``player`` says nothing. An attempt has at most ``turns`` turns; no call may
    take longer than ``seconds``.
    """

    id: str
    make: Mapping[str, Any] = field(default_factory=dict)
    player: int = 0
    seats: int = 2
    opponent: str = RANDOM
    turns: int = 50
    seconds: float = 60.0
    _opponent: Player | None = field(default=None, compare=False, repr=False)

    def __call__(self, task: Task) -> Env:
        return _AllSeats(self, task) if self.players else _OneSeat(self, task)

    @property
    def players(self) -> tuple[str, ...]:
        """Those that the model plays, where they are several."""
        return tuple(map(_name, range(self.seats))) if self.opponent == ITSELF else ()

    @property
    def files(self) -> tuple[Path, ...]:
        return () if self._opponent is None else files_of(self.opponent)

    def opened(self) -> Any:
        import textarena

        name = self.id if self.id.endswith(RAW) else self.id + RAW
        return textarena.make(name, **self.make)


class _Game(Env):
    """A game that is played. ``counts``: whether the attempt reached the game's end or was cut, and whether a wrong
    move ended it."""

    def __init__(self, how: TextArenaEnv, task: Task) -> None:
        self._how, self._task = how, task
        self._turn = 0
        self._chance = random.Random(seed_of(task))
        self._done = self.cut = False
        self.counts: Counter[str] = Counter({"ended": 0, "cut": 0, "invalid": 0})
        self._game: Any = None

    def close(self) -> None:
        pass

    def _begin(self) -> None:
        self._game = self._how.opened()
        self._game.reset(num_players=self._how.seats, seed=seed_of(self._task))

    def _move(self, message: Message) -> None:
        self._turn += 1
        self._done, _ = self._game.step(action=message.content.rpartition("</think>")[2].strip())

    def _seen(self) -> tuple[int, str, Sequence[Seen]]:
        """Who is to act, and what that player was told since it last did."""
        player, seen = self._game.get_observation()
        told = "\n".join(
            f"[Player {who}] {text}" if who != GAME else str(text) for who, text, _ in seen if who != player
        )
        return player, told, seen

    def _cut(self) -> bool:
        self.cut = self._turn == self._how.turns
        self.counts["cut"] += self.cut
        return self.cut

    def _paid(self) -> tuple[dict[int, float], set[int]]:
        """What each player earned, and who made a wrong move that ended the game: nobody won what others threw away."""
        rewards, info = self._game.close()
        self.counts["ended"] += 1
        wrong = {player for player, said in info.items() if said.get("invalid_move")}
        paid = {}
        for player in range(self._how.seats):
            earned = (rewards or {}).get(player)
            if not isinstance(earned, bool | int | float):
                raise ValueError(f"{self._how.id} gave {earned!r:.200} as the reward of player {player}")
            paid[player] = 0.0 if wrong - {player} else float(earned)
        return paid, wrong

    @contextmanager
    def _playing(self) -> Iterator[None]:
        """The game draws as it would alone, and takes nobody else's chance: it uses the process's one generator."""
        with _ONE_AT_A_TIME:
            others = random.getstate()
            random.setstate(self._chance.getstate())
            try:
                with at_most(self._how.seconds):
                    yield
            finally:
                self._chance.setstate(random.getstate())
                random.setstate(others)


class _OneSeat(_Game):
    """The model is one player. ``counts`` tells its wrong moves from those of others."""

    def __init__(self, how: TextArenaEnv, task: Task) -> None:
        super().__init__(how, task)
        self._moves = random.Random(f"opponent {seed_of(task)}")
        self.counts["opponent_invalid"] = 0

    def start(self) -> tuple[Message, ...]:
        with self._playing():
            self._begin()
            told = self._to_the_models_turn()
        if self._done:
            raise ValueError(f"{self._how.id} was over before player {self._how.player} had a turn")
        return told_more(self._task.prompt, f"\n{told}")

    def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
        with self._playing():
            self._move(message)
            told = "" if self._done else self._to_the_models_turn()
        if not self._done:
            return (Message(role="user", content=told),), 0.0, self._cut()
        paid, wrong = self._paid()
        self.counts["invalid"] += self._how.player in wrong
        self.counts["opponent_invalid"] += bool(wrong - {self._how.player})
        return (), paid[self._how.player], True

    def _to_the_models_turn(self) -> str:
        """Lets the others move; what the model is told then."""
        for _ in range(MOST_MOVES):
            player, told, seen = self._seen()
            if player == self._how.player:
                return told
            self._done, _ = self._game.step(action=self._others_move(told, seen))
            if self._done:
                return ""
        raise TimeoutError(f"the others made {MOST_MOVES} moves, and player {self._how.player} had no turn")

    def _others_move(self, told: str, seen: Sequence[Seen]) -> str:
        if self._how._opponent is None:
            return self._moves.choice(listed_moves(seen) or [""])
        move = self._how._opponent(told, self._moves)
        if not isinstance(move, str):
            raise ValueError(f"{self._how.opponent.rpartition(':')[2]}() gave {move!r:.200} as a move; wanted a text")
        return move


class _AllSeats(_Game):
    """The model is every player; ``player`` is the one who is to act."""

    def __init__(self, how: TextArenaEnv, task: Task) -> None:
        super().__init__(how, task)
        self.player = ""
        self._asked = set[str]()

    def start(self) -> Heard:
        with self._playing():
            self._begin()
            return self._to_the_next()

    def step(self, message: Message) -> tuple[Heard, dict[str, float], bool]:
        with self._playing():
            self._move(message)
            heard = {} if self._done else self._to_the_next()
        if not self._done:
            return heard, {}, self._cut()
        paid, wrong = self._paid()
        self.counts["invalid"] += bool(wrong)
        return {}, {_name(player): earned for player, earned in paid.items()}, True

    def _to_the_next(self) -> dict[str, tuple[Message, ...]]:
        player, told, _ = self._seen()
        self.player = _name(player)
        if self.player in self._asked:
            return {self.player: (Message(role="user", content=told),)}
        self._asked.add(self.player)
        return {self.player: told_more(self._task.prompt, f"\n{told}")}


def _name(player: int) -> str:
    return f"player_{player}"


def listed_moves(seen: Sequence[Seen]) -> list[str]:
    """The moves that a game lists last on a board of its own, in brackets: what a player says is no list."""
    boards = [str(text) for who, text, kind in seen if who == GAME and getattr(kind, "name", "") == BOARD]
    found = LISTED.findall("\n".join(boards))
    return MOVE.findall(found[-1]) if found else []


def textarena_env(settings: Mapping[str, Any], base: Path, seconds: float) -> TextArenaEnv:
    """Raises ValueError for a game that TextArena does not know, and settings that it does not take."""
    if find_spec("textarena") is None:
        raise ValueError(lacking("this environment", "textarena"))
    refuse_odd(settings, settings_of(TextArenaEnv), "TextArena's")
    if not isinstance(settings.get("id"), str):
        raise ValueError('it needs the name of the game: settings = { id = "TicTacToe-v0" }')
    for name, least in (("turns", 1), ("seats", 1), ("player", 0)):
        whole_number(settings, name, least, default=least)
    opponent = str(settings.get("opponent", RANDOM))
    named = opponent not in (RANDOM, ITSELF)
    made = TextArenaEnv(
        **{**settings, "opponent": absolute(opponent, base) if named else opponent},
        seconds=seconds,
        _opponent=resolve(opponent, base) if named else None,
    )
    if made.player >= made.seats:
        raise ValueError(f"player = {made.player}, and the {made.seats} players are numbered from 0")
    if opponent == ITSELF and made.seats < 2:
        raise ValueError(f'opponent = "{ITSELF}" needs two seats or more, and there is one')
    _check_opening(made)
    return made


def _check_opening(made: TextArenaEnv) -> None:
    try:
        with at_most(made.seconds):
            others = random.getstate()
            try:
                game = made.opened()
                game.reset(num_players=made.seats, seed=0)
                _, seen = game.get_observation()
            finally:
                random.setstate(others)
    except Exception as error:  # TextArena's own, of many kinds
        raise ValueError(
            f"TextArena cannot begin {made.id!r} with {made.seats} players: {type(error).__name__}: {error}"
        ) from error
    if made.seats > 1 and made.opponent == RANDOM and not listed_moves(seen):
        raise ValueError(
            f'{made.id} does not list its moves, so nobody can draw one: name a function, opponent = "file.py:play"'
        )
