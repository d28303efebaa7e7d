"""``togi scale``: which processes a recipe has, what each holds, how long steps would take. It starts none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from togi.engines.engine_choice import EngineChoice
from togi.evidence.before.cost_estimate import rates
from togi.evidence.before.doctor import run_size
from togi.harmless_text import visible
from togi.launch.open_launcher import LOCAL
from togi.models.arithmetic_rate import probe_bf16
from togi.run import BASE, Run, Scale, Stage, open_model
from togi.run_folder.manifest import choose_dtype
from togi.sandbox.tiers.choose_tier import cores
from togi.scale import forecast
from togi.scale.forecast import Case, Rung
from togi.scale.measured_rates import Measured, measured_rates, places_of
from togi.scale.parts import Part, cached, parts_of, plain as plain_part
from togi.scale.simulation import Layout
from togi.scale.started import threads
from togi.tokenization import Chat

ARITHMETIC = "by this machine's arithmetic, with answers as long as recorded ones and as long as allowed"
UNKNOWN = (
    "Without a run nothing is known of small batches, of scores and of publishing weights: train a few steps, and give "
    "their folder with --from."
)
LOOKED_AT = 50  # tasks whose prompts are measured


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is to be looked at. ``engines`` and ``staleness`` are each tried with each; None takes the recipe's own.
    ``source`` is a run whose rates are taken, ``places`` how many processes compute at full speed at once, where they
    share a machine (None: found out), and ``hourly`` what an hour of a device costs."""

    on: str = LOCAL
    stage: str = ""
    source: Path | None = None
    engines: Sequence[int] | None = None
    staleness: Sequence[int] | None = None
    places: int | None = None
    hourly: float | None = None


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Every process of the run, and what a step of ``stage`` would take in each layout."""

    on: str
    parts: tuple[Part, ...]
    stage: str
    steps: int
    rungs: tuple[Rung, ...]
    basis: str
    notes: tuple[str, ...]
    hourly: float | None

    def render(self, console: Console) -> None:
        table = Table("process", "does", "where", "needs", "memory", box=None, pad_edge=False)
        for part in self.parts:
            where = "this process" if part.here else "this machine" if self.on == LOCAL else f"a machine of {self.on}"
            table.add_row(part.name, part.does, where, str(part.needs), f"{part.memory / 1e9:.1f} GB")
        console.print(table)
        console.print(Text(visible(f"\nOne of {self.steps} steps of stage {self.stage}, {self.basis}:")))
        console.print(self._ladder())
        for note in self.notes:
            console.print(Text(visible(note), style="dim"), soft_wrap=True)

    def plain(self) -> Mapping[str, Any]:
        return {
            "on": self.on,
            "parts": [plain_part(part) for part in self.parts],
            "stage": self.stage,
            "steps": self.steps,
            "basis": self.basis,
            "ladder": [forecast.plain(rung, self.hourly) for rung in self.rungs],
            "notes": list(self.notes),
        }

    def _ladder(self) -> Table:
        money = [] if self.hourly is None else ["price of all steps"]
        head = ("engines", "staleness", "seconds", "idle: engines", "idle: learner", "weights behind", *money)
        table = Table(*head, box=None, pad_edge=False)
        for rung in self.rungs:
            ages = rung.high.ages
            behind = sum(age * count for age, count in ages.items()) / sum(ages.values())
            price = [] if self.hourly is None else rung.price(self.hourly)
            table.add_row(
                str(rung.layout.engines),
                str(rung.layout.staleness),
                _range(rung.low.step_seconds, rung.high.step_seconds, ".3g"),
                _range(rung.low.engines_idle, rung.high.engines_idle, ".0%") if rung.layout.engines else "",
                _range(rung.low.learner_idle, rung.high.learner_idle, ".0%"),
                f"{behind:.2g}",
                *([_range(price[0] * self.steps, price[1] * self.steps, ".2f")] if price else []),
            )
        return table


def look(run: Run, asked: Asked) -> Outlook:
    """Look at a run. Raises ValueError for a stage that is not there or samples nothing, for a run whose rates cannot
    be taken, and for a model that cannot be loaded."""
    stage = _stage(run, asked.stage)
    measured = None if asked.source is None else measured_rates(asked.source, stage.name)
    compute = choose_dtype(run)
    # Nothing is started to look: the model is opened as if it were sampled here.
    loaded = open_model(replace(run, engine=EngineChoice(), scale=Scale()), BASE, compute)
    chat = Chat(loaded.tokenizer, loaded.eos_ids)
    cards = loaded.model.device.type != "cpu"
    places = asked.places or _places(asked, cards)
    cases: Sequence[Case]
    if measured is None:
        probe = probe_bf16(loaded.model.device)
        speed = rates(loaded.parameters, probe.bfloat16 if compute == torch.bfloat16 else probe.float32)
        cases = forecast.by_arithmetic(run, stage, chat, speed)
    else:
        cases = forecast.by_run(stage, measured)
    prompt = fmean(len(chat.of(task).prompt(task.prompt)) for task in stage.tasks[:LOOKED_AT])
    shape = cached(run, loaded.model.config.get_text_config(), prompt)
    return Outlook(
        on=asked.on,
        parts=tuple(parts_of(run, run_size(run, loaded, compute), shape, cards=cards)),
        stage=stage.name,
        steps=stage.steps,
        rungs=tuple(forecast.climb(cases, _layouts(run, asked, places))),
        basis=ARITHMETIC if measured is None else f"as {asked.source} was",
        notes=tuple(_notes(run, measured, places)),
        hourly=asked.hourly,
    )


def _layouts(run: Run, asked: Asked, places: int | None) -> list[Layout]:
    own = run.scale.engines or int(run.engine.kind != "native")
    engines = (own,) if asked.engines is None else asked.engines
    ahead = (run.scale.staleness,) if asked.staleness is None else asked.staleness
    layouts = forecast.layouts_of(run, engines, ahead, places)
    if not layouts:
        raise ValueError("staleness needs engines beside the learner: ask for --engines 1 or more")
    return layouts


def _notes(run: Run, measured: Measured | None, places: int | None) -> Iterator[str]:
    """What has to be known to read the numbers."""
    if measured is None:
        yield UNKNOWN
    else:
        yield from _doubts(measured)
    if run.engine.server is not None:
        yield f"It samples at {run.engine.server.base_url}, which you run; here that counts as one engine."
    if places is not None:
        yield (
            f"All share one machine, on which {places} of them compute{'s' * (places == 1)} at full speed at once "
            "(--places says another number, and --on ray that each has a device of its own)."
        )


def _stage(run: Run, named: str) -> Stage:
    """The stage that is meant: by its name, or the last one that samples."""
    sampled = {stage.name: stage for stage in run.stages if stage.algorithm.sampler.writes}
    if not sampled:
        raise ValueError("no stage of the recipe samples: what learns from recorded answers has no engines to add")
    if named and named not in sampled:
        raise ValueError(f"no stage {named!r} samples; there is {', '.join(sampled)}")
    return sampled[named or list(sampled)[-1]]


def _places(asked: Asked, cards: bool) -> int | None:
    if asked.on != LOCAL:
        return None
    if asked.source is not None:
        return places_of(asked.source)
    return torch.cuda.device_count() or None if cards else max(1, cores() // threads())


def _doubts(measured: Measured) -> Iterator[str]:
    """How far the simulation can be believed."""
    off = measured.simulated / measured.seconds - 1
    yield (
        f"Of the run's own {measured.steps} steps the simulation says {measured.simulated:.3g} s each; they took "
        f"{measured.seconds:.3g} s ({off:+.0%})."
    )
    if not measured.published:
        yield "The run published no weights to engines, so publishing counts as 0 s."
    if measured.dropped > 0.02:
        yield (
            f"Its sampler did not keep {measured.dropped:.0%} of what was drawn, and only what it kept is simulated: "
            "steps take longer than shown."
        )


def _range(low: float, high: float, form: str) -> str:
    least, most = sorted((low, high))
    return f"{least:{form}}" if f"{least:{form}}" == f"{most:{form}}" else f"{least:{form}} to {most:{form}}"
