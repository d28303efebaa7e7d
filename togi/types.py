"""The nouns and the protocols of Togi, in the order data flows through a step.

Task -> Turn -> Trajectory -> Score -> Group -> Sample -> Batch -> Outputs -> Loss.

This file knows no algorithm, no model, no file format and no text encoding: it only names things. Nouns are frozen,
keyword-only and have no behaviour; what acts on them lives on a higher floor. Axis legend for tensor and array
suffixes: B samples, T positions of a sample (prompt included), G attempts at one task, S samples of a whole step.

Alignment (everywhere in Togi): position t of a per-token array speaks about token ``ids[t]``, so ``logp[t]`` is
``log p(ids[t] | ids[:t])``. Position 0 has no context and is never trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pathlib import Path

    import torch

Ids = tuple[int, ...]
FloatArray = NDArray[np.float32]
Role = Literal["system", "developer", "user", "assistant", "tool", "text"]
Status = Literal["ok", "unparseable", "timeout", "error", "abstain"]
Stop = Literal["eos", "stop_string", "length", "context", "done", "error"]
Need = Literal["old_logp", "ref_logp", "old_value", "implicit_logp"]
Output = Literal["logp", "entropy", "certainty", "value", "score", "implicit"]
Unit = Literal["sample", "group"]
Heads = Literal["none", "shared", "own", "implicit"]
Trains = Literal["policy", "scorer", "verifier", "nothing"]


LOGP: frozenset[Output] = frozenset({"logp"})
Memory = dict[str, float]
"""Numbers of an algorithm that outlive a step (an adaptive coefficient, a running mean), by metric name."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of a conversation. Role ``text`` is raw text: it is encoded as it stands, without a chat template."""

    role: Role
    content: str


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing a model is asked.

    ``answer`` is what a grader compares with; it never enters a prompt. ``recorded`` holds answers written before
    training, as messages: one for a demonstration, two (chosen, rejected) for a preference pair, none for a task that
    is only sampled. ``worth`` has one number for each recorded answer that was judged, the better the higher: (1, 0)
    for chosen and rejected, (0.7, 0.3) for win probabilities, 1 or 0 for a thumb up or down; it is empty when nobody
    judged. ``step_worth`` has, for each recorded answer whose steps were judged, one number from 0 (wrong) to 1 (right)
    a step, nan where nobody said. ``info`` carries the row's further columns to rewards.
    """

    id: str
    prompt: tuple[Message, ...]
    answer: Any = None
    recorded: tuple[tuple[Message, ...], ...] = ()
    worth: tuple[float, ...] = ()
    step_worth: tuple[tuple[float, ...], ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One uninterrupted piece of model output, and exactly what the model saw before it.

    ``prompt`` is the whole context (history included), ``completion`` the token ids the model emitted, the end token
    included when it was emitted, ``text`` the completion decoded without special tokens. ``logp`` has one
    log-probability for each completion token, of the distribution really sampled from; for recorded text it is empty.
    ``temperature`` is the one sampled at. ``replies`` are the messages the environment answered with, ``version``
    counts the weight updates the sampling weights had seen.
    """

    prompt: Ids
    completion: Ids
    text: str
    stop: Stop
    logp: tuple[float, ...] = ()
    temperature: float = 1.0
    replies: tuple[Message, ...] = ()
    reward: float = 0.0
    version: int = 0


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a model says of the tokens of a turn, one number a completion token, at the turn's temperature.

    ``logp`` is the token's log-probability, ``entropy`` that of the distribution it was drawn from (nats), and
    ``certainty`` the divergence KL(U || p) of that distribution from the uniform one over the vocabulary.
    """

    logp: tuple[float, ...]
    entropy: tuple[float, ...]
    certainty: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """One attempt at a task from start to end. A failed episode is data: ``error`` says what failed."""

    turns: tuple[Turn, ...]
    stop: Stop
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a reward said of one trajectory.

    ``status`` other than ``ok`` means no score could be given: ``value`` is then nan, the trajectory is never trained
    on and never counted as 0, but always counted and shown. ``parts`` holds the named components before weighting,
    ``shares`` what each of them added to ``value`` after weights, gates and limits: they sum to it. ``dense`` is an
    optional reward for each completion token, of all turns one after the other. ``steps`` says what each step of the
    last turn was found worth, from 0 to 1 (nan: not said), and ``step_ends`` which of that turn's completion tokens is
    the step's last. ``note`` is what was said beside the number: a judge's critique, or why a score was not given.
    """

    value: float
    parts: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    dense: tuple[float, ...] = ()
    steps: tuple[float, ...] = ()
    step_ends: tuple[int, ...] = ()
    status: Status = "ok"
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Every attempt at one task, with one score each. ``baseline`` is what the sampler found attempts should be
    compared with, such as the reward of the greedy answer (ReMax). ``references`` has, for each attempt, the turn in
    which the task's own answer follows the attempt's thought (None: it has no place there), to be learned as well."""

    task: Task
    trajectories: tuple[Trajectory, ...]
    scores: tuple[Score, ...]
    baseline: float | None = None
    references: tuple[Turn | None, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One token sequence to learn from; arrays are [T] and aligned with ``ids``.

    ``mask`` is true where the policy wrote the token and it is to be trained on. ``logp`` is the sampler's
    log-probability (0 where ``mask`` is false). ``old_logp`` and ``ref_logp`` come from ``Policy.annotate``;
    ``advantage`` and ``weight`` from ``Algorithm.credit``. ``weight`` multiplies each token of the sample in the
    loss, so a loss is a plain weighted sum. ``group`` numbers the task within the step, ``trajectory`` the attempt
    within the group: two samples of one trajectory (a history that was rewritten between turns) carry both numbers.
    ``recorded`` is true for answers that were not sampled. ``value`` is a critic's estimate before each token and
    ``end_value`` the one after the last, both from ``Policy.annotate``; ``returns`` is what the critic learns.
    ``baseline`` is the group's. ``steps`` holds what a step was found worth at its last token, and nan elsewhere;
    ``implicit_logp`` is the log-probability under the model that implicit rewards are read from.
    """

    ids: NDArray[np.int64]
    mask: NDArray[np.bool_]
    logp: FloatArray
    reward: float
    group: int
    trajectory: int
    task: str
    stop: Stop
    recorded: bool = False
    baseline: float | None = None
    dense: FloatArray | None = None
    steps: FloatArray | None = None
    old_logp: FloatArray | None = None
    ref_logp: FloatArray | None = None
    implicit_logp: FloatArray | None = None
    value: FloatArray | None = None
    end_value: float = 0.0
    advantage: FloatArray | None = None
    returns: FloatArray | None = None
    weight: float = 0.0
    temperature: float = 1.0
    version: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Samples as padded tensors, right-padded; ``mask_BT`` is false on padding. ``samples`` keeps the unpadded rows."""

    samples: tuple[Sample, ...]
    ids_BT: torch.Tensor
    mask_BT: torch.Tensor
    logp_BT: torch.Tensor
    advantage_BT: torch.Tensor
    weight_B: torch.Tensor
    temperature_B: torch.Tensor
    old_logp_BT: torch.Tensor | None = None
    ref_logp_BT: torch.Tensor | None = None
    value_BT: torch.Tensor | None = None
    returns_BT: torch.Tensor | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Outputs:
    """What the model says of a batch; 0 where ``mask_BT`` is false, and None (``logp_BT``: all 0) where not asked for.

    ``certainty_BT`` is the divergence KL(U || p) of a token's distribution from the uniform one, without gradient.
    ``value_BT`` at t is the critic's estimate of the state before token t. ``score_B`` is a scalar head's reading of
    the whole sequence, after its last token. ``implicit_BT`` are log-probabilities under a second language model that
    is learned beside the policy.
    """

    logp_BT: torch.Tensor
    entropy_BT: torch.Tensor | None = None
    certainty_BT: torch.Tensor | None = None
    value_BT: torch.Tensor | None = None
    score_B: torch.Tensor | None = None
    implicit_BT: torch.Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Mean:
    """A metric as a sum and a count, so that micro-batches and ranks add up to the exact mean."""

    total: float
    count: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Loss:
    """A scalar to minimise (summed over micro-batches, never averaged) and its metrics."""

    value: torch.Tensor
    metrics: Mapping[str, Mean] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How completions are drawn. ``temperature`` 0 is greedy; ``top_k`` 0 and ``top_p`` 1 keep every token."""

    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A context to complete ``len(seeds)`` times; each attempt's randomness depends on its own seed alone."""

    ids: Ids
    seeds: tuple[int, ...]


