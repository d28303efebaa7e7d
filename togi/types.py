"""The nouns of Togi, in the order data flows through a step.

Task -> Turn -> Trajectory -> Score -> Group -> Sample -> Batch -> Outputs -> Loss.

This file knows no algorithm, no model, no file format and no text encoding: it only names things. Nouns are frozen,
keyword-only and have no behaviour; what acts on them lives on a higher floor. Axis legend for tensor and array
suffixes: B samples, T positions of a sample (prompt included), G attempts at one task, S samples of a whole step.

Alignment (everywhere in Togi): position t of a per-token array speaks about token ``ids[t]``, so ``logp[t]`` is
``log p(ids[t] | ids[:t])``. Position 0 has no context and is never trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:  # workers that ask a user's function make its task, and need neither
    import numpy as np
    import torch
    from numpy.typing import NDArray

Ids = tuple[int, ...]
FloatArray: TypeAlias = "NDArray[np.float32]"
Role = Literal["system", "developer", "user", "assistant", "tool", "text"]
Status = Literal["ok", "unparseable", "timeout", "error", "abstain"]
Fault = Literal["time", "memory", "depth", "length", "construct", "empty", "error"]
Stop = Literal["eos", "stop_string", "length", "context", "tokens", "turns", "done", "abort", "error"]
"""How a turn or an attempt ends: by the model; at a limit of the turn, the context, the attempt's tokens or turns; or
broken off by who listened, as void, or by an error."""
Need = Literal["old_logp", "old_entropy", "ref_logp", "old_value", "implicit_logp", "teacher_logp"]
Output = Literal["logp", "entropy", "certainty", "value", "score", "implicit", "after_thoughts", "compared"]
Unit = Literal["sample", "group"]
Ability = Literal["begin", "mixture", "think"]
"""Of an engine: to go on from a beginning, to draw from two models at once, to think before every token."""
Heads = Literal["none", "shared", "own", "implicit"]
Trains = Literal["policy", "scorer", "verifier", "nothing"]
Estimator = Literal["k1", "k2", "k3", "k3_ratio"]
"""Of a KL divergence, see ``losses.policy``."""
Level = Literal["token", "sequence", "geometric"]
"""Of an importance weight, see ``losses.off_policy``."""
Divergence = Literal["reverse_kl", "forward_kl", "js", "alpha"]
"""Of f-DPO, see ``losses.preference``."""


LOGP: frozenset[Output] = frozenset({"logp"})
CUT: frozenset[Stop] = frozenset({"length", "context", "tokens", "turns"})
"""How an attempt stops that a limit has cut."""
Memory = dict[str, float]
"""Numbers of an algorithm that outlive a step (an adaptive coefficient, a running mean), by metric name."""


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A tool that an assistant's message calls; ``arguments`` is a JSON object as text."""

    name: str
    arguments: str
    id: str = ""


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of a conversation. Role ``text`` is raw text: it is encoded as it stands, without a chat template.

    ``tool_calls`` are the assistant's. A message of role ``tool`` says what a tool gave back: ``tool_call_id`` names
    the call that it answers, and ``name`` the tool.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One thing a model is asked.

    ``answer`` is what a grader compares with; it never enters a prompt. ``recorded`` holds answers written before
    training, as messages: one for a demonstration, two (chosen, rejected) for a preference pair, none for a task that
    is only sampled. ``worth`` has one number for each recorded answer that was judged, the better the higher: (1, 0)
    for chosen and rejected, (0.7, 0.3) for win probabilities, 1 or 0 for a thumb up or down; it is empty when nobody
    judged. ``step_worth`` has, for each recorded answer whose steps were judged, one number from 0 (wrong) to 1 (right)
    a step, nan where nobody said. ``tools`` are what the model may call, as JSON schemas in OpenAI's form;
    ``template_args`` sets variables of the chat template for this task alone. ``info`` carries the row's further
    columns to rewards.
    """

    id: str
    prompt: tuple[Message, ...]
    answer: Any = None
    recorded: tuple[tuple[Message, ...], ...] = ()
    worth: tuple[float, ...] = ()
    step_worth: tuple[tuple[float, ...], ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()
    template_args: Mapping[str, Any] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Turn:
    """One uninterrupted piece of model output, and exactly what the model saw before it.

    ``prompt`` is the whole context (history included), ``completion`` the token ids the model emitted, the end token
    included when it was emitted. ``text`` is what the turn says: the completion decoded without special tokens, behind
    what the chat template itself began the turn with (``<think>``), which stands in ``prompt``. ``logp`` has one
    log-probability for each completion token, of the distribution really sampled from; for recorded text it is empty.
    ``temperature`` is the one sampled at. ``replies`` are the messages the environment answered with, ``version``
    counts the weight updates the sampling weights had seen. ``state_key`` names the state that the turn was taken in,
    where its environment names states.
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
    state_key: str = ""


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
    """One attempt at a task from start to end. A failed episode is data: ``error`` says what failed, and ``own_fault``,
    where the model's last message alone made it fail, how. ``counts`` is what its environment counted, by name, and
    ``asked`` what it said first. Of an episode of several players there is one for each: ``role`` names the player,
    whose own turns, replies and rewards it holds."""

    turns: tuple[Turn, ...]
    stop: Stop
    asked: tuple[Message, ...] = ()
    error: str | None = None
    own_fault: Fault | None = None
    counts: Mapping[str, float] = field(default_factory=dict)
    role: str = ""


