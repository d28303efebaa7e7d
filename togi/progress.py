"""How a run goes, live: stage, step, phase, rewards as a sparkline, tokens a second, time left.

On a terminal it is one display that changes in place; elsewhere it is plain lines, one a step. It reads the metrics a
run reports and knows nothing of how they came about.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich import live
from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

BARS = "▁▂▃▄▅▆▇█"
WIDTH = 40
PHASES = {
    "sample": "sampling",
    "grade": "grading",
    "annotate": "annotating",
    "gold": "measuring",
    "held out": "measuring on held-out tasks",
    "credit": "crediting",
    "learn": "learning",
    "keep": "keeping",
    "save": "saving",
}


@dataclass
class Shown:
    """What is known of the stage at work."""

    stage: str = ""
    steps: int = 0
    step: int = 0
    phase: str = "starting"
    done: int = 0
    total: int = 0
    attempts: int = 0
    rewards: list[float] = field(default_factory=list)
    metrics: Mapping[str, float] = field(default_factory=dict)
    tokens_per_second: float | None = None
    started: float = 0.0
    first: int = 0


class Live:
    """A ``togi.run.Watch`` for people; use it as a context manager around ``train``."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._now = Shown(started=time.monotonic())
        self._display = live.Live(
            console=self.console, get_renderable=self._render, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_stage()
        if self.console.is_terminal:
            self._display.stop()

    def stage(self, name: str, steps: int, done: int) -> None:
        self._close_stage()
        self._now = Shown(stage=name, steps=steps, step=done, first=done, started=time.monotonic())
        if not self.console.is_terminal:
            self._line(f"stage {name}: {steps} steps" + (f", {done} already done" if done else ""))

    def phase(self, name: str) -> None:
        now = self._now
        now.phase, now.done, now.total = PHASES.get(name, name), 0, 0
        if name not in PHASES:
            self._close_stage()
            if not self.console.is_terminal:
                self._line(name)

    def progress(self, done: int, total: int) -> None:
        self._now.done, self._now.total = done, total
        if done == total:
            self._now.attempts += total

    def step(self, step: int, metrics: Mapping[str, float], seconds: Mapping[str, float]) -> None:
        now = self._now
        now.step, now.metrics, now.tokens_per_second = step, metrics, None
        if "reward" in metrics and now.attempts:
            now.rewards.append(metrics["reward"])
            tokens = metrics["completions/mean_length"] * now.attempts
            now.tokens_per_second = tokens / max(sum(seconds.values()), 1e-9)
        now.attempts = 0
        if not self.console.is_terminal:
            self._line(f"{now.stage} {step}/{now.steps}  {told(now)}  {sum(seconds.values()):.1f} s")

    def note(self, text: str) -> None:
        self.console.print(Text(text, style="yellow"))

    def _line(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)

    def _close_stage(self) -> None:
        """Leave one line behind of a stage that is over or was stopped."""
        now = self._now
        if now.stage and now.step > now.first:
            took = duration(time.monotonic() - now.started)
            mark = "done" if now.step == now.steps else f"stopped after step {now.step}"
            self._line(f"{now.stage}: {mark}, {now.step} of {now.steps} steps, {took}. {told(now)}")
        self._now = Shown(phase=now.phase, started=time.monotonic())

    def _render(self) -> RenderableType:
        now = self._now
        elapsed = time.monotonic() - now.started
        head = Table.grid(padding=(0, 2))
        title = f"{now.stage}  step {now.step}/{now.steps}" if now.stage else now.phase
        share = now.done / now.total if now.total else 0.0
        steps = now.step + min(share, 1.0) * 0.5 if now.stage else share
        bar = ProgressBar(total=now.steps or 1.0, completed=steps, width=WIDTH)
        clock = duration(elapsed)
        if (took := now.step - now.first) > 0:
            clock += f", {duration(elapsed / took * (now.steps - now.step))} left"
        head.add_row(Text(title, style="bold"), bar, clock)
        within = f"{now.phase} {now.done}/{now.total}" if now.total else now.phase
        return Group(head, Text(f"{within}   {told(now)}", style="dim"))


def told(now: Shown) -> str:
    """The numbers a person looks at first, as far as they are known."""
    parts = []
    metrics = now.metrics
    if "reward" in metrics and now.rewards:
        parts.append(f"reward {now.rewards[-1]:.3f} {sparkline(now.rewards)}".rstrip())
        parts.append(f"length {metrics['completions/mean_length']:.0f}")
        if metrics["completions/clipped_ratio"] > 0:
            parts.append(f"{metrics['completions/clipped_ratio']:.0%} cut off")
        if metrics.get("frac_reward_zero_std", 0.0) > 0:
            parts.append(f"{metrics['frac_reward_zero_std']:.0%} of groups without signal")
    elif "loss" in metrics:
        parts.append(f"loss {metrics['loss']:.4f}")
    for prefix, words in (("unscored/", "without a score"), ("own_fault/", "0 by own fault")):
        if lost := {name[len(prefix) :]: share for name, share in metrics.items() if name.startswith(prefix)}:
            parts.append(f"{sum(lost.values()):.0%} {words} ({', '.join(lost)})")
    if dropped := metrics.get("dynamic/dropped"):
        why = [f"{metrics.get(f'dynamic/all_{name}', 0.0):.0%} of all were {name}" for name in ("wrong", "correct")]
        parts.append(f"{dropped:.0f} groups dropped ({', '.join(why)})")
    if now.tokens_per_second is not None:
        parts.append(f"{now.tokens_per_second:,.0f} tokens/s")
    return "  ".join(parts)


def sparkline(values: Sequence[float], width: int = WIDTH) -> str:
    """The last values as bars between their least and their greatest; values that are not finite are left out."""
    shown = [value for value in values[-width:] if value - value == 0.0]
    if len(shown) < 2:
        return ""
    low, high = min(shown), max(shown)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((value - low) * scale)] for value in shown)


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes}:{seconds:02d}"
