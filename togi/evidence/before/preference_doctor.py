"""What a doctor looks at before training on preferences: are pairs the model's own, and is a judge fooled?"""

from __future__ import annotations

from collections.abc import Sequence

from togi.evidence.before.pairs_on_policy import likelihood_findings, own_likelihoods
from togi.evidence.findings import Finding
from togi.protocols import Engine, Model, Reward
from togi.rewards.algebra import Composable
from togi.rewards.judge.base import Opened
from togi.rewards.judge.fool_judge import Family, attack
from togi.tokenization import Chat
from togi.types import Task

ATTACKED = 2  # tasks at which a judge is attacked: every attack is tried at each
PAIRS = 16  # pairs whose likelihood is measured


def pairs_findings(tasks: Sequence[Task], model: Model, engine: Engine, chat: Chat) -> list[Finding]:
    """Whether recorded pairs are answers that this model might give; nothing where there are no pairs."""
    if not any(len(set(task.worth)) > 1 for task in tasks):
        return []
    return likelihood_findings(own_likelihoods(tasks, model, engine, chat, pairs=PAIRS))


def judge_findings(reward: Reward | None, tasks: Sequence[Task]) -> list[Finding]:
    """How often each judge within an opened reward finds an answer that says nothing as good as the right one."""
    judges = [leaf for leaf in reward.leaves if isinstance(leaf, Opened)] if isinstance(reward, Composable) else []
    known = [task for task in tasks if task.recorded or (isinstance(task.answer, str) and task.answer.strip())]
    if judges and not known:
        title = "no task has a written answer, so nobody can say whether the judge is fooled"
        return [Finding(level="warn", title=title, advice="give some tasks an answer or a completion")]
    found = []
    for judge in judges:
        report = attack(judge, known[:ATTACKED], name=judge.name)
        found += [_finding(judge.name, family) for family in report.families]
    return found


def _finding(judge: str, family: Family) -> Finding:
    if family.rate is None:
        return Finding(level="warn", title=f"{judge}: no verdict in {family.unscored} attacks of kind {family.name!r}")
    title = f"{judge}: fooled by {family.fooled} of {family.tried} attacks of kind {family.name!r}"
    detail = f"95% interval {family.rate.low:.0%} to {family.rate.high:.0%}"
    if not family.alarms:
        return Finding(level="ok", title=title, detail=detail)
    advice = "gate it by a verifier, or take a stronger judge; a policy finds such answers by itself"
    return Finding(level="warn", title=title, detail=f"{detail}; most often by {family.worst[:60]!r}", advice=advice)