@dataclass(frozen=True, kw_only=True)
class Score:
    """What a reward said of one trajectory.

    ``status`` other than ``ok`` means no score could be given, by the doing of the grader or the machine: ``value`` is
    then nan, the trajectory is never trained on and never counted as 0, but always counted and shown. ``own_fault``
    says that the completion itself broke its environment or kept its grader from grading it, and how: by the time or
    memory that reading it takes, how deep or long it is, a construct that is refused, nothing in it, or an error that
    it alone raises. Such a score is given: ``status`` is ``ok`` and ``value`` 0 (``rollout.score`` lowers it where 0
    would be good pay). ``parts`` holds the named components before weighting, ``shares`` what each of them added to
    ``value`` after weights, gates and limits: they sum to it. ``dense`` is an optional reward for each completion
    token, of all turns one after the other. ``steps`` says what each step of the last turn was found worth, from 0 to 1
    (nan: not said), and ``step_ends`` which of that turn's completion tokens is the step's last. ``note`` is what was
    said beside the number: a judge's critique, or why a score was not given.
    """

    value: float
    parts: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    dense: tuple[float, ...] = ()
    steps: tuple[float, ...] = ()
    step_ends: tuple[int, ...] = ()
    status: Status = "ok"
    own_fault: Fault | None = None
    note: str = ""

    @property
    def correct(self) -> float:
        """Raw correctness: the part ``correct`` where the reward has one, else the value."""
        return self.parts.get("correct", self.value)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Every attempt at one task in one ``role``, with one score each. ``baseline`` is what the sampler found attempts
    should be compared with, such as the reward of the greedy answer (ReMax). Of attempts that nobody pays ``paid`` is
    false, and their scores say nothing. ``references`` has, for each attempt, the
    turn in which the task's own answer follows the attempt's thought (None: it has no place there), to be learned as
    well."""

    task: Task
    trajectories: tuple[Trajectory, ...]
    scores: tuple[Score, ...]
    role: str = ""
    baseline: float | None = None
    paid: bool = True
    references: tuple[Turn | None, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Thinking:
    """How a model thinks before a token: ``length`` tokens between a learned start and a learned end, drawn by the
    model itself, or with ``random`` each with equal chances. Before they are learned ``start`` and ``end`` are read
    like these texts, like the mean of all tokens where they are empty."""

    length: int
    random: bool = False
    start: str = ""
    end: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Thoughts:
    """Thoughts at N places of a sample: the one before token ``at_N`` follows the tokens before it. ``ids_NPL`` are
    ``P`` thoughts a place, empty until they are drawn. Each is judged by ``ahead_N`` tokens of the sample, of which
    ``at_N`` is the first."""

    at_N: NDArray[np.int64]
    ahead_N: NDArray[np.int64]
    ids_NPL: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """One token sequence to learn from; arrays are [T] and aligned with ``ids``.

    ``mask`` is true where the policy wrote the token and it is to be trained on. ``logp`` is the sampler's
    log-probability (0 where ``mask`` is false). ``old_logp`` and ``ref_logp`` come from ``Policy.annotate``;
    ``advantage`` and ``weight`` from ``Algorithm.credit``. ``weight`` multiplies each token of the sample in the
    loss, so a loss is a plain weighted sum. ``group`` numbers the task within the step, ``trajectory`` the attempt
    within the group: two samples of one trajectory (a history that was rewritten between turns) carry both numbers.
    ``recorded`` is true for answers that were not sampled, ``role`` is the trajectory's. ``value`` is a critic's
    estimate before each token and ``end_value`` the one after the last, both from ``Policy.annotate``; ``returns`` is
    what the critic learns. ``baseline`` is the group's. ``state_keys`` has that of each turn with a trained token.
    ``steps`` holds what a step was found worth at its last token, and nan elsewhere; ``implicit_logp`` is the
    log-probability under the model that implicit rewards are read from, ``teacher_logp`` the teacher's. ``entropy`` is
    that of the policy before its first update, from ``Policy.annotate``. ``hold`` is what each nat between policy and
    ``old_logp`` costs a token; ``kl_coef`` and ``entropy_coef`` are the step's coefficients, where they change from
    step to step. ``shares`` has what each part of the reward added to it. ``age`` counts the weight updates since the
    sample was drawn: 0 for what the present weights drew. ``thoughts`` stand before some of its trained tokens.
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
    role: str = ""
    baseline: float | None = None
    state_keys: tuple[str, ...] = ()
    dense: FloatArray | None = None
    steps: FloatArray | None = None
    old_logp: FloatArray | None = None
    ref_logp: FloatArray | None = None
    implicit_logp: FloatArray | None = None
    entropy: FloatArray | None = None
    thoughts: Thoughts | None = None
    teacher_logp: FloatArray | None = None
    value: FloatArray | None = None
    end_value: float = 0.0
    advantage: FloatArray | None = None
    returns: FloatArray | None = None
    hold: FloatArray | None = None
    weight: float = 0.0
    kl_coef: float | None = None
    entropy_coef: float | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    temperature: float = 1.0
    version: int = 0
    age: int = 0


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
    hold_BT: torch.Tensor | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class AfterThoughts:
    """What the model says after the thoughts of a batch: of the first of the A tokens ahead of place N after thought P,
    of the second after the thought and the first, and so on. ``known_BNA`` is false where there is no such place or
    token, and all else is 0 there.

    ``logp_BNPA`` is a token's log-probability by the mixture of what is said without and with the thought, in which the
    latter has the share ``weight_BNPA``; ``own_BNP`` is that of the thought itself, all its tokens together.
    """

    known_BNA: torch.Tensor
    logp_BNPA: torch.Tensor
    weight_BNPA: torch.Tensor
    own_BNP: torch.Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Outputs:
    """What the model says of a batch; 0 where ``mask_BT`` is false, and None (``logp_BT``: all 0) where not asked for.

    ``certainty_BT`` is the divergence KL(U || p) of a token's distribution from the uniform one, without gradient.
    ``value_BT`` at t is the critic's estimate of the state before token t. ``score_B`` is a scalar head's reading of
    the whole sequence, after its last token. ``implicit_BT`` are log-probabilities under a second language model that
    is learned beside the policy. ``after_thoughts`` is what is said after thoughts.
    """

    logp_BT: torch.Tensor
    entropy_BT: torch.Tensor | None = None
    certainty_BT: torch.Tensor | None = None
    value_BT: torch.Tensor | None = None
    score_B: torch.Tensor | None = None
    implicit_BT: torch.Tensor | None = None
    after_thoughts: AfterThoughts | None = None
    compared_BT: torch.Tensor | None = None


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
class Limits:
    """Where an attempt is cut, whatever its environment says: after so many turns, and after so many tokens that the
    model wrote in all of them (None: no such limit)."""

    turns: int = 1000
    tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class Beside:
    """Environments answer in so many threads, while other turns are drawn; no call may take longer than ``seconds``."""

    threads: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Opponent:
    """The policy with some of its reference mixed in: each token is drawn from
    policy^(1 - ``reference_share``) reference^``reference_share``, normalised."""

    reference_share: float


