"""What a preview found, as nouns, and how a terminal shows it. It looks at nothing itself."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from togi.evidence.before.cost_estimate import Estimate
from togi.evidence.before.doctor import MARKS
from togi.evidence.before.recorded_answers import Written
from togi.evidence.before.row_answers import Case
from togi.evidence.findings import Finding
from togi.harmless_text import shortened, visible

LONGEST = 1500  # characters of a prompt that are shown
LONGEST_LINE = 200  # of a line that own rewards printed


@dataclass(frozen=True, kw_only=True)
class Look:
    """One stage, or the evaluation. ``cases`` hold the scored answers, the first are shown; empty for a
    stage without a reward. ``prompts`` are the first prompts as the model sees them, ``recorded`` the answers that were
    written to each of them. ``attacked`` says in a line what the reward pays for besides right answers; empty where
    that was not asked, or would take long. ``printed`` is what own rewards printed, ``grading`` the seconds that the
    score of one answer took."""

    title: str
    tasks: int
    prompts: tuple[str, ...]
    recorded: tuple[tuple[Written, ...], ...]
    cases: tuple[Case, ...]
    findings: tuple[Finding, ...]
    attacked: str = ""
    printed: tuple[str, ...] = ()
    grading: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Preview:
    """Everything a user should see before spending anything. ``memory`` is in bytes, without the program itself,
    ``advice`` what to do where graders take much of the time."""

    looks: tuple[Look, ...]
    estimate: Estimate
    memory: float
    advice: str = ""

    @property
    def findings(self) -> list[Finding]:
        """What keeps training from working."""
        return [finding for look in self.looks for finding in look.findings if finding.level == "fail"]

    def render(self, console: Console) -> None:
        shown: set[str] = set()
        for look in self.looks:
            console.print(_look(look, shown))
            shown.update(look.prompts)
        time = _range(*(_duration(seconds) for seconds in self.estimate.seconds))
        sampled = _range(*(f"{tokens:,}" for tokens in self.estimate.sampled))
        console.print(Text("Estimate", style="bold"))
        lines = [f"{self.estimate.learned:,} tokens to learn from at most; {sampled} to sample"]
        lines += [f"about {time} on this machine, {self.memory / 1e9 + 1:.1f} GB memory"]
        if self.estimate.grading[1] >= 1.0:
            lines.append(f"of that {_range(*map(_duration, self.estimate.grading))} to grade")
        lines += [self.advice] if self.advice else []
        for line in lines:
            console.print(Text(f"  {line}"))
        bad = len(self.findings)
        verdict = (
            f"This run cannot work: {bad} finding{'s' * (bad > 1)} marked ✗." if bad else "Nothing stands in the way."
        )
        console.print(Text(verdict, style="bold red" if bad else "bold"))


def _look(look: Look, shown: Set[str]) -> Padding:
    rows: list[Panel | Table | Text | Padding] = []
    for index, prompt in enumerate(look.prompts):
        if prompt in shown:
            rows.append(Text(f"prompt {index + 1} is the same as above", style="dim"))
        else:
            rows.append(Panel(Text(shortened(prompt, LONGEST)), title=f"prompt {index + 1}, as the model sees it"))
        if not look.cases:
            rows += [_written(each) for each in look.recorded[index]]
        elif index < len(look.cases):
            rows.append(_scores(look.cases[index]))
    if look.printed:
        rows.append(Text("own rewards printed, at first:", style="dim"))
        rows += [Padding(Text(shortened(line, LONGEST_LINE), style="dim"), (0, 0, 0, 2)) for line in look.printed]
    if look.attacked:
        words = f"red team, at a glance: {look.attacked} (togi redteam shows more)"
        rows.append(Text(visible(words), style="dim" if "nothing pays" in words else "yellow"))
    for finding in look.findings:
        mark, style = MARKS[finding.level]
        rows.append(Text(f"{mark} ", style=style).append(visible(finding.title), style="default not bold"))
        for text, color in ((finding.detail, "dim"), (finding.advice and f"→ {finding.advice}", style)):
            if text:
                rows.append(Padding(Text(visible(text), style=color), (0, 0, 0, 2)))
    head = Text(f"{look.title}: {look.tasks:,} tasks", style="bold")
    return Padding(Group(head, *rows), (0, 0, 1, 0))


def _written(one: Written) -> Panel:
    paid = ""
    if one.score is not None and one.score.status == "ok":
        paid = f", paid {one.score.value:g}"
    elif one.score is not None and one.score.status != "unparseable":  # then the row has no answer to compare with
        paid = f", no score: {one.score.status}, {shortened(one.score.note, 80)}"
    return Panel(Text(shortened(one.text, LONGEST)), title=Text(f"{one.kind}{paid}"))


def _scores(case: Case) -> Table:
    reads = any(attempt.read is not None for attempt in case.attempts)
    table = Table("answer", "text", *(["read as"] if reads else []), "reward", "parts", box=None, pad_edge=False)
    for attempt in case.attempts:
        parts = ", ".join(f"{name} {value:g}" for name, value in attempt.score.parts.items())
        read = [shortened(attempt.read or "", 40)] if reads else []
        value = f"{attempt.score.value:g}" if attempt.score.status == "ok" else attempt.score.status
        table.add_row(*map(Text, (attempt.kind, shortened(attempt.text, 200), *read, value, parts)))
        if attempt.score.note:
            table.add_row("", Text(f"said: {shortened(attempt.score.note, 400)}", style="dim"))
    return table


def _range(least: str, most: str) -> str:
    return least if least == most else f"{least} to {most}"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
