"""Games of TextArena: of a stand-in that is laid out like the package, and of the package itself where it is there."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from togi.envs.open_env import open_env
from togi.envs.textarena_env import TextArenaEnv, listed_moves, textarena_env
from togi.sandbox.workers.pool import Pool
from togi.types import Message, Task

BOARD, SAID = SimpleNamespace(name="GAME_BOARD"), SimpleNamespace(name="GAME_ADMIN")
REAL = importlib.util.find_spec("textarena") is not None
TASK = Task(id="t", prompt=(Message(role="user", content="Win."),), info={"seed": 3})


class Hundred:
    """Players add 1 to 3 in turn, and whoever says 10 wins; where it begins is drawn from the process's generator."""

    def __init__(self, goal: int = 10, listing: bool = True, pays: Any = 1) -> None:
        self.goal, self.listing, self.pays = goal, listing, pays

    def reset(self, num_players: int, seed: int) -> None:
        assert num_players == 2
        random.seed(seed)
        self.at, self.player, self.rewards = random.randint(0, 3), 0, None
        self.seen: dict[int, list[tuple[int, str, Any]]] = {0: [], 1: []}
        self.invalid = {0: False, 1: False}
        self._tell(-1, f"At {self.at}. " + ("Available Moves: '[1]', '[2]', '[3]'" if self.listing else ""))

    def _tell(self, who: int, text: str) -> None:
        for each in self.seen.values():
            each.append((who, text, BOARD if who == -1 else SAID))

    def get_observation(self) -> tuple[int, list[tuple[int, str, Any]]]:
        seen, self.seen[self.player] = self.seen[self.player], []
        return self.player, seen

    def step(self, action: str) -> tuple[bool, dict[str, Any]]:
        self._tell(self.player, action)
        other = 1 - self.player
        if action not in ("[1]", "[2]", "[3]"):
            self.invalid[self.player] = True
            self.rewards = {self.player: -self.pays, other: self.pays}
            return True, {}
        self.at += int(action[1])
        if self.at >= self.goal:
            self.rewards = {self.player: self.pays, other: -1}
            return True, {}
        self.player = other
        self._tell(
            -1, f"At {self.at} ({random.random()}). " + ("Available Moves: '[1]', '[2]', '[3]'" if self.listing else "")
        )
        return False, {}

    def close(self) -> tuple[Any, Any]:
        return self.rewards, {player: {"invalid_move": self.invalid[player]} for player in (0, 1)}


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(name: str, **how: Any) -> Hundred:
        if name != "Hundred-v0-raw":
            raise ValueError(f"Environment {name} not found in registry.")
        return Hundred(**how)

    module = ModuleType("textarena")
    module.make = make  # type: ignore[attr-defined]
    module.__spec__ = importlib.util.spec_from_loader("textarena", None)
    monkeypatch.setitem(sys.modules, "textarena", module)


def made(place: Path | None = None, **settings: Any) -> TextArenaEnv:
    return textarena_env({"id": "Hundred-v0", **settings}, place or Path(), 10.0)


def told(text: str) -> Message:
    return Message(role="assistant", content=text)


def played(env: Any, moves: list[str]) -> list[Any]:
    seen: list[Any] = [env.start()]
    for move in moves:
        seen.append(env.step(told(move)))
        if seen[-1][2]:
            break
    return seen


@pytest.mark.usefixtures("package")
def test_a_game_against_chance_is_the_same_for_all_attempts() -> None:
    env = made()
    before = random.getstate()
    alone = played(env(TASK), ["[1]"] * 9)
    assert alone[0][0].content.startswith("Win.\nAt ")
    assert "[Player 1] [" in alone[1][0][0].content, "what the other did is told, and not what the model itself did"
    assert "[Player 0]" not in alone[1][0][0].content
    assert alone[-1][1:] in ((1.0, True), (-1.0, True))
    one, two = env(TASK), env(TASK)
    side_by_side = [[each.start()] for each in (one, two)]
    for move in range(len(alone) - 1):
        for env_, seen in zip((one, two), side_by_side, strict=True):
            random.seed(move)
            seen.append(env_.step(told("[1]")))
    assert side_by_side == [alone, alone]
    random.setstate(before)
    made()(TASK).start()
    assert random.getstate() == before, "nobody else's chance is taken"


