"""``togi doctor``: is the machine fit, and can the base model do the task at all? It trains nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from togi.algorithms.policy_gradient.base import PolicyGradient
from togi.data import stream
from togi.engines.open_engine import open_engine
from togi.envs import OneTurn
from togi.evidence.before import machine_fitness as machine
from togi.evidence.before.cold_start import cold_start
from togi.evidence.before.disk_estimate import SAVED, disk_needed
from togi.evidence.before.played_episodes import episode_findings
from togi.evidence.before.preference_doctor import judge_findings, pairs_findings
from togi.evidence.before.same_answers import ADVICE, other_answers
from togi.evidence.findings import Finding, Level, keep as keep_findings
from togi.evidence.redteam.attack_reward import SHORT
from togi.evidence.redteam.card_text import findings as card_findings
from togi.evidence.redteam.redteam_command import keep as keep_cards
from togi.evidence.redteam.reward_card import Card
from togi.evidence.redteam.run_rewards import attack_run, is_blind
from togi.harmless_text import shortened, visible
from togi.models.arithmetic_rate import probe_bf16
from togi.models.device import find_device, memory_of
from togi.models.four_bits import packed_weights
from togi.models.load_model import Loaded
from togi.models.packing import PackedModel
from togi.rewards.algebra import NotTrainedYet
from togi.run import BASE, Run, Stage, open_model, open_teacher, play_of, ready, seed_of
from togi.run_folder.manifest import choose_dtype
from togi.run_folder.run_description import asked_tier
from togi.samplers import Groups
from togi.samplers.group import ask
from togi.sandbox.jails_in_use import standing
from togi.sandbox.tiers.choose_tier import cores
from togi.tokenization import Chat
from togi.types import Group, Task

TASKS, ATTEMPTS = 32, 8
MARKS: dict[Level, tuple[str, str]] = {"ok": ("✓", "green"), "warn": ("!", "yellow"), "fail": ("✗", "bold red")}


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """Every check, by section, in the order they were made. ``cards`` are the attacks on the run's rewards."""

    sections: tuple[tuple[str, tuple[Finding, ...]], ...]
    cards: tuple[Card, ...] = ()

    @property
    def findings(self) -> list[Finding]:
        """What keeps training from working."""
        return [finding for _, group in self.sections for finding in group if finding.level == "fail"]

    def render(self, console: Console) -> None:
        for title, group in self.sections:
            console.print(Text(title, style="bold"))
            grid = Table.grid(padding=(0, 1, 0, 1))
            for finding in group:
                mark, style = MARKS[finding.level]
                words = Text(visible(finding.title))
                if finding.detail:
                    words.append(f"\n{visible(finding.detail)}", style="dim")
                if finding.advice:
                    words.append(f"\n→ {visible(finding.advice)}", style=style)
                grid.add_row(Text(mark, style=style), words)
            console.print(grid)
        console.print(Text(self.verdict, style="bold red" if self.findings else "bold"))

    @property
    def verdict(self) -> str:
        """The last word, for a reader who reads nothing else."""
        bad = len(self.findings)
        doubtful = sum(finding.level == "warn" for _, group in self.sections for finding in group)
        if bad:
            return f"Training cannot work like this: {bad} finding{'s' if bad > 1 else ''} marked ✗."
        if doubtful:
            points = f"{doubtful} point{'s deserve' if doubtful > 1 else ' deserves'}"
            return f"Training can start. {points} a look, marked !."
        return "Training can start."

    def keep(self, folder: Path) -> None:
        """Write the findings, and the cards of the attacks, to a run's folder for the report."""
        keep_findings(folder, self.verdict, self.sections)
        keep_cards(folder, self.cards)


def doctor(
    run: Run,
    *,
    tasks: int = TASKS,
    attempts: int = ATTEMPTS,
    progress: Callable[[int, int], None] | None = None,
) -> Diagnosis:
    """Check the machine, load the model, and let it attempt ``tasks`` training tasks of the first stage that samples;
    attack its rewards and the judges of that stage, and compare recorded pairs with what the model itself would write.

    ``progress`` is told of finished attempts. ``ValueError`` when the model cannot be loaded or the reward is wrong.
    """
    compute = choose_dtype(run)
    loaded = open_model(run, BASE, compute)
    device = find_device(run.model.device)
    fitness = [machine.software(device)]
    crowding = machine.threads(torch.get_num_threads(), cores())
    fitness += [crowding] if crowding else []
    fitness.append(machine.arithmetic(probe_bf16(device), compute))
    size = run_size(run, loaded, compute)
    fitness.append(machine.memory(machine.memory_needed(size), memory_of(device), device))
    asked = asked_tier(run)
    fitness.append(machine.jail(standing(asked), asked))
    fitness.append(machine.disk(disk_needed(run, SAVED * size.trained), machine.free_disk(run.folder), run.folder))
    chat = Chat(loaded.tokenizer, loaded.eos_ids)
    engine = open_engine(loaded, run.engine)
    number, reward = None, None
    for index, each in enumerate(run.stages):
        try:
            reward = ready(each.reward, run, engine, chat, compute)
        except NotTrainedYet:
            continue
        if reward is not None:
            number = index
            break
    stage = run.stages[number or 0]
    drawn = list(islice(stream(stage.tasks, seed_of(run, "order")), min(tasks, len(stage.tasks))))
    sections = [("Machine", tuple(fitness)), ("Model", tuple(model_findings(loaded, chat, stage, drawn)))]
    cards = tuple(attack_run(run, SHORT, models=False))
    sections += [(f"Red team against the reward of {card.name}", tuple(card_findings(card))) for card in cards]
    sections.append(("Rewards without an answer", tuple(blind_findings(run))))
    if number is not None:
        play = replace(play_of(stage, engine, chat, reward, seed_of(run, "sampling")), progress=progress)
        before = run.stages[number - 1].name if number else None
        sections += _played(stage, play(ask(drawn, attempts)), before)
        sections.append((f"Judges of stage {stage.name}", tuple(judge_findings(reward, drawn))))
    for each in run.stages:
        if not each.algorithm.sampler.writes and each.collected is None and run.engine.cluster is None:
            found = pairs_findings(each.tasks, PackedModel(loaded.model), engine, chat)
            sections.append((f"Pairs of stage {each.name}", tuple(found)))
    sections = [section for section in sections if section[1]]
    return Diagnosis(sections=tuple(sections), cards=cards)


