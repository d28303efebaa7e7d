"""Every algorithm learns a toy in seconds, through the true path, and beats a control whose rewards were shuffled.

Broken reinforcement learning fails silently: the loss falls, the metrics move, and nothing is learnt. The toy: three
tasks, each paid for emitting its own token.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path

import pytest
import torch
from conftest import tiny_model
from judge_doubles import attempts
from tiny_text import byte_level, tiny_llama
from torch import Tensor, nn

from togi import batch as batching
from togi.algorithms import (
    ALGORITHMS,
    GDPO,
    GRPO,
    PRIME,
    ConstantLength,
    OnPolicyDistillation,
    PolicyGradient,
    Preference,
    Single,
)
from togi.algorithms.scorers.genrm import KEYS, GenRM, Verdicts
from togi.engines.native import NativeEngine
from togi.envs import OneTurn
from togi.models.policy import LocalPolicy, Optimiser
from togi.protocols import Algorithm, Reward
from togi.rewards.algebra import Surroundings
from togi.rewards.judge import genrm
from togi.rollout import Episodes
from togi.samplers import (
    Dynamic,
    EntropyTree,
    Groups,
    LevelTree,
    Recorded,
    Rejection,
    SegmentTree,
    StudentsShare,
    ValuedSegments,
    ValuedSteps,
    WithGreedy,
)
from togi.samplers.group import ask, recorded
from togi.tokenization import Chat
from togi.types import (
    LOGP,
    Batch,
    Ids,
    Memory,
    Message,
    Need,
    Output,
    Outputs,
    Prompt,
    ReferenceAnswer,
    Sample,
    Sampling,
    Score,
    Task,
    Trajectory,
    Turn,
)

VOCABULARY, LENGTH, STEPS = 10, 3, 40
TASKS = [
    Task(id=f"t{i}", prompt=(Message(role="text", content=str(i)),), answer=5 + i, recorded=((answer,),))
    for i, answer in enumerate(Message(role="assistant", content=str(5 + i) * LENGTH) for i in range(3))
]


JUDGED = [
    replace(
        task,
        recorded=tuple((Message(role="assistant", content=text),) for text in (str(5 + i) * LENGTH, str(4 + i), "210")),
        worth=(1.0, 0.5, 0.0),
    )
    for i, task in enumerate(TASKS)
]


class Tiny(nn.Module):
    """A recurrent net that satisfies Model through a plain padded forward."""

    rate = 0.02

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.net = nn.Embedding(VOCABULARY, 16), nn.GRU(16, 32, batch_first=True)
        self.head = nn.Linear(32, VOCABULARY)

    def logits(self, ids_BT: Tensor) -> Tensor:
        return self.head(self.net(self.embed(ids_BT))[0])  # type: ignore[no-any-return]

    def forward(self, batch: Batch, outputs: frozenset[Output] = LOGP) -> Outputs:
        scored = (self.logits(batch.ids_BT[:, :-1]) / batch.temperature_B[:, None, None]).log_softmax(-1)
        logp = scored.gather(-1, batch.ids_BT[:, 1:, None]).squeeze(-1)
        entropies = -(scored.exp() * scored).sum(-1)
        logp_BT, entropy_BT = (nn.functional.pad(x, (1, 0)).where(batch.mask_BT, 0.0) for x in (logp, entropies))
        return Outputs(logp_BT=logp_BT, entropy_BT=entropy_BT if "entropy" in outputs else None)


class Table(Tiny):
    """A model whose next token depends on the last one alone: cheap, and enough for a preference."""

    rate = 0.2

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(VOCABULARY, VOCABULARY))

    def logits(self, ids_BT: Tensor) -> Tensor:
        return self.table[ids_BT]


@dataclass
class Sampled:
    """Ten lines of engine: at most LENGTH tokens an attempt, each drawn with the attempt's own seed."""

    model: Tiny
    version: int = 0

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Callable[[int, int], None] | None = None
    ) -> list[list[Turn]]:
        shapes = [
            (len(each.ids), min(sampling.max_tokens, LENGTH if each.left is None else each.left)) for each in prompts
        ]
        drawn = {
            shape: iter(
                self._drawn([p for p, own in zip(prompts, shapes, strict=True) if own == shape], shape[1], sampling)
            )
            for shape in set(shapes)
        }
        return [next(drawn[shape]) for shape in shapes]

    def _drawn(self, prompts: Sequence[Prompt], length: int, sampling: Sampling) -> list[list[Turn]]:
        """Prompts of one length, completed by so many tokens."""
        rows = [(prompt.ids, seed) for prompt in prompts for seed in prompt.seeds]
        draws = torch.stack([torch.rand(length, generator=torch.Generator().manual_seed(seed)) for _, seed in rows])
        ids, logps = torch.tensor([list(ids) for ids, _ in rows]), []
        for t in range(length):
            logp = (self.model.logits(ids)[:, -1] / (sampling.temperature or 1e-6)).log_softmax(-1)
            token = (logp.exp().cumsum(-1) < draws[:, t, None]).sum(-1, keepdim=True).clamp(max=VOCABULARY - 1)
            ids, logps = torch.cat([ids, token], dim=1), [*logps, logp.gather(1, token)]
        turns = [
            Turn(prompt=prompt, completion=tuple(row[len(prompt) :]), text="", stop="length", logp=tuple(logp),
                 temperature=sampling.temperature)
            for (prompt, _), row, logp in zip(rows, ids.tolist(), torch.cat(logps, dim=1).tolist(), strict=True)
        ]  # fmt: skip
        drawn = iter(turns)
        return [[next(drawn) for _ in prompt.seeds] for prompt in prompts]

    def sync(self, policy: object) -> None: ...