OPPONENT = "def play(told, chance):\n    return {'wrong': 'I pass', 'text': 3}.get(%r, '[3]')\n"


@pytest.mark.usefixtures("package")
def test_an_opponent_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(OPPONENT % "")
    env = made(tmp_path, opponent="other.py:play", player=1, make={"goal": 100, "listing": False})
    assert env.files == (tmp_path / "other.py",)
    episode = env(TASK)
    assert "[Player 0] [3]" in episode.start()[0].content
    replies, *rest = episode.step(told("<think>[9]</think>\n[3]\n"))
    assert "[Player 0] [3]" in replies[0].content
    assert rest == [0.0, False], "a thought is no move"


@pytest.mark.usefixtures("package")
def test_wrong_moves_are_counted_by_who_made_them(tmp_path: Path) -> None:
    episode = made()(TASK)
    episode.start()
    assert episode.step(told("I win")) == ((), -1.0, True)
    assert episode.counts["invalid"] == 1  # type: ignore[attr-defined]
    (tmp_path / "other.py").write_text(OPPONENT % "wrong")
    episode = made(tmp_path, opponent="other.py:play", make={"goal": 100})(TASK)
    episode.start()
    assert episode.step(told("[1]")) == ((), 0.0, True), "the other side's mistakes pay nobody"
    assert episode.counts["opponent_invalid"] == 1  # type: ignore[attr-defined]


