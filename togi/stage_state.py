"""The parts of one stage that change as it runs: policy, engine, streams and play. Knows no loop and no log."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from togi import batch
from togi.data import Tasks, TaskStream, load_collected, split, stream
from togi.engines.model_mixture import Mixture
from togi.engines.open_engine import open_engine
from togi.engines.thoughts import think
from togi.evidence.before.grading_time import GradingTime
from togi.evidence.during.stuck_stage import RewardCheck
from togi.models.device import random_state, restore_random_state
from togi.models.load_model import Loaded
from togi.models.policy import LocalPolicy
from togi.models.ranks import ALONE, Ranks
from togi.models.reference_logps import References, references
from togi.models.thought_head import MARKS
from togi.protocols import Engine, Sampler
from togi.rewards.algebra import asks_models_here
from togi.rollout import Episodes, attempt_seed
from togi.run import Chance, Run, Stage, Watch, play_of, ready, seed_of
from togi.run_folder.best_weights import looks_of
from togi.run_folder.files import RunFolder, digest
from togi.run_folder.ready_groups import ReadyGroups
from togi.samplers.ahead import Ahead, Pace
from togi.samplers.beta_counts import BetaCounts
from togi.samplers.group import draw, recorded
from togi.samplers.replay import ReplayBuffer, remembered_rows
from togi.samplers.task_order import Stream, count_attempts
from togi.stage_policy import needs_of, open_policy, thought_head
from togi.tokenization import Chat
from togi.types import Group, Memory, Sample


class Workshop:
    """The parts of one stage that change as it runs, from the weights it starts from. Changes ``loaded.model``.

    ``stage`` is the run's stage with the tasks it really learns from; ``held_out`` are those it does not.
    """

    def __init__(self, run: Run, number: int, loaded: Loaded, dtype: torch.dtype, ranks: Ranks = ALONE) -> None:
        self.chat = Chat(loaded.tokenizer, loaded.eos_ids)
        self.tokenizer = loaded.tokenizer
        self.device = loaded.model.device if run.engine.cluster is None else torch.device("cpu")
        self.folder = run.folder
        loaded = replace(loaded, thoughts=thought_head(run.stages[number], loaded))
        self._choice, self._staleness = run.engine, run.scale.staleness
        self.stage, self.held_out = learned_from(run.stages[number], run.folder)
        check_lengths(self.stage, self.chat, loaded.context)
        self._sampling_seed = stage_seed(run, self.stage, "sampling")
        stage = self.stage
        self._offline = not stage.algorithm.sampler.writes
        self.needs = needs_of(stage)
        opened = open_policy(run, number, loaded, dtype, ranks)
        self.policy, self.teacher_digest = opened.policy, opened.teacher_digest
        self.engine = open_engine(loaded, run.engine)
        self.seed = stage_seed(run, stage, "order")
        self.rates = BetaCounts(stage.order.memory)
        self.stream: Stream = stage.order.opened(stage.tasks, self.seed, self.rates)
        self.past = ReplayBuffer(stage.replay, self.seed) if stage.replay else None
        self.mix: TaskStream | None = stream(stage.mix, self.seed + 1) if stage.mix else None
        self.gold = ready(stage.gold, run, self.engine, self.chat, dtype)
        reward = ready(stage.reward, run, self.engine, self.chat, dtype)
        play = play_of(stage, self.engine, self.chat, reward, self._sampling_seed)
        play = replace(play, rates=self.rates.mean)
        self.play = play if opened.reference == "none" else replace(play, opponent=partial(self._opponent, loaded))
        self.sampler: Sampler | Ahead = stage.algorithm.sampler
        self.held_out_play: Episodes | None = None
        measured = run.evaluation
        if measured and measured.every and stage.measured and stage.algorithm.trains == "policy":
            # Draws of their own: what is chosen by them is measured with others.
            seed = int(digest([seed_of(run, "sampling"), "on the way"])[:15], 16)
            paid = ready(measured.reward, run, self.engine, self.chat, dtype)
            self.held_out_play = play_of(measured, self.engine, self.chat, paid, seed)
        self.looks: dict[int, float] = {}  # what was measured on the way, by the step of the stage
        self.memory: Memory = {}
        self.reward_check = RewardCheck(stage.name, stage.steps, taught=stage.algorithm.trains == "nothing")
        self.grading_time = GradingTime(stage.reward)
        self._met = 0  # steps in a row that met the stage's ``until``
        self._tokens = self._drawn = 0  # learned from, and drawn, in the steps before
        self._references: References | None = None
        self.mark()

    @property
    def here(self) -> LocalPolicy:
        """The policy, where its weights are in this process."""
        assert isinstance(self.policy, LocalPolicy), "recipes refuse what a cluster cannot do"
        return self.policy

    def _opponent(self, loaded: Loaded, share: float) -> Engine:
        """The policy as it is now with so much of its reference mixed in."""
        engine = open_engine(loaded, self._choice, Mixture(loaded.model, self.policy.reference, share))
        engine.sync(self.policy)
        return engine

    def prepare(self, watch: Watch) -> Path | None:
        """Compute what an offline stage needs of its starting weights, and give the file that keeps it, if any. To be
        called before ``restore``."""
        if not (self._offline and "ref_logp" in self.needs):
            return None
        watch.phase("reference")
        path = self.folder / "references" / f"{self.stage.name}.safetensors"
        self._references = references(path, self._samples_to_come(), self.policy, watch.progress)
        return path

    def _samples_to_come(self) -> Iterator[Sample]:
        tasks, algorithm = stream(self.stage.tasks, self.seed), self.stage.algorithm
        for _ in range(self.stage.steps):
            groups = algorithm.sampler(tasks, self.stage.tasks_per_step, self.play)
            yield from algorithm.prepare(batch.samples(groups))

    def sample_ahead(self, folder: RunFolder, tell: Callable[[str], None]) -> None:
        """Have the stage's groups sampled while others are learned from, where the run says so. To be called before
        ``restore``, by the thread that learns."""
        if not self.samples_ahead:
            return
        stage = self.stage
        self.sampler = Ahead(
            stage.algorithm.sampler,
            Pace(staleness=self._staleness, groups=stage.tasks_per_step, steps=stage.steps),
            self.play,
            ReadyGroups(folder, stage.name, stage.tasks),
            stage.tasks,
            asks_here=stage.reward is not None and asks_models_here(stage.reward),
            tell=tell,
        )
        self.mark()

    @property
    def samples_ahead(self) -> bool:
        return self._staleness > 0 and not self._offline and self.stage.algorithm.trains != "nothing"

    def meanwhile(self) -> AbstractContextManager[None]:
        """While it lasts, weights may change and groups are sampled ahead."""
        return self.sampler.meanwhile() if isinstance(self.sampler, Ahead) else nullcontext()

    def idle(self) -> dict[str, Any]:
        """For how many seconds since this was asked last the engine had nothing to draw, where groups are sampled
        ahead."""
        return {"engines_idle": self.sampler.idle()} if isinstance(self.sampler, Ahead) else {}

    def close(self) -> None:
        """Leave what is still being sampled."""
        if isinstance(self.sampler, Ahead):
            self.sampler.close()

    def replayed(self) -> list[Group]:
        """The groups of earlier steps that are learned from once more, in the place of new ones."""
        if self.past is None:
            return []
        return self.past.take(self.stage.tasks_per_step, self.policy.step)

    def saw(self, played: Sequence[Group], kept: Sequence[Group]) -> dict[str, float]:
        """Remember a step's groups: how often attempts were right, and those to be learned from again. Gives metrics of
        what it is that was sampled."""
        told = dict(self.stream.saw(played))
        count_attempts(self.rates, played)
        if self.past is not None:
            self.past.add(kept)
            told |= self.past.counts()
        return told

    def mixed_in(self) -> list[Group]:
        """This step's recorded answers that are learned beside what is sampled."""
        if self.mix is None:
            return []
        return [recorded(task, self.chat) for task in draw(self.mix, self.stage.mix_per_step)]

    def annotate(self, groups: Sequence[Group]) -> list[Sample]:
        aged = [self._aged(sample) for sample in batch.samples(groups)]
        samples = self._thought_of(self.stage.algorithm.prepare(aged))
        if self._references is None:
            with self.meanwhile():
                annotated = self.policy.annotate(samples, self.needs)
            # What is sampled ahead is corrected by the algorithm.
            return annotated if self.past is None else [_by_its_sampler(sample) for sample in annotated]
        return self._references.annotate(self.policy.annotate(samples, self.needs - {"ref_logp"}))

    def _aged(self, sample: Sample) -> Sample:
        return sample if sample.recorded else replace(sample, age=self.policy.step - sample.version)

    def _thought_of(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples with the thoughts drawn that they have places for."""
        head = self.policy.thoughts
        if head is None:
            return list(samples)
        step = self.policy.step
        seeds = [attempt_seed(self._sampling_seed, step, each.task, each.trajectory, 0) for each in samples]
        return think(self.here.packed, head, samples, seeds)

    def learn(self, samples: Sequence[Sample], step: int) -> list[Mapping[str, float]]:
        """Learn from a step's samples; gives the metrics of each update."""
        with self.meanwhile():
            return [self.policy.learn(part, self.stage.algorithm) for part in self.updates(samples, step)]

    def updates(self, samples: Sequence[Sample], step: int) -> list[list[Sample]]:
        """The samples of each update of a step. Every epoch but the first has an order of its own."""
        parts = []
        for epoch in range(self.stage.epochs):
            order = list(samples)
            if epoch:
                random.Random(f"{self.seed}/{step}/{epoch}").shuffle(order)
            parts += batch.minibatches(order, self.stage.minibatches, self.stage.algorithm.unit)
        return parts

    def renew_reference(self, step: int) -> None:
        """Make the policy the reference, where that is due after so many steps of the stage."""
        if self.stage.reference_every and step % self.stage.reference_every == 0:
            self.policy.renew_reference()

    def spent(self, samples: Sequence[Sample], drawn: Sequence[int]) -> dict[str, float]:
        """Count the tokens of a step; gives how many it were in the whole stage by now."""
        counts = {}
        self._drawn += sum(drawn)
        if self.stage.algorithm.sampler.writes:
            counts["tokens/drawn"] = float(self._drawn)
        if self.stage.algorithm.trains != "nothing":
            self._tokens += sum(int(sample.mask.sum()) for sample in samples)
            counts["tokens/learned"] = float(self._tokens)
        return counts

    def look(self, metrics: Mapping[str, float]) -> None:
        """Count a step towards the stage's early end, or start counting again."""
        until = self.stage.until
        self._met = self._met + 1 if until and until.met(metrics) else 0

    @property
    def ended(self) -> bool:
        """Whether the stage ends before its steps are done."""
        return self.stage.until is not None and self._met >= self.stage.until.steps

    def looked(self, step: int, value: float) -> None:
        """Count a measurement on the way. It draws nothing: the state between two steps is otherwise what it was."""
        self.looks[step] = value
        self.state["looks"] = dict(self.looks)

    def mark(self) -> None:
        """Remember the state between two steps: a step cut short has drawn from the stream, but must not count."""
        self.state = {
            "stream": self.stream.state(),
            "mix": self.mix.state() if self.mix else None,
            "memory": dict(self.memory),
            "met": self._met,
            "tokens": self._tokens,
            "drawn": self._drawn,
            "looks": dict(self.looks),
            "rates": self.rates.state(),
            "random": random_state(self.device),
            "ahead": self.sampler.state() if isinstance(self.sampler, Ahead) else [],
        }
        self._held = self.past.held if self.past else ()

    def saved(self) -> dict[str, Any]:
        """The state as plain data; what is remembered of earlier steps is written out only here."""
        return self.state | {"past": remembered_rows(self._held)}

    def restore(self, path: Path, state: Mapping[str, Any]) -> None:
        self.policy.load(path)
        self.engine.sync(self.policy)
        self.rates.restore(state["rates"])
        self.stream.restore(state["stream"])
        if self.past is not None:
            self.past.restore(state["past"], self.stage.tasks)
        if self.mix:
            self.mix.restore(state["mix"])
        if isinstance(self.sampler, Ahead):
            self.sampler.restore(state["ahead"])
        self.memory = dict(state["memory"])
        self._met, self._tokens, self._drawn = state["met"], state["tokens"], state["drawn"]
        self.looks = looks_of(state)
        self.reward_check.taught = True  # steps made before have the benefit of the doubt
        restore_random_state(state["random"], self.device)
        self.mark()


def _by_its_sampler(sample: Sample) -> Sample:
    """A sample of older weights is held against those that drew it, so that clipping bounds how far they have moved."""
    return replace(sample, old_logp=sample.logp) if sample.age else sample


def stage_seed(run: Run, stage: Stage, chance: Chance) -> int:
    """A stage's own seed of one of the things that are random in it."""
    return int(digest([seed_of(run, chance), stage.name])[:15], 16)


def learned_from(stage: Stage, folder: Path) -> tuple[Stage, Tasks]:
    """The stage with the tasks it learns from, and the tasks held out of them."""
    tasks = stage.tasks
    if stage.collected is not None:
        tasks = load_collected(stage.collected, tasks, folder)
    kept, held_out = split(tasks, stage.held_out)
    return replace(stage, tasks=kept), held_out


def check_lengths(stage: Stage, chat: Chat, context: int) -> None:
    """Refuse tasks that the model cannot see whole, before a step is spent. Raises ValueError naming the first ones."""
    sampler, long = stage.algorithm.sampler, []
    thinking = stage.algorithm.thinking
    room = thinking.length + MARKS if thinking else 0
    for task in stage.tasks:
        learned = task.recorded[: sampler.demonstrations] if sampler.writes else task.recorded
        rows = [chat.of(task).recorded(task.prompt, answer) for answer in learned]
        lengths = [len(turns[-1].prompt) + len(turns[-1].completion) for turns in rows]
        if sampler.writes or not rows:
            lengths.append(len(chat.of(task).prompt(task.prompt)) + sampler.last_fork + sampler.writes)
        if max(lengths) + room > context:
            long.append(f"{task.id} ({max(lengths)} tokens)")
    if long:
        further = f" and {len(long) - 5} more" if len(long) > 5 else ""
        tree = f" with a tree that branches {sampler.last_fork} tokens behind them" if sampler.last_fork else ""
        raise ValueError(
            f"{len(long)} of {len(stage.tasks)} tasks of stage {stage.name} do not fit the model's context of "
            f"{context} tokens{tree}: {', '.join(long[:5])}{further}. "
            f"Shorten or remove these rows, {'take shorter segments, ' * bool(tree)}or choose a model with more room."
        )