@dataclass(frozen=True, kw_only=True)
class Question:
    """A task to attempt so many times.

    ``beginning`` is what the first completion of each attempt begins with, whoever wrote it; ``logp`` has its tokens'
    log-probabilities where the policy drew it just so, and the completion has one for each token then. ``by`` answers
    (None: the policy), and ``sampling`` says how it is drawn (None: as the stage samples).
    """

    task: Task
    attempts: int = 1
    beginning: Ids = ()
    logp: tuple[float, ...] = ()
    by: Opponent | None = None
    sampling: Sampling | None = None

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"attempts must be at least 1, got {self.attempts}")
        if self.logp and len(self.logp) != len(self.beginning):
            raise ValueError(
                f"a beginning of {len(self.beginning)} tokens has a log-probability for each of them or for none, "
                f"got {len(self.logp)}"
            )


@dataclass(frozen=True, kw_only=True)
class ReferenceAnswer:
    """A written answer in place of a model's own: ``turn.prompt`` is all that stands before it, opening tag included,
    and ``turn.completion`` the answer and the closing tag, of which the first ``tokens`` hold some of the answer."""

    turn: Turn
    tokens: int


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """A context to complete ``len(seeds)`` times; each attempt's randomness depends on its own seed alone. ``left`` is
    how many tokens the attempt may still have, where it has a budget of them. The last ``begun`` ids are the beginning
    of the completion, in which a stop string may begin as well."""

    ids: Ids
    seeds: tuple[int, ...]
    left: int | None = None
    begun: int = 0