class Digits:
    """A chat, and a tokenizer, whose tokens are digits; an answer is the last of them."""

    def reference(self, task: Task) -> str:
        return str(task.answer)

    def referenced(self, turn: Turn, answer: str, tag: str) -> ReferenceAnswer:
        prompt, token = (*turn.prompt, *turn.completion[:-1]), (int(answer),)
        return ReferenceAnswer(turn=replace(turn, prompt=prompt, completion=token, logp=()), tokens=1)

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        return "".join(map(str, token_ids))

    def step_ends(self, completion: Sequence[int], separator: str) -> tuple[int, ...]:
        return tuple(range(len(completion)))

    def opening(self, messages: Sequence[Message]) -> str:
        return ""

    def prompt(self, messages: Sequence[Message]) -> Ids:
        return tuple(int(c) for message in messages for c in message.content)

    def of(self, task: Task) -> Digits:
        return self

    def recorded(self, prompt: Sequence[Message], answer: Sequence[Message]) -> tuple[Turn, ...]:
        return (Turn(prompt=self.prompt(prompt), completion=self.prompt(answer), text="", stop="eos"),)


def share(task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
    """The share of tokens that are the task's own."""
    return [Score(value=sum(i == task.answer for i in t.turns[-1].completion) / LENGTH) for t in trajectories]


@dataclass
class Shuffled:
    """The control: rewards as large as those just earned, given to attempts at random."""

    earned: list[Score] = field(default_factory=list)
    dice: random.Random = field(default_factory=lambda: random.Random(0))

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        self.earned = (self.earned + share(task, trajectories))[-64:]
        return self.dice.choices(self.earned, k=len(trajectories))


def annotate(samples: list[Sample], model: Tiny, reference: Tiny, needs: frozenset[Need]) -> list[Sample]:
    if not samples:
        return samples
    batch = batching.collate(samples)
    with torch.no_grad():
        own, ref = model(batch, LOGP | {"entropy"}), reference(batch).logp_BT.numpy()
    assert own.entropy_BT is not None
    old, entropy = own.logp_BT.numpy(), own.entropy_BT.numpy()
    for b, sample in enumerate(samples):
        length = len(sample.ids)
        if "old_logp" in needs:
            sample = replace(sample, old_logp=old[b, :length])
        if "ref_logp" in needs:
            sample = replace(sample, ref_logp=ref[b, :length])
        if "old_entropy" in needs:
            sample = replace(sample, entropy=entropy[b, :length])
        samples[b] = sample
    return samples


def play_of(model: Tiny, reward: Reward) -> Episodes:
    sampling = Sampling(max_tokens=LENGTH)
    return Episodes(engine=Sampled(model), chat=Digits(), env=OneTurn, reward=reward, sampling=sampling)  # type: ignore[arg-type]


def measure(model: Tiny) -> float:
    groups = play_of(model, share).at(10_000)(ask(TASKS, 64))
    return sum(score.value for group in groups for score in group.scores) / (64 * len(TASKS))


def train(algorithm: Algorithm, reward: Reward, tasks: Sequence[Task] = TASKS, minibatches: int = 1) -> float:
    """The mean true reward after training a new model."""
    model = Tiny()
    fit(model, algorithm, reward, tasks, minibatches)
    return measure(model)


def fit(
    model: Tiny,
    algorithm: Algorithm,
    reward: Reward,
    tasks: Sequence[Task] = TASKS,
    minibatches: int = 1,
    steps: int = STEPS,
) -> None:
    """The loop in small, 24 attempts a step."""
    reference, memory = copy.deepcopy(model), Memory()
    optimiser = torch.optim.Adam(model.parameters(), lr=model.rate)
    stream: Iterator[Task] = cycle(tasks)
    needs = algorithm.needs | ({"old_logp"} if minibatches > 1 else set())
    attempts = algorithm.sampler.n if isinstance(algorithm.sampler, Groups | Dynamic | Rejection | WithGreedy) else 8
    for step in range(steps):
        groups = algorithm.sampler(stream, 24 // attempts, play_of(model, reward).at(step))
        samples = algorithm.prepare(batching.samples(groups))
        samples = algorithm.credit(annotate(samples, model, reference, needs), memory)
        for part in batching.minibatches(samples, minibatches, algorithm.unit):
            batch = batching.collate(part)
            optimiser.zero_grad()
            algorithm.loss(algorithm.forward(model, batch), batch).value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()


BRANCHING = {
    "treerl": EntropyTree(n=4, forks=1, arms=1),
    "treepo": SegmentTree(n=8, segment=1),
    "vineppo": ValuedSteps(n=8, continuations=4),
    "spo": ValuedSegments(n=8, continuations=4, cutpoints=1),
    "spo_tree": LevelTree(n=2, levels=3, segment=1),
}


def small(name: str) -> Algorithm:
    """The algorithm with 8 attempts a task; every toy attempt is cut off, so dropping those must be off."""
    algorithm = ALGORITHMS[name]
    if isinstance(algorithm, PolicyGradient):
        algorithm = replace(algorithm, drop_truncated=False)
    if isinstance(algorithm, GRPO):
        average = ConstantLength(LENGTH) if isinstance(algorithm.average, ConstantLength) else algorithm.average
        sampler = Dynamic(8, max_rounds=2) if isinstance(algorithm.sampler, Dynamic) else Groups(8)
        algorithm = replace(algorithm, sampler=sampler, average=average)
    if isinstance(algorithm, PRIME):
        algorithm = replace(algorithm, sampler=Groups(8))
    if name in BRANCHING:
        algorithm = replace(algorithm, sampler=BRANCHING[name])  # type: ignore[type-var]
    return algorithm


BEFORE = measure(Tiny())
COMPOSED = (
    "vanilla_pg", "gspo", "luspo", "cispo", "sapo", "gmpo", "topr", "vespo", "dppo", "decoupled_ppo", "awr",
    "mirror_descent", "m2po", "luffy", "opo", "maxrl", "clip_cov", "kl_cov", "high_entropy_tokens",
)  # fmt: skip
"""Algorithms that are GRPO with another part."""


@pytest.mark.parametrize(
    "name",
    [
        n
        for n, each in ALGORITHMS.items()
        if isinstance(each, PolicyGradient) and n not in (*COMPOSED, "nash_md", "gdpo", "on_policy_distillation")
    ],
)
def test_the_algorithm_learns_and_its_control_does_not(name: str) -> None:
    after, control = train(small(name), share), train(small(name), Shuffled())
    assert after > BEFORE + 0.5
    assert after > control + 0.5


@pytest.mark.parametrize("name", COMPOSED)
def test_a_composed_algorithm_learns(name: str) -> None:
    """By a model that is cheap, in several updates a step where its loss is for that."""
    model, algorithm = Table(), small(name)
    before = measure(model)
    several = not (isinstance(algorithm, PolicyGradient) and algorithm.surrogate.on_policy)
    fit(model, algorithm, share, minibatches=3 if several else 1, steps=35)
    assert measure(model) > before + 0.25


@pytest.mark.parametrize("name", COMPOSED)
@pytest.mark.slow
def test_the_control_of_a_composed_algorithm_learns_nothing(name: str) -> None:
    model = Table()
    fit(model, small(name), Shuffled(), steps=35)
    assert measure(model) < BEFORE + 0.15


def test_gdpo_learns_two_rewards_at_once() -> None:
    """One for the first token, and one for all, in parts of very different size."""

    def both(task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        shares = [
            {"first": 0.01 * (t.turns[-1].completion[0] == task.answer), "all": score.value}
            for t, score in zip(trajectories, share(task, trajectories), strict=True)
        ]
        return [Score(value=sum(each.values()), shares=each) for each in shares]

    model = Table()
    before = measure(model)
    fit(model, GDPO(), both, steps=35)
    assert measure(model) > before + 0.25


@pytest.mark.parametrize("discount", [0.0, 1.0])
def test_a_student_learns_by_its_own_attempts_what_its_teacher_would_have_said(discount: float) -> None:
    model, teacher, stream = Tiny(), Table(), cycle(TASKS)
    for task in TASKS:
        teacher.table.data[[int(task.id[1:]), task.answer], task.answer] = 5.0  # after the prompt, and after itself
    algorithm = OnPolicyDistillation(sampler=StudentsShare(8), discount=discount)
    optimiser = torch.optim.Adam(model.parameters(), lr=model.rate)
    for step in range(STEPS):
        samples = batching.samples(algorithm.sampler(stream, 3, play_of(model, share).at(step)))
        with torch.no_grad():
            said = teacher(batching.collate(samples)).logp_BT.numpy()
        samples = [replace(each, teacher_logp=row[: len(each.ids)]) for each, row in zip(samples, said, strict=True)]
        batch = batching.collate(algorithm.credit(samples, {}))
        optimiser.zero_grad()
        algorithm.loss(algorithm.forward(model, batch), batch).value.backward()
        optimiser.step()
    assert measure(model) > BEFORE + 0.5


def test_sft_learns_the_recorded_answers_and_only_those() -> None:
    dice = random.Random(0)
    nonsense = [
        replace(task, recorded=((Message(role="assistant", content=f"{dice.randrange(1000):03d}"),),)) for task in TASKS
    ]
    after, control = train(ALGORITHMS["sft"], share), train(ALGORITHMS["sft"], share, nonsense)
    assert after > BEFORE + 0.5
    assert after > control + 0.5


PREFERENCES = [name for name, each in ALGORITHMS.items() if isinstance(each, Preference | Single)]


def likelihoods(model: Tiny) -> Tensor:
    """Log-probabilities of the recorded answers, mean over tasks: good, middling, bad."""
    samples = batching.samples([recorded(task, Digits()) for task in JUDGED])
    with torch.no_grad():
        return model(batching.collate(samples)).logp_BT.sum(1).view(len(JUDGED), 3).mean(0)


@pytest.mark.parametrize("name", PREFERENCES)
def test_a_preference_is_learnt_from_recorded_answers_and_turned_round_with_its_labels(name: str) -> None:
    algorithm = replace(ALGORITHMS[name], sampler=Recorded())  # type: ignore[type-var]
    turned = [replace(task, worth=task.worth[::-1]) for task in JUDGED]
    model, control = Table(), Table()
    before = likelihoods(model)
    fit(model, algorithm, share, JUDGED, steps=6)
    fit(control, algorithm, share, turned, steps=6)
    good, _, bad = likelihoods(model) - before
    control_good, _, control_bad = likelihoods(control) - before
    assert good - bad > 1
    assert control_bad - control_good > 1
    # APO-down is for chosen answers worse than the policy's own: it makes both less likely.
    assert (good < 0) if name == "apo_down" else (good > 0)


@pytest.mark.parametrize("name", ["online_dpo", "rso", "nca", "kto"])
def test_a_preference_is_learnt_from_scored_attempts(name: str) -> None:
    algorithm = ALGORITHMS[name]
    sampler = Rejection(8, keep=4) if name == "rso" else Groups(4)
    algorithm = replace(algorithm, sampler=sampler)  # type: ignore[type-var]
    if isinstance(algorithm, Single):
        algorithm = replace(algorithm, desirable_from=1 / LENGTH)
    model, control = Table(), Table()
    before = measure(model)
    fit(model, algorithm, share)
    fit(control, algorithm, Shuffled())
    assert measure(model) > before + 0.3
    assert measure(model) > measure(control) + 0.3


@dataclass
class Likely:
    """The probability of the task's own token after an attempt's thought, which is all but its last token."""

    model: Tiny

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        thoughts = torch.tensor([[*t.turns[-1].prompt, *t.turns[-1].completion[:-1]] for t in trajectories])
        with torch.no_grad():
            p = self.model.logits(thoughts)[:, -1].softmax(-1)[:, task.answer]
        return [Score(value=value) for value in p.tolist()]


def test_verifree_learns_to_think_what_makes_the_answer_likely_and_the_answer() -> None:
    """A last token that depends on the one before alone: only the right thoughts make all three answers likely."""
    model = Table()

    def likely() -> float:
        scores = [score.value for task in TASKS for score in Likely(model)(task, drawn(model, task))]
        return sum(scores) / len(scores)

    before = likely()
    fit(model, ALGORITHMS["verifree"], Likely(model))
    assert before < 0.2
    assert likely() > 0.8


def test_minimising_entropy_sharpens_what_was_likeliest() -> None:
    model = Tiny()
    with torch.no_grad():
        model.head.bias[7] += 1.0
    starts = torch.tensor([[0], [1], [2]])
    with torch.no_grad():
        before = model.logits(starts).softmax(-1)[:, -1, 7]
    fit(model, ALGORITHMS["entropy_minimisation"], share)
    with torch.no_grad():
        after = model.logits(starts).softmax(-1)[:, -1, 7]
    assert float(before.max()) < 0.4
    assert float(after.min()) > 0.9


def drawn(model: Tiny, task: Task) -> list[Trajectory]:
    [attempts] = play_of(model, share).at(10_000).attempts(ask([task], 64))
    return list(attempts)


def test_several_updates_a_step_learn_too() -> None:
    assert train(small("dr_grpo"), share, minibatches=3) > BEFORE + 0.5


def test_kl_holds_the_policy_back_wherever_it_stands() -> None:
    free = train(replace(small("dr_grpo"), kl=0.0), share)  # type: ignore[type-var]
    for fields in ({"kl_estimator": "k1", "kl_place": "reward"}, {"kl_estimator": "k2"}, {"kl_estimator": "k3"}):
        held = train(replace(small("dr_grpo"), kl=2.0, **fields), share)  # type: ignore[type-var,arg-type]
        assert held < free - 0.3, fields


def test_a_demonstration_teaches_what_no_attempt_finds() -> None:
    """Paid for whole answers alone, of which an untrained model finds one in a thousand."""

    def whole(task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return [Score(value=float(score.value == 1)) for score in share(task, trajectories)]

    shown = replace(small("grpo"), sampler=Groups(7, demonstrations=1))  # type: ignore[type-var]
    assert train(shown, whole) > 0.9 > train(small("grpo"), whole) + 0.4


@pytest.mark.parametrize("name", ["sft", "grpo", "rloo", "prime"])
def test_learning_through_the_real_engine_and_policy(name: str) -> None:
    """Continuous batching samples, the packed forward scores and learns; what is sampled is what is scored."""
    model, digits = tiny_model(VOCABULARY, dtype=torch.float32), Digits()
    algorithm, optimiser = small(name), Optimiser(learning_rate=0.01)
    policy = LocalPolicy(model, optimiser, compute=torch.float32, reference="copy", heads=algorithm.heads)
    engine = NativeEngine(model, digits, frozenset())
    play = Episodes(
        engine=engine, chat=digits, env=OneTurn, reward=share, sampling=Sampling(max_tokens=LENGTH), seed=1  # type: ignore[arg-type]
    )  # fmt: skip
    stream = cycle(TASKS)
    for step in range(25):
        groups = algorithm.sampler(stream, len(TASKS), play.at(step))
        samples = algorithm.credit(policy.annotate(batching.samples(groups), algorithm.needs), {})
        for part in batching.minibatches(samples, 1, algorithm.unit):
            metrics = policy.learn(part, algorithm)
            if name != "sft":
                assert metrics["sampling/sampling_logp_difference/mean"] < 1e-4
        engine.sync(policy)
    assert engine.version == policy.step > 0
    assert sum(s.value for g in play.at(10_000)(ask(TASKS, 32)) for s in g.scores) / 96 > 0.8


def test_a_tiny_model_learns_to_say_yes_rightly_and_is_asked_as_it_was_taught(tmp_path: Path) -> None:
    """Two tasks with opposite right answers, so that neither an answer nor a task decides by itself."""
    template = "{request}\n{answer}"
    tokenizer, model = byte_level(), tiny_llama(seed=1)
    chat = Chat(tokenizer, frozenset({2}))
    engine = NativeEngine(model, tokenizer, frozenset({2}))
    policy = LocalPolicy(model, Optimiser(learning_rate=1e-2), compute=torch.float32)
    play = Episodes(engine=engine, chat=chat, env=OneTurn, reward=None, sampling=Sampling(max_tokens=4))
    answers = tuple((Message(role="assistant", content=text),) for text in "ab")
    tasks = [
        Task(id=word, prompt=(Message(role="user", content=f"say {word}"),), recorded=answers, worth=worth)
        for word, worth in (("a", (1.0, 0.0)), ("b", (0.0, 1.0)))
    ]
    algorithm = GenRM(sampler=Verdicts(template=template, master_keys=len(KEYS)))
    stream = cycle(tasks)
    for step in range(60):
        groups = algorithm.sampler(stream, 2, play.at(step))
        policy.learn(algorithm.credit(batching.samples(groups), {}), algorithm)
    engine.sync(policy)
    (tmp_path / "ask.txt").write_text(template)
    at = Surroundings(engine=engine, chat=chat, folder=tmp_path, dtype=torch.float32)
    reward = genrm(template="ask.txt", base=tmp_path).opened(at)
    p = [[score.value for score in reward(task, attempts("a", "b", *KEYS))] for task in tasks]
    assert min(p[0][0], p[1][1]) > 0.9
    assert max(p[0][1], p[1][0], *p[0][2:], *p[1][2:]) < 0.1
