"""The protocols of Togi: what a reward, an environment, the weights, an engine, a sampler and an algorithm must offer.

This file says who calls whom with which nouns. It implements nothing, and does not know who does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from togi.types import (
    LOGP,
    Ability,
    Batch,
    Group,
    Heads,
    Loss,
    Memory,
    Message,
    Need,
    Output,
    Outputs,
    Prompt,
    Question,
    Reading,
    ReferenceAnswer,
    Sample,
    Sampling,
    Score,
    Task,
    Thinking,
    Trains,
    Trajectory,
    Turn,
    Unit,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor


Heard = tuple[Message, ...] | Mapping[str, tuple[Message, ...]]
"""What an environment says: to the one who is to act next, or to each of its players by name."""


@runtime_checkable
class Env(Protocol):
    """One episode. Single use: made, played, dropped. Where it has an attribute ``counts``, that is what it counts, by
    name; one ``state_key``, that names the state that the model is to act in next; one ``tools``, those are what the
    model may call next, instead of the task's. One ``conversation`` names that which the model is to go on with: the
    last replies follow what was said in it before, and are all of a new one. A true ``cut`` says that a limit of the
    environment's own ended the episode.

    An environment of several players has an attribute ``player``, which names the one who is to act next. It may give
    messages and rewards by player; a plain reward is that of the player who acted."""

    def start(self) -> Heard: ...

    def step(self, message: Message) -> tuple[Heard, float | Mapping[str, float], bool]:
        """Take the model's message; give replies, a reward, and whether the episode is over."""
        ...

    def close(self) -> None: ...


class Abort(Exception):
    """Raised by an environment whose episode is void by nothing that the model did, such as a server that is gone: it
    is not scored, and nobody is blamed."""


Asked = tuple[Task, Sequence[Trajectory]]


class Reward(Protocol):
    """Scores all attempts at one task together, so that a reward may compare siblings. One score a trajectory."""

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]: ...


@runtime_checkable
class Batched(Protocol):
    """A reward that scores the attempts at many tasks at once, since a model or a server is faster so."""

    def many(self, asked: Sequence[Asked]) -> list[list[Score]]: ...


Compare: TypeAlias = "Callable[[Tensor, Tensor], Tensor]"
"""Log-probabilities of the policy and of its teacher [..., V] -> what is read of the two [...]."""


class Model(Protocol):
    """The differentiable view of the policy that an algorithm's ``forward`` calls. ``compare`` is what the output
    ``compared`` reads of policy and teacher at each token."""

    def __call__(self, batch: Batch, outputs: frozenset[Output] = LOGP, compare: Compare | None = None) -> Outputs: ...


class Policy(Protocol):
    """The weights that are trained. ``step`` counts the updates made."""

    step: int

    def annotate(self, samples: Sequence[Sample], needs: frozenset[Need]) -> list[Sample]: ...

    def learn(self, samples: Sequence[Sample], algorithm: Algorithm) -> Mapping[str, float]:
        """One optimiser step over the samples, in micro-batches of any size; gives the step's metrics."""
        ...

    def save(self, path: Path) -> None: ...

    def load(self, path: Path) -> None: ...


class Engine(Protocol):
    """Draws completions. ``version`` is the ``Policy.step`` whose weights it samples from."""

    version: int

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Callable[[int, int], None] | None = None
    ) -> list[list[Turn]]:
        """One list a prompt, one turn a seed. ``progress`` is told how many turns are done, and of how many."""
        ...

    def read(self, turns: Sequence[Turn]) -> list[Reading]:
        """What the current weights say of turns that stand already, whoever wrote them; draws nothing."""
        ...

    def sync(self, policy: Policy) -> None: ...


class Talk(Protocol):
    """Turns that are drawn side by side, each from when it is asked for to its own end. A turn's number is its place
    among all that were asked for, one for each seed of each prompt."""

    @property
    def drawing(self) -> int:
        """How many turns are being drawn."""
        ...

    def ask(self, prompts: Sequence[Prompt]) -> None:
        """Have these turns drawn as well. A prompt may go on from a turn that has ended."""
        ...

    def draw(self) -> list[tuple[int, Turn]]:
        """Draw some more of each turn; those that have ended since, by number."""
        ...

    def over(self, turns: Iterable[int]) -> None:
        """No prompt will go on from these turns."""
        ...


@runtime_checkable
class CallsOff(Protocol):
    """An engine elsewhere, which draws on unless it is told that nobody waits."""

    def call_off(self) -> None:
        """Cut all that is being drawn; whoever waits for it all the same gets an error."""
        ...


@runtime_checkable
class Conversing(Protocol):
    """An engine that computes a token of a conversation once, and not again in each of its turns, and lets turns come
    in while others are drawn."""

    def conversation(
        self, sampling: Sampling, most: int, progress: Callable[[int, int], None] | None = None
    ) -> AbstractContextManager[Talk]:
        """Talk with about ``most`` turns at once. While it lasts the weights stay the same."""
        ...


@runtime_checkable
class Keeping(Protocol):
    """An engine that can keep what it computed from one call to the next."""

    def keeping(self) -> AbstractContextManager[None]:
        """While it lasts, what goes on from something that was drawn is computed from there. The weights stay the
        same."""
        ...


class Listener(Protocol):
    """Hears completions as they grow; ``prompt`` and ``attempt`` are places in what ``generate`` gives."""

    def drawn(self, prompt: int, attempt: int, token: int, logp: float) -> bool:
        """One more token, and its log-probability; says whether to go on."""
        ...

    def ended(self, prompt: int, attempt: int, turn: Turn) -> None: ...