def _played(stage: Stage, groups: Sequence[Group], before: str | None) -> list[tuple[str, tuple[Finding, ...]]]:
    """What a few attempts show of a stage, which comes after the one named ``before``."""
    sampler = stage.algorithm.sampler
    start = cold_start(
        groups,
        stage.sampling,
        taught_before=before,
        alone=isinstance(sampler, Groups) and sampler.n == 1,
        drops_cut=drops_cut(stage),
    )
    episodes = episode_findings(groups) if stage.env is not OneTurn else []
    if what := other_answers(stage.env, groups):
        title = f"played again with the same messages, the environment changes {what}"
        episodes.append(Finding(level="warn", title=title, advice=ADVICE))
    return [(f"Episodes of stage {stage.name}", tuple(episodes)), (f"Cold start of stage {stage.name}", tuple(start))]


def blind_findings(run: Run) -> list[Finding]:
    """Stages whose reward cannot tell right from wrong, and what they lack to be watched and to end."""
    found = []
    for stage in run.stages:
        if stage.reward is None or not is_blind(stage.reward):
            continue
        lacks = [] if stage.until else ["until, that ends it before agreement on wrong answers is all there is to win"]
        lacks += [] if stage.gold else ["[gold], where answers are known, to see whether the truth follows"]
        found.append(
            Finding(
                level="warn" if lacks else "ok",
                title=f"the reward of stage {stage.name} looks at no answer: it pays for being sure, right or wrong",
                advice=f"give it {' and '.join(lacks)}" if lacks else "",
            )
        )
    return found


def drops_cut(stage: Stage) -> bool:
    """Whether the stage learns nothing from attempts that were cut at ``max_tokens``."""
    return isinstance(stage.algorithm, PolicyGradient) and stage.algorithm.drop_truncated


def run_size(run: Run, loaded: Loaded, compute: torch.dtype) -> machine.Size:
    """What the run's largest stage will hold in this process."""
    config = loaded.model.config.get_text_config()
    in_four_bits, packed = packed_weights(loaded.model)
    here = run.engine.cluster is None
    return machine.Size(
        parameters=loaded.parameters - in_four_bits if here else 0,
        packed=packed,
        trained=sum(p.numel() for p in loaded.model.parameters() if p.requires_grad),
        layers=int(config.num_hidden_layers),
        hidden=int(config.hidden_size),
        tokens=max(stage.optimiser.tokens_per_microbatch for stage in run.stages) if here else 0,
        bfloat16=compute == torch.bfloat16,
        reference=run.model.lora is None and any("ref_logp" in stage.algorithm.needs for stage in run.stages),
        teacher=largest_teacher(run, loaded.parameters, compute),
    )


def largest_teacher(run: Run, own: int, compute: torch.dtype) -> int:
    """Parameters of the largest teacher of any stage; a policy of the run has as many as its model, ``own``."""
    stages = {stage.name for stage in run.stages}
    taught = [stage for stage in run.stages if stage.teacher is not None]
    sizes = [own if stage.teacher in stages else open_teacher(run, stage, compute).parameters for stage in taught]
    return max(sizes, default=0)


def model_findings(loaded: Loaded, chat: Chat, stage: Stage, tasks: list[Task]) -> list[Finding]:
    """Source, template, end tokens, and whether prompts and answers fit the context."""
    ends = ", ".join(repr(loaded.tokenizer.decode([token])) for token in sorted(loaded.eos_ids))
    found = [
        Finding(
            level="ok",
            title=f"{loaded.source}: {loaded.parameters / 1e6:,.0f} million parameters",
            detail=f"weights {loaded.digest[:16]}; answers end with {ends or 'nothing'}",
        )
    ]
    if not loaded.eos_ids:
        advice = "name its end token in generation_config.json, or give stop strings"
        found.append(Finding(level="warn", title="the model has no end token", advice=advice))
    if not loaded.tokenizer.chat_template:
        advice = "no need to act for a base model; for a chat model use a copy with its template"
        found.append(
            Finding(level="warn", title="the tokenizer has no chat template: a plain one is used", advice=advice)
        )
    lengths = {task.id: len(chat.of(task).prompt(task.prompt)) for task in tasks}
    if not lengths:
        return found
    longest = max(lengths, key=lambda name: lengths[name])
    need, room = lengths[longest] + stage.sampling.max_tokens, loaded.context
    title = f"prompts take up to {lengths[longest]} tokens, answers up to {stage.sampling.max_tokens}, of {room:,}"
    if lengths[longest] >= room:
        advice = f"shorten the prompt of task {shortened(longest, 60)}, or choose a model with a longer context"
        found.append(Finding(level="fail", title=title, advice=advice))
    elif need > room:
        found.append(Finding(level="warn", title=title, advice="lower max_tokens, or shorten the prompts"))
    else:
        found.append(Finding(level="ok", title=title))
    return found
