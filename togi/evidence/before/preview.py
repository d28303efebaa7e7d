"""``togi preview``: what the model is asked, what answers are paid, what a run will cost. It samples nothing.

Every task's own answer, an empty one and another task's answer are scored by the real reward. Where it reads answers,
an own answer without full marks, or a reward that never differs, is a finding: such a run cannot teach what was meant.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median_low

import torch

from togi.data import Tasks
from togi.engines.open_engine import open_engine
from togi.engines.stop_strings import cut
from togi.envs.open_env import SpeaksFirst, opening
from togi.evidence.before import machine_fitness as machine
from togi.evidence.before.cost_estimate import EVALUATION, Rates, estimate, rates
from togi.evidence.before.doctor import drops_cut, run_size
from togi.evidence.before.grading_time import advice
from togi.evidence.before.preference_advice import pair_findings
from togi.evidence.before.preview_shown import Look, Preview
from togi.evidence.before.recorded_answers import disagreements, recorded_of
from togi.evidence.before.row_answers import Case, cases_of, judge, sight_of
from togi.evidence.findings import Finding, Level
from togi.evidence.redteam.attack_env import env_row
from togi.evidence.redteam.attack_reward import GLANCE, NoAnswer, redteam
from togi.evidence.redteam.card_text import in_a_line
from togi.evidence.redteam.run_rewards import asks, is_blind, place_of
from togi.harmless_text import shortened
from togi.models.arithmetic_rate import probe_bf16
from togi.models.device import find_device
from togi.models.load_model import Loaded
from togi.protocols import Env, Reward
from togi.rewards.algebra import NotTrainedYet
from togi.rewards.printed_output import printed_to
from togi.run import BASE, Run, check_calls, open_model, ready
from togi.run_folder.manifest import choose_dtype
from togi.sandbox.tiers.choose_tier import cores
from togi.tokenization import Chat
from togi.types import Limits, Sampling, Task

SHOWN, CHECKED = 2, 1000
GLANCE_SECONDS = 1.0  # of a grader's call while a reward is attacked at a glance
SLOW = 0.1  # seconds an answer from which on a reward is not attacked here: there are hundreds of attempts
PRINTED = 10  # lines that own rewards printed


def preview(run: Run, loaded: Loaded | None = None, *, checked: int = CHECKED, speed: Rates | None = None) -> Preview:
    """Look at a run. ``loaded`` is its model where it is open already, ``checked`` the tasks of each stage whose
    answers are scored, ``speed`` what the estimate goes by (default: the model's size and a probe of its device).

    Raises:
        ValueError: the model cannot be loaded, or its template refuses the prompts.
    """
    compute = choose_dtype(run)
    loaded = loaded or open_model(run, BASE, compute)
    chat = Chat(loaded.tokenizer, loaded.eos_ids)
    if speed is None:
        probe = probe_bf16(find_device(run.model.device))
        speed = rates(loaded.parameters, probe.bfloat16 if compute == torch.bfloat16 else probe.float32)
    engine = open_engine(loaded, run.engine)
    for stage in run.stages:
        check_calls(stage, chat)

    opened: dict[int, Reward | None] = {}

    def now(reward: Reward | None) -> Reward | None:
        """The reward, if it can be asked before anything is trained; opened once, however many stages it pays."""
        if id(reward) not in opened:
            try:
                opened[id(reward)] = ready(reward, run, engine, chat, compute)
            except NotTrainedYet:
                opened[id(reward)] = None
        return opened[id(reward)]

    at_hand = [now(run.evaluation.reward)] if run.evaluation else []
    at_hand += [now(reward) for stage in run.stages for reward in (stage.gold, stage.reward)]
    measure = next((reward for reward in at_hand if reward is not None), None)
    asked = _asked_of(run, now, measure)
    looks: list[Look] = []
    attacked: list[Reward] = []  # a reward of several stages is attacked once
    for each in asked:
        look = _make_look(each, chat, loaded.context, checked)
        written = not isinstance(each.env, SpeaksFirst)
        if written and each.reward is not None and each.reward not in attacked and look.grading < SLOW:
            attacked.append(each.reward)
            look = replace(look, attacked=_attack(each))
        looks.append(look)
    names = [*(stage.name for stage in run.stages), EVALUATION]
    expected = estimate(run, chat, speed, {name: look.grading for name, look in zip(names, looks, strict=False)})
    slowest = max(zip(looks, asked, strict=True), key=lambda pair: pair[0].grading)[1].reward
    return Preview(
        looks=tuple(looks),
        estimate=expected,
        memory=machine.memory_needed(run_size(run, loaded, compute)),
        advice=advice(slowest, expected.grading[0] / max(expected.seconds[0], 1e-9), cores()) if slowest else "",
    )


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a stage and the evaluation have in common. ``measure`` scores recorded answers where there is no reward;
    ``waits`` says that the reward asks a model that the run trains first, ``gold`` that the truth is measured beside
    it, ``drops_cut`` that nothing is learned from an attempt that was cut."""

    title: str
    tasks: Tasks
    reward: Reward | None
    measure: Reward | None
    sampling: Sampling
    env: Callable[[Task], Env]
    limits: Limits
    waits: bool = False
    gold: bool = False
    drops_cut: bool = False


def _asked_of(run: Run, now: Callable[[Reward | None], Reward | None], measure: Reward | None) -> list[Asked]:
    """The stages and the evaluation; ``now`` opens rewards, and ``measure`` is the first that can be asked."""
    asked = [
        Asked(
            title=f"Stage {stage.name}",
            tasks=stage.tasks,
            reward=(reward := now(stage.reward)),
            measure=reward or measure,
            waits=stage.reward is not None and reward is None,
            gold=stage.gold is not None,
            drops_cut=drops_cut(stage),
            sampling=stage.sampling,
            env=stage.env,
            limits=stage.limits,
        )
        for stage in run.stages
    ]
    if run.evaluation is not None:
        one = run.evaluation
        paid = now(one.reward)
        asked.append(
            Asked(
                title="Evaluation",
                tasks=one.tasks,
                reward=paid,
                measure=paid,
                sampling=one.sampling,
                env=one.env,
                limits=one.limits,
            )
        )
    return asked


def _attack(asked: Asked) -> str:
    """The worst payouts of a reward in a line; nothing for one that asks a model, which would take too long, for a
    blind one, which pays for wrong answers by its nature, and where nobody says what is right."""
    if asked.reward is None or asks(asked.reward) or is_blind(asked.reward):
        return ""
    try:
        return in_a_line(redteam(asked.reward, asked.tasks, effort=GLANCE, seconds=GLANCE_SECONDS))
    except NoAnswer:
        return ""


def _make_look(asked: Asked, chat: Chat, context: int, checked: int) -> Look:
    if isinstance(asked.env, SpeaksFirst):
        return _look_at_env(asked, asked.env, chat, context)
    some = asked.tasks[:checked]
    printed: list[str] = []
    with printed_to(lambda name, text: printed.extend(f"{name}: {line}" for line in text.splitlines()[:PRINTED])):
        cases = cases_of(some, asked.reward, chat)
    findings = _lengths(some, asked, cases, chat, context)
    if asked.reward is not None:
        findings += judge(cases, sight_of(some, asked.reward, chat, asks=asks(asked.reward)), measured=asked.gold)
    if asked.waits:
        title = "the reward asks a model that this run trains first, so no answer could be scored yet"
        findings.append(Finding(level="warn", title=title))
    recorded = recorded_of(some if asked.measure and not asks(asked.measure) else some[:SHOWN], asked.measure, chat)
    findings += disagreements(recorded)
    findings += [Finding(level="warn", title=note) for note in asked.tasks.notes()]
    if any(len(task.worth) > 1 for task in some):
        findings += pair_findings(asked.tasks)
    return Look(
        title=asked.title,
        tasks=len(asked.tasks),
        prompts=tuple(chat.show(chat.of(task).prompt(task.prompt)) for task in some[:SHOWN]),
        recorded=tuple(recorded[:SHOWN]),
        cases=cases,
        findings=tuple(findings),
        printed=tuple(line for line in printed if line.strip())[:PRINTED],
        grading=median_low([case.seconds / len(case.attempts) for case in cases]) if cases else 0.0,
    )


def _look_at_env(asked: Asked, env: SpeaksFirst, chat: Chat, context: int) -> Look:
    """What an environment asks first, and what honest attempts earn in it."""
    prompts, findings = list[str](), list[Finding]()
    for task in asked.tasks[:SHOWN]:
        try:
            equipped, told = opening(env, task)
            ids = chat.of(equipped).prompt(told)
        except Exception as problem:
            title = f"the environment fails at the start of task {shortened(task.id, 60)}"
            findings.append(Finding(level="fail", title=title, detail=f"{type(problem).__name__}: {problem}"))
            continue
        prompts.append(chat.show(ids))
        if len(ids) >= context:
            title = f"the first messages of task {shortened(task.id, 60)} have {len(ids)} tokens, the context {context}"
            findings.append(Finding(level="fail", title=title, advice="ask less, or choose a longer context"))
    if prompts:
        findings.append(_honest_pay(asked))
    return Look(
        title=asked.title,
        tasks=len(asked.tasks),
        prompts=tuple(prompts),
        recorded=((),) * len(prompts),
        cases=(),
        findings=tuple(findings),
    )


def _honest_pay(asked: Asked) -> Finding:
    """What an attempt earns that the class or the row shows, or the row's answer, beside silence."""
    place = place_of(asked.env, asked.reward, asked.limits)
    if place is None:
        title = "an environment answers the model here, so no written answer is scored"
        return Finding(level="ok", title=title, advice="togi doctor plays a few attempts")
    task, *others = asked.tasks[:SHOWN]
    row = env_row(place, task, others[0] if others else task)
    if row.full is None:
        title = "no attempt is known that earns more than saying nothing: neither the row's answer nor what it records"
        advice = "name one in the class, as honest = [messages]; togi doctor plays some"
        return Finding(level="ok", title=title, advice=advice)
    turns = len(row.known.honest)
    took = f"{turns} turn{'s' * (turns > 1)}"
    title = f"an honest attempt at row 1 earns {row.full:g} in {took}, and one that says nothing {row.nothing:g}"
    return Finding(level="ok", title=title)


def _lengths(tasks: Sequence[Task], asked: Asked, cases: Sequence[Case], chat: Chat, context: int) -> list[Finding]:
    """Whether prompts fit the context and answers fit ``max_tokens``."""
    sampling = asked.sampling if asked.reward else None
    lengths = {task.id: len(chat.of(task).prompt(task.prompt)) for task in tasks}
    longest = max(lengths, key=lambda name: lengths[name])
    found = []
    if lengths[longest] >= context:
        title = f"the prompt of task {shortened(longest, 60)} has {lengths[longest]} tokens, the context {context}"
        advice = "shorten it, leave it out, or choose a model with a longer context"
        found.append(Finding(level="fail", title=title, advice=advice))
    elif sampling is not None and lengths[longest] + sampling.max_tokens > context:
        title = f"the prompt of task {shortened(longest, 60)} leaves {context - lengths[longest]} tokens to answer in"
        found.append(Finding(level="warn", title=title, advice="lower max_tokens, or shorten the prompt"))
    if sampling is not None:
        long = [case for case in cases if case.tokens > sampling.max_tokens]
        if long:
            most = max(case.tokens for case in long)
            kind = "recorded" if all(case.recorded for case in long) else "right"
            title = f"{len(long)} of {len(cases)} {kind} answers are longer than max_tokens = {sampling.max_tokens}"
            detail = f"the first is task {shortened(long[0].task.id, 60)}; the longest has {most} tokens"
            level: Level = "warn"
            if asked.drops_cut and len(long) == len(cases):
                level, title = "fail", f"{title}, and drop_truncated learns nothing from attempts that are cut"
            found.append(Finding(level=level, title=title, detail=detail, advice="raise max_tokens"))
        found += _stopped(cases, sampling.stop)
    return found


def _stopped(cases: Sequence[Case], stop: Sequence[str]) -> list[Finding]:
    """Whether a stop string cuts right answers."""
    golds = [(case, gold.text) for case in cases if (gold := case.get("gold"))]
    left = [(case, cut(text, stop), text) for case, text in golds if cut(text, stop).strip() != text.strip()]
    if not left:
        return []
    case, kept, text = left[0]
    title = f"stop = {list(stop)} cuts {len(left)} of {len(golds)} right answers"
    detail = f"task {shortened(case.task.id, 60)}: of {shortened(text, 120)!r} it leaves {shortened(kept, 120)!r}"
    advice = "leave out the text that stands within an answer; a closing tag such as </answer> is kept"
    return [Finding(level="warn", title=title, detail=detail, advice=advice)]