@runtime_checkable
class LocalEngine(Engine, Protocol):
    """An engine whose weights are in this process, at least as well. ``model`` is the module that is sampled from, for
    those who score with it what was not drawn; ``context`` the most tokens of prompt and completion together."""

    @property
    def model(self) -> Any: ...

    @property
    def context(self) -> int: ...


class HeardEngine(LocalEngine, Protocol):
    """An engine whose completions can be heard as they grow."""

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        progress: Callable[[int, int], None] | None = None,
        *,
        listener: Listener | None = None,
    ) -> list[list[Turn]]: ...


class Texts(Protocol):
    """What samplers ask of whoever turns text into tokens."""

    def of(self, task: Task) -> Texts:
        """The one for a task, with its tools and its arguments of the chat template."""
        ...

    def recorded(self, prompt: Sequence[Message], answer: Sequence[Message]) -> tuple[Turn, ...]:
        """A written answer as turns, its messages one after another."""
        ...

    def reference(self, task: Task) -> str | None:
        """The task's own answer as text, where it has one."""
        ...

    def referenced(self, turn: Turn, answer: str, tag: str) -> ReferenceAnswer | None:
        """The turn with ``answer`` where it opened ``<tag>`` last; None where it did not."""
        ...

    def step_ends(self, completion: Sequence[int], separator: str) -> tuple[int, ...]:
        """Which token of a completion ends each of its reasoning steps, cut at the separator."""
        ...


class Play(Protocol):
    """Plays episodes side by side, and has them scored.

    ``counts`` is where samplers leave what they did (groups dropped, accuracy before a filter), by metric name;
    ``sampling`` is how a question is drawn that does not say it; ``chat`` reads and writes text without sampling;
    ``rate`` is how likely an attempt at a task is right by what earlier steps have seen, one half where nothing is.
    """

    @property
    def counts(self) -> dict[str, float]: ...

    @property
    def sampling(self) -> Sampling: ...

    @property
    def chat(self) -> Texts: ...

    def __call__(self, questions: Sequence[Question]) -> list[Group]:
        """The attempts at each question, scored; where its environment has several players, a group for each."""
        ...

    def rate(self, task: Task) -> float: ...

    def attempts(self, questions: Sequence[Question]) -> list[tuple[Trajectory, ...]]:
        """The attempts at each question, those of all players, not scored."""
        ...

    def scored(self, asked: Sequence[Asked]) -> list[Group]:
        """Attempts that were made before, the given ones of each task scored together."""
        ...

    def keeping(self) -> AbstractContextManager[None]:
        """While it lasts, attempts that go on from earlier ones cost their new tokens alone, where the engine can
        keep the others."""
        ...


class Sampler(Protocol):
    """Decides who is sampled: draws tasks until ``want`` groups are at hand.

    ``writes`` tells whether it has the policy write answers, and ``reads`` whether it takes recorded ones; ``rewarded``
    whether what it draws has to be scored by a reward.
    """

    @property
    def writes(self) -> bool:
        return True

    @property
    def rewarded(self) -> bool:
        return self.writes

    @property
    def reads(self) -> bool:
        """Whether it needs tasks with recorded answers."""
        return not self.writes

    @property
    def of_players(self) -> bool:
        """Whether it can take several groups for a task: one for each player of its environment."""
        return False

    @property
    def demonstrations(self) -> int:
        """How many of a task's recorded answers stand beside the attempts of a group."""
        return 0

    @property
    def asks(self) -> frozenset[Ability]:
        """What it asks of an engine that not every engine can do."""
        return frozenset()

    @property
    def apart(self) -> bool:
        """Whether what it gives for a step's tasks is what it gives for each of them alone."""
        return False

    @property
    def totals(self) -> frozenset[str]:
        """What it leaves in ``Play.counts`` that is a sum over tasks, and no mean."""
        return frozenset()

    @property
    def last_fork(self) -> int:
        """After how many tokens of an answer it branches for the last time, where that does not depend on what is
        drawn."""
        return 0

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]: ...


class Algorithm(Protocol):
    """Who is sampled, and what each token is worth. Fields are hyperparameters, methods are the mathematics.

    ``needs`` names what ``Policy.annotate`` must add to the samples, ``outputs`` what ``forward`` must give; ``unit``
    what a minibatch and a micro-batch may not split.
    """

    @property
    def sampler(self) -> Sampler: ...

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset()

    @property
    def unit(self) -> Unit:
        return "sample"

    @property
    def outputs(self) -> frozenset[Output]:
        return LOGP

    @property
    def heads(self) -> Heads:
        """What is learned beside the policy: nothing, a scalar head on its layers, a model of its own with such a head,
        or a second language model whose log-probabilities are implicit rewards."""
        return "none"

    @property
    def thinking(self) -> Thinking | None:
        """How the policy thinks before every token, where it learns to."""
        return None

    @property
    def trains(self) -> Trains:
        """Whether the stage's weights are a policy afterwards, a scorer of answers, a verifier that says Yes or No of
        them, or what they were before."""
        return "policy"

    @property
    def parts(self) -> Sequence[str] | None:
        """The parts of a reward that it names; None where it looks at the whole reward only."""
        return None

    def check_updates(self, updates: int) -> None:
        """Raise ValueError where a step's samples are not meant for so many updates."""
        return

    def prepare(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples to annotate: those given, and others whose log-probabilities the mathematics asks for."""
        return list(samples)

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        """Give every sample its advantage and its weight; a sample left out is not trained on.

        ``memory`` is kept between steps, saved with checkpoints and logged; it starts empty.
        """
        ...

    def forward(self, model: Model, batch: Batch) -> Outputs:
        """Run the model; algorithms that derive from this class inherit the one forward that nearly all share."""
        return model(batch, self.outputs)

    def loss(self, out: Outputs, batch: Batch) -> Loss: ...