@pytest.mark.usefixtures("package")
def test_what_goes_wrong_in_a_game_is_told(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text(OPPONENT % "text")
    episode = made(tmp_path, opponent="other.py:play")(TASK)
    episode.start()
    with pytest.raises(ValueError, match=r"play\(\) gave 3 as a move"):
        episode.step(told("[1]"))
    episode = made(make={"goal": 1, "pays": "much"})(TASK)
    episode.start()
    with pytest.raises(ValueError, match="gave 'much' as the reward of player 0"):
        episode.step(told("[3]"))


@pytest.mark.usefixtures("package")
def test_turns_run_out() -> None:
    episode = made(turns=2, make={"goal": 1000})(TASK)
    episode.start()
    assert episode.step(told("[1]"))[1:] == (0.0, False)
    assert episode.step(told("[1]"))[1:] == (0.0, True)
    assert episode.counts["cut"] == 1  # type: ignore[attr-defined]
    assert episode.cut  # type: ignore[attr-defined]


def heard_of(given: Any) -> dict[str, str]:
    return {player: "|".join(each.content for each in messages) for player, messages in given.items()}


@pytest.mark.usefixtures("package")
def test_the_model_plays_against_itself() -> None:
    env = made(opponent="itself", make={"goal": 6})
    assert (env.players, env.files) == (("player_0", "player_1"), ())
    episode: Any = env(TASK)
    ((player, asked),) = heard_of(episode.start()).items()
    assert (player, episode.player) == ("player_0", "player_0")
    assert asked.startswith("Win.\nAt ")
    seen = []
    for _ in range(6):
        heard, paid, done = episode.step(told("[1]"))
        seen.append((heard_of(heard), paid, done))
        if done:
            break
        assert list(heard) == [episode.player]
    assert list(seen[0][0]) == ["player_1"]
    assert seen[0][0]["player_1"].startswith("Win.\nAt "), "each player is asked what the row asks, once"
    assert "[Player 0] [1]" in seen[0][0]["player_1"]
    assert not seen[1][0]["player_0"].startswith("Win.")
    winner = f"player_{(len(seen) - 1) % 2}"
    assert seen[-1] == ({}, {player: 1.0 if player == winner else -1.0 for player in env.players}, True)
    thrown: Any = env(TASK)
    thrown.start()
    assert thrown.step(told("I win")) == ({}, {"player_0": -1.0, "player_1": 0.0}, True)
    assert dict(thrown.counts) == {"ended": 1, "cut": 0, "invalid": 1}


WRONG = [
    ({"id": None}, 'settings = { id = "TicTacToe-v0" }'),
    ({"id": "Nowhere-v0"}, "cannot begin 'Nowhere-v0'"),
    ({"make": {"size": 3}}, "cannot begin 'Hundred-v0'"),
    ({"seats": 3}, "with 3 players"),
    ({"player": 2}, "numbered from 0"),
    ({"opponent": "itself", "seats": 1}, "needs two seats"),
    ({"player": -1}, "at least 0"),
    ({"turns": 0}, "at least 1"),
    ({"turns": True}, "at least 1"),
    ({"make": {"listing": False}}, "does not list its moves"),
    ({"opponent": "nowhere.py:play"}, "there is no file"),
    ({"seed": 1}, "no setting of TextArena's"),
]


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(("settings", "why"), WRONG)
def test_what_is_no_game_is_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        made(**settings)


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("togi.envs.textarena_env.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs the textarena extra"):
        open_env("textarena", {"id": "TicTacToe-v0"}, Path(), Pool(workers=1, seconds=1.0, memory_mb=512))


LISTS: list[tuple[list[tuple[int, str, Any]], list[str]]] = [
    ([(-1, "Board\n\nAvailable Moves: '[0]', '[1]'", BOARD)], ["[0]", "[1]"]),
    ([(-1, "Your available actions are: '[check]', '[bet]'", BOARD)], ["[check]", "[bet]"]),
    ([(-1, "Valid moves: [a b], [c]", BOARD), (-1, "Valid moves: [d]", BOARD)], ["[d]"]),
    ([(-1, "For example '[4]'", BOARD)], []),
    ([(-1, "Available moves:\n[1]", BOARD)], []),
    ([(-1, "Available Moves: [0]", BOARD), (0, "Available Moves: [9]", SAID)], ["[0]"]),
    ([(-1, "Available Moves: [0]", BOARD), (-1, "Player 0 said: Available Moves: [9]", SAID)], ["[0]"]),
    ([(0, "Available Moves: [9]", BOARD)], []),
    ([], []),
]


@pytest.mark.parametrize(("seen", "moves"), LISTS)
def test_moves_are_read_where_the_game_lists_them(seen: list[tuple[int, str, Any]], moves: list[str]) -> None:
    """What the model says must not be taken for a list: a wrong move of the other side would pay it."""
    assert listed_moves(seen) == moves


@pytest.mark.skipif(not REAL, reason="needs the textarena extra")
@pytest.mark.parametrize(
    ("name", "move", "players"),
    [("TicTacToe-v0", "[4]", 2), ("KuhnPoker-v0", "[check]", 2), ("GuessTheNumber-v0", "[7]", 1)],
)
def test_real_games(name: str, move: str, players: int) -> None:
    env = textarena_env({"id": name, "seats": players, "turns": 8}, Path(), 60.0)
    games = [played(env(TASK), [move] * 8) for _ in range(2)]
    assert games[0] == games[1]
    assert games[0][-1][2]


@pytest.mark.skipif(not REAL, reason="needs the textarena extra")
def test_a_real_game_against_oneself() -> None:
    episode: Any = textarena_env({"id": "TicTacToe-v0", "opponent": "itself"}, Path(), 60.0)(TASK)
    assert list(episode.start()) == ["player_0"]
    for move in ("[0]", "[3]", "[1]", "[4]"):
        assert episode.step(told(move))[1:] == ({}, False)
    assert episode.step(told("[2]")) == ({}, {"player_0": 1.0, "player_1": -1.0}, True)