@runtime_checkable
class Env(Protocol):
    """One episode. Single use: made, played, dropped."""

    def start(self) -> tuple[Message, ...]: ...

    def step(self, message: Message) -> tuple[tuple[Message, ...], float, bool]:
        """Take the model's message; give replies, a reward, and whether the episode is over."""
        ...

    def close(self) -> None: ...


Asked = tuple[Task, Sequence[Trajectory]]


class Reward(Protocol):
    """Scores all attempts at one task together, so that a reward may compare siblings. One score a trajectory."""

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]: ...


@runtime_checkable
class Batched(Protocol):
    """A reward that scores the attempts at many tasks at once, since a model or a server is faster so."""

    def many(self, asked: Sequence[Asked]) -> list[list[Score]]: ...


class Model(Protocol):
    """The differentiable view of the policy that an algorithm's ``forward`` calls."""

    def __call__(self, batch: Batch, outputs: frozenset[Output] = LOGP) -> Outputs: ...


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


class Play(Protocol):
    """Plays tasks to groups: episodes in lock-step, ``n`` attempts a task, then scoring.

    ``counts`` is where samplers leave what they did (groups dropped, accuracy before a filter), by metric name.
    """

    @property
    def counts(self) -> dict[str, float]: ...

    def __call__(self, tasks: Sequence[Task], n: int) -> list[Group]: ...

    def attempts(self, tasks: Sequence[Task], n: int) -> list[tuple[Trajectory, ...]]:
        """``n`` attempts at each task, without scores: for what is judged otherwise than by a reward."""
        ...

    def against(self, tasks: Sequence[Task], share: float) -> list[Group]:
        """One attempt of the policy and one of its opponent at each task, in this order, scored together. The opponent
        draws each token from the policy^(1 - share) reference^share, normalised."""
        ...

    def greedy(self, tasks: Sequence[Task]) -> list[Group]:
        """The one answer to each task that takes the likeliest token every time, scored."""
        ...

    def referenced(self, group: Group, tag: str) -> tuple[Turn | None, ...]:
        """For each attempt the turn in which the task's own answer stands where the attempt opened ``<tag>``."""
        ...

    def recorded(self, tasks: Sequence[Task]) -> list[Group]:
        """The tasks' recorded answers as groups, without sampling; their scores are ``Task.worth``, or 0."""
        ...

    def step_ends(self, trajectory: Trajectory, separator: str) -> tuple[int, ...]:
        """Which completion token of the last turn ends each of its steps, cut at the separator."""
        ...

    def continued(self, begun: Sequence[tuple[Task, Ids]], n: int) -> list[Group]:
        """``n`` attempts at each task whose first completion begins with the given ids, scored."""
        ...


class Sampler(Protocol):
    """Decides who is sampled: draws tasks until ``want`` groups are at hand.

    ``writes`` tells whether it has the policy write answers, or reads recorded ones; ``rewarded`` whether what it
    draws has to be scored by a reward.
    """

    @property
    def writes(self) -> bool:
        return True

    @property
    def rewarded(self) -> bool:
        return self.writes

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
    def trains(self) -> Trains:
        """Whether the stage's weights are a policy afterwards, a scorer of answers, a verifier that says Yes or No of
        them, or what they were before."""
        return "policy"

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
