"""One attempt being played: whose turn it is, what each player sees, and how it ends. Knows no token and no score.

An environment of one player answers the model. One of several players has ``player``, the name of who is to act, and
gives what is said and paid by player. Each player has a view of its own: its conversation, its turns and its pay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from togi.episode_blame import Blame, Said, all_of
from togi.protocols import Abort, Env, Heard
from togi.types import Fault, Ids, Limits, Message, Question, Stop, Task, Trajectory, Turn

OF_ALL: frozenset[Stop] = frozenset({"error", "abort", "turns", "tokens"})  # how an episode stops for every player


@dataclass
class View:
    """An episode as one player sees it. ``ids`` is what the model is to continue in this player's place, ``opening``
    the text that the chat template began that turn with. ``told`` was said to the player since its last turn,
    ``asked`` before its first one, and ``owed`` is what it earned before that. ``so_far`` has all that was said in each
    of its conversations."""

    ids: Ids = ()
    opening: str = ""
    turns: list[Turn] = field(default_factory=list)
    so_far: dict[str, Ids] = field(default_factory=dict)
    told: tuple[Message, ...] = ()
    asked: tuple[Message, ...] = ()
    owed: float = 0.0

    def take(self, turn: Turn, conversation: str) -> None:
        self.turns.append(replace(turn, reward=turn.reward + self.owed))
        self.so_far[conversation] = turn.prompt + turn.completion
        self.owed = 0.0

    def name_state(self, key: str) -> None:
        self.turns[-1] = replace(self.turns[-1], state_key=key)

    def pay(self, reward: float) -> None:
        if self.turns:
            self.turns[-1] = replace(self.turns[-1], reward=self.turns[-1].reward + reward)
        else:
            self.owed += reward

    def heard(self) -> tuple[Message, ...]:
        """What was said to the player since its last turn, and is a reply to it from now on."""
        told, self.told = self.told, ()
        if self.turns:
            self.turns[-1] = replace(self.turns[-1], replies=self.turns[-1].replies + told)
        else:
            self.asked += told
        return told


@dataclass
class Episode:
    """One attempt at a question. ``player`` is to act next, in that ``conversation`` of its own, and ``mover`` acted
    last, whose turn ``stopped`` so. ``stop`` is set when it is over; ``said`` holds all messages of all players in
    order, and ``raised`` is what the environment raised at the last of them."""

    question: Question
    attempt: int
    limits: Limits = field(default=Limits())
    env: Env | None = None
    player: str = ""
    mover: str = ""
    stopped: Stop = "eos"
    conversation: str = ""
    views: dict[str, View] = field(default_factory=dict)
    said: list[Said] = field(default_factory=list)
    stop: Stop | None = None
    error: str | None = None
    raised: Exception | None = None
    own_fault: Fault | None = None
    counts: Mapping[str, float] = field(default_factory=dict)

    @property
    def asked(self) -> Task:
        """The task as it is asked now: with the tools that its environment names, where it names some."""
        tools = getattr(self.env, "tools", None)
        return self.question.task if tools is None else replace(self.question.task, tools=tools)

    @property
    def begun(self) -> Ids:
        """What the next turn begins with, whoever wrote it."""
        return () if self.said else self.question.beginning

    @property
    def left(self) -> int | None:
        """How many tokens the model may still write in all its turns, behind what the next one begins with."""
        if self.limits.tokens is None:
            return None
        written = sum(len(turn.completion) for view in self.views.values() for turn in view.turns)
        return max(0, self.limits.tokens - written - len(self.begun))

    @property
    def view(self) -> View:
        """That of the player who is to act, or acted last."""
        return self.views[self.player]

    def start(self, make: Callable[[Task], Env]) -> None:
        """Make the environment, and hear what it says first."""
        try:
            self.env = make(self.question.task)
            self._listen(self.env.start())
        except Exception as problem:
            self.fail(problem)

    def act(self, turn: Turn) -> None:
        """Hand the turn of the player who is to act to the environment, and note how the episode goes on."""
        message = self.speak(turn)
        if message is not None:
            assert self.env is not None
            step = self.env.step
            self.hear(lambda: step(message))

    def speak(self, turn: Turn) -> Message | None:
        """Note the turn of the player who is to act; the message that the environment is to answer."""
        self.mover, self.stopped = self.player, turn.stop
        self.view.take(turn, self.conversation)
        self.said.append((turn.text, ()))
        try:
            self.view.name_state(str(getattr(self.env, "state_key", "")))
        except Exception as problem:
            self.fail(problem)
            return None
        return Message(role="assistant", content=turn.text)

    def hear(self, answer: Callable[[], tuple[Heard, float | Mapping[str, float], bool]]) -> None:
        """Note how the episode goes on after what the environment answers; ``answer`` gives that, or raises."""
        try:
            replies, reward, done = answer()
            self.said[-1] = (self.said[-1][0], all_of(replies))
            for player, earned in (reward if isinstance(reward, Mapping) else {self.player: reward}).items():
                self._of(player).pay(float(earned))
            self._listen(replies, done=done)
            cut = bool(getattr(self.env, "cut", False))
        except Exception as problem:
            self.fail(problem)
            return
        if done:
            self.end("turns" if cut else self.stopped)
        elif self.left == 0:
            self.end("tokens")
        elif len(self.said) == self.limits.turns:
            self.end("turns")

    def fail(self, problem: Exception) -> None:
        void = isinstance(problem, Abort)
        self.raised = None if void else problem
        self.end("abort" if void else "error", f"environment: {_in_words(problem)}")

    def end(self, stop: Stop, error: str | None = None) -> None:
        self.stop, self.error = stop, error
        for view in self.views.values():
            view.heard()

    def close(self) -> None:
        if self.env is None:
            return
        try:
            try:
                self.counts = dict(getattr(self.env, "counts", {}))
            finally:
                self.env.close()
        except Exception as problem:
            self.fail_to_close(problem)

    def fail_to_close(self, problem: Exception) -> None:
        if not isinstance(problem, Abort):
            self.raised = self.raised or problem
        self.error = self.error or f"environment, closing: {_in_words(problem)}"

    def blame(self, blame: Blame) -> None:
        """Find out whether the last message alone broke the environment, where it raised."""
        if self.raised is not None and self.said:
            self.own_fault = blame.fault(self.question.task, self.said, self.raised)

    def trajectories(self) -> list[Trajectory]:
        """One for each player that acted, and one without turns where none did."""
        acted = {player: view for player, view in self.views.items() if view.turns}
        return [
            Trajectory(
                turns=tuple(view.turns),
                stop=self._stop(player, view),
                asked=view.asked,
                error=self.error,
                own_fault=self.own_fault if player == self.mover else None,
                counts=self.counts,
                role=player,
            )
            for player, view in (acted or {self.player: View()}).items()
        ]

    def _stop(self, player: str, view: View) -> Stop:
        """Of an episode that one player could not go on with, the others stopped as they last did."""
        stop = self.stop or "error"
        return stop if stop in OF_ALL or player == self.player else view.turns[-1].stop

    def _listen(self, given: Heard, done: bool = False) -> None:
        """Note what each player was told; messages to nobody by name are for the one who is to act."""
        if not done:
            self.player = getattr(self.env, "player", "")
            self.conversation = str(getattr(self.env, "conversation", ""))
        for player, messages in (given if isinstance(given, Mapping) else {self.player: given}).items():
            self._of(player).told += messages
        if not done and not self._of(self.player).told:
            raise ValueError(f"{self.player or 'the model'} is to act, and was told nothing since its last turn")

    def _of(self, player: str) -> View:
        return self.views.setdefault(player, View())


def _in_words(problem: Exception) -> str:
    return f"{type(problem).__name__}: {problem}"
