"""The loop every algorithm shares: sample, annotate, credit, learn, sync, keep, save, evaluate.

It reads an algorithm's ``sampler``, ``needs``, ``unit``, ``credit``, ``forward`` and ``loss``, and never its name or
its fields. A run resumes exactly: whatever a step changes (weights, optimiser, position in the data, random state) is
in the checkpoint, and all sampling depends on (seed, stage, step, task, attempt) alone. Seconds are logged apart from
metrics, so that metrics of a resumed run equal those of an uninterrupted one to the bit.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from togi.engines.fleet_member import EngineOutage
from togi.engines.open_engine import opened_beside
from togi.evidence.after.evaluation_summary import headline
from togi.evidence.after.play_evaluation import evaluate, read_under_base
from togi.evidence.after.stage_measurements import measure_stage
from togi.evidence.before.disk_estimate import refuse_too_little_room
from togi.evidence.before.same_answers import ADVICE, other_answers
from togi.evidence.during import Alarm, watch_metrics, watched
from togi.evidence.during.reward_log import RewardLog
from togi.evidence.during.stuck_stage import Standstill, stop_if_collapsed
from togi.interrupt import Interrupted
from togi.launch.launcher import Launcher
from togi.launch.local import LocalLauncher
from togi.learners.following import follow, follows
from togi.learners.starting import together
from togi.models.allocator import release_freed_memory
from togi.models.device import called, peak_memory
from togi.models.load_model import Loaded
from togi.models.packing import PackedModel
from togi.models.ranks import ALONE, Ranks
from togi.phase_clock import Clock
from togi.records import (
    attribution_metrics,
    average,
    completion_tokens,
    gold_metrics,
    kl_metrics,
    rollout_metrics,
    rollout_rows,
)
from togi.rewards.judge import JudgeOutage, judge_warnings_to
from togi.rewards.printed_output import printed_to
from togi.rollout import score
from togi.run import BASE, Run, Stage, Watch, open_model, open_play, open_teacher, seed_of, stage_model, start_of
from togi.run_folder.best_weights import best_of, choice_of, in_words, needed, weights_at, weights_kept
from togi.run_folder.checkpoint import checkpoints, save_checkpoint
from togi.run_folder.engine_events import told_of_engines
from togi.run_folder.files import digest, dumps, read_lines, remove, write_folder, write_text
from togi.run_folder.links import LOGS
from togi.run_folder.manifest import read_manifest, record_model, run_dtype
from togi.run_folder.ready_groups import over
from togi.run_folder.resume import Held, Position, held, on_the_way_file, rollout_file, steps_taken, warn
from togi.stage_state import Workshop
from togi.trackers.sending import Senders, sending
from togi.trackers.tracker import Tracked
from togi.types import Group, Score

LOCAL = LocalLauncher()


def train(run: Run, watch: Watch, *, allow_changes: bool = False, launcher: Launcher = LOCAL) -> None:
    """Run every stage, from wherever the run's folder says it is, to the end. ``launcher`` starts the run's other
    processes, where it has any.

    Raises ``Interrupted`` after saving when a signal asks the run to stop, ``FolderError`` when the folder is in use,
    belongs to another recipe, is not as it was written, or its disk is full. A process that torchrun has started beside
    the first of several learners does its part, and writes nothing.
    """
    if follows(run):
        follow(run)
        return
    with held(run, watch, allow_changes=allow_changes) as ours:
        go_on(run, ours, watch, launcher)


def go_on(run: Run, ours: Held, watch: Watch, launcher: Launcher = LOCAL) -> None:
    """``train`` in a folder that is held already."""
    tell = partial(told_of_engines, ours.folder, watch)
    with (
        opened_beside(
            run.engine, run.scale.engines, launcher, run.folder / "engines", tell, kept=run.scale.staleness
        ) as engine,
        sending(run.logging.to, tracked(run, ours), partial(warn, ours.folder, watch)) as senders,
        together(run, ours.folder) as ranks,
    ):
        training = Training(replace(run, engine=engine), ours, watch, senders, ranks)
        with judge_warnings_to(watch.note), printed_to(training.reward_log):
            training.go()


def tracked(run: Run, ours: Held) -> Tracked:
    """The run as trackers know it."""
    begun = read_manifest(ours.folder.path)["started"]
    return Tracked(
        name=run.logging.run_name or run.name,
        project=run.logging.project,
        folder=run.folder,
        identity=digest([str(run.folder.resolve()), begun])[:16],
        done=ours.standing.position.total,
        recipe=run.recipe,
    )


class Training:
    """One process's work on one run folder."""

    def __init__(self, run: Run, ours: Held, watch: Watch, senders: Senders, ranks: Ranks) -> None:
        self.ranks = ranks
        self.run, self.folder, self.watch, self.interrupts = run, ours.folder, watch, ours.interrupts
        self.dtype = run_dtype(read_manifest(ours.folder.path))
        self.senders = senders
        self.checkpoints = ours.folder.path / "checkpoints"
        self.found = ours.standing
        self.position = ours.standing.position
        self.watching = watched("", [])
        self.reward_log = RewardLog(ours.folder.path)
        self._saved = 0
        self._room = False

    def go(self) -> None:
        found = self.found
        if found.checkpoint:
            self.watch.note(f"resuming after step {self.position.total}")
        self._evaluate_what_is_due()
        state = found.work
        while self.position.stage < len(self.run.stages):
            torch.manual_seed(seed_of(self.run, "init"))
            work = self._open_stage(self.position.stage)
            if not self._room and work.policy.saved_bytes:
                refuse_too_little_room(self.run, work.policy.saved_bytes)
                self._room = True
            self._prepare(work)
            work.sample_ahead(self.folder, self._warn)
            if state is not None:
                assert found.checkpoint is not None
                work.restore(found.checkpoint, state)
                state = None
            try:
                self._stage(work)
            finally:
                work.close()
            del work
            self._evaluate_what_is_due()
        self.folder.event("finished", steps=self.position.total)

    def _open_stage(self, number: int) -> Workshop:
        trains = self.run.stages[number].algorithm.trains != "nothing"
        return Workshop(self.run, number, self._who_plays(number), self.dtype, self.ranks if trains else ALONE)

    def _prepare(self, work: Workshop) -> None:
        """Compute what the stage needs of its starting weights; what is kept of it is vouched for."""
        made = work.prepare(self.watch)
        if made:
            self.folder.event("prepared", name=work.stage.name, files=self.folder.marks(made))

    def _open(self, policy: str, dtype: torch.dtype = torch.float32) -> Loaded:
        """The weights of a policy of the run; whatever model was in memory makes room first."""
        gc.collect()
        release_freed_memory()
        loaded = open_model(self.run, policy, dtype)
        if policy == BASE:
            record_model(self.folder, loaded)
        return loaded

    def _who_plays(self, number: int) -> Loaded:
        """The policy that a stage starts from, or the teacher who answers in its place."""
        stage = self.run.stages[number]
        return (
            open_teacher(self.run, stage, self.dtype)
            if stage.answered_by_teacher
            else self._open(start_of(self.run, number))
        )

    def _stage(self, work: Workshop) -> None:
        stage = work.stage
        self.watch.stage(stage.name, stage.steps, self.position.step)
        taught = {"teacher": work.teacher_digest} if work.teacher_digest else {}
        self.folder.event("stage", name=stage.name, step=self.position.step, device=called(work.device), **taught)
        self._saved = self.position.total
        self.watching = watched(stage.name, read_lines(self.folder.path / "metrics.jsonl"))
        try:
            while self.position.step < stage.steps and not work.ended:
                self._measure_on_the_way(work)
                self._step(work)
                if self.position.total % self.run.save_every == 0 and self.position.step < stage.steps:
                    self._measure_on_the_way(work)  # before the checkpoint, which then counts it
                    with self.interrupts.deferred():
                        self._save(work)
            if self.run.evaluation and self.run.evaluation.best:
                self._measure_on_the_way(work)
        except (Interrupted, JudgeOutage, EngineOutage, Standstill) as stop:
            if self._saved < self.position.total:
                self._save(work)
            self.folder.event("interrupted", step=self.position.total, why=str(stop))
            raise
        if work.ended:
            assert stage.until is not None
            self.folder.event("ended_early", name=stage.name, step=self.position.step, metric=stage.until.metric)
            self.watch.note(f"{stage.name} ends after {self.position.step} steps: {stage.until.metric} says so")
        if not work.reward_check.taught:
            self._warn(f"{stage.name} learned nothing: {work.reward_check.why}")
        with self.interrupts.deferred():
            self._finish(work)

    def _measure_on_the_way(self, work: Workshop) -> None:
        """Measure the policy on the held-out tasks where that is due after the step just done, and was not done yet.
        Where the best is to be kept, the last step is measured too, and weights that are the best so far are saved."""
        evaluation, step = self.run.evaluation, self.position.step
        if evaluation is None or work.held_out_play is None or not step or step in work.looks:
            return
        last = step == work.stage.steps or work.ended
        if step % evaluation.every and not (evaluation.best and last):
            return
        self.watch.phase("held out")
        self.reward_log.place = f"{work.stage.name} {step}, held out"
        result = evaluate(
            work.held_out_play.at(0, self.watch.progress),
            evaluation.tasks_on_the_way,
            evaluation.every_attempts,
            model=work.stage.name,
            step=self.position.total,
            sampling=evaluation.sampling,
        )
        numbers = headline(result)
        with self.interrupts.deferred():
            made = [self.folder.path / on_the_way_file(work.stage, step)]
            looks = work.looks | {step: numbers[evaluation.best or "mean_score"]}
            if evaluation.best and best_of(looks) == step:
                made.append(self.folder.path / weights_at(work.stage.name, step))
                self._save_model(work, made[-1])
            write_text(made[0], dumps(result))
            self.folder.event("measured_on_the_way", **self._place(work), files=self.folder.marks(*made))
            work.looked(step, looks[step])
            self._drop_beaten(work)
        self.senders.send("held_out", numbers, self.position.total)

    def _save_model(self, work: Workshop, path: Path) -> None:
        self.watch.phase("save")
        work.policy.save_model(work.tokenizer, path)

    def _drop_beaten(self, work: Workshop | None) -> None:
        """Remove weights that neither the stage at work nor one taken up again at a kept checkpoint can end with."""
        stay = needed((stage.name for stage in self.run.stages), checkpoints(self.checkpoints))
        if work is not None and (best := best_of(work.looks)) is not None:
            stay.add(weights_at(work.stage.name, best))
        for path in weights_kept(self.folder.path):
            if path not in stay:
                self.folder.event("dropped", removed=[path])
                remove(self.folder.path / path)

    def _drop_over(self) -> None:
        """Remove groups that were sampled ahead and from which this run does not learn any more."""
        names = [stage.name for stage in self.run.stages]
        if gone := over(self.folder.path, names, checkpoints(self.checkpoints)):
            self.folder.event("dropped", removed=gone)
            for path in gone:
                remove(self.folder.path / path)

    def _step(self, work: Workshop) -> None:
        """One turn of the loop. From learning to the log nothing can be cut in two by a signal."""
        stage, algorithm, clock = work.stage, work.stage.algorithm, Clock(self.watch)
        self.reward_log.place = f"{stage.name} {self.position.step + 1}"
        play = work.play.at(self.position.step, clock.progress, clock)
        with clock("sample"):
            again = work.replayed()
            groups = work.sampler(work.stream, stage.tasks_per_step - len(again), play)
        with self.interrupts.deferred(), clock("annotate"):
            samples = work.annotate([*groups, *again, *work.mixed_in()])
            metrics = rollout_metrics(groups) | kl_metrics(samples) | dict(play.counts)
        gold = self._gold(work, groups, clock)
        with clock("credit"):
            samples = algorithm.credit(samples, work.memory)
            metrics = metrics | attribution_metrics(groups, samples)
        with self.interrupts.deferred():
            with clock("learn"):
                learnt = average(work.learn(samples, play.step))
            work.engine.sync(work.policy)
            self.position = Position(
                stage=self.position.stage, step=self.position.step + 1, total=self.position.total + 1
            )
            work.renew_reference(self.position.step)
            rows = list(rollout_rows(groups, samples, gold, work.chat.show, self._place(work)))
            metrics = metrics | gold_metrics(gold) | watch_metrics(rows) | work.memory | learnt
            metrics = metrics | work.saw(play.played, groups) | work.spent(samples, play.drawn)
            work.look(metrics)
            work.mark()
            self._check_until(stage, metrics)
            self._check_answers(stage, groups)
            with clock("keep"):
                kept = self._keep(work, rows, metrics)
                alarms = self._look(work, rows, metrics)
            self._log_time(work, clock.seconds, groups, play.drawn)
            self.folder.event("step", **self._place(work), files=kept, logs=self.folder.grown())
        spent = {f"seconds/{phase}": seconds for phase, seconds in clock.seconds.items()}
        self.senders.send(stage.name, metrics | spent, self.position.total)
        self.watch.step(self.position.step, metrics, clock.seconds)
        if advice := work.grading_time.look(clock.seconds):
            self._warn(f"{stage.name}: {advice}")
        if stage.stop_on_collapse:
            stop_if_collapsed(alarms)
        work.reward_check.look(play.scores, samples, play.stops)

    def _check_until(self, stage: Stage, metrics: Mapping[str, float]) -> None:
        """Say at once when the metric that is to end the stage is not there: it would never end early."""
        if stage.until and self.position.step == 1 and stage.until.metric not in metrics:
            metric = stage.until.metric
            self._warn(f"{stage.name} is to end by {metric}, which its first step does not log: see docs/metrics.md")

    def _check_answers(self, stage: Stage, groups: Sequence[Group]) -> None:
        """Say at once when the environment answers the same messages otherwise: resume is then not exact."""
        if self.position.step == 1 and (what := other_answers(stage.env, groups)):
            self._warn(f"{stage.name}: played again, the environment changes {what}; {ADVICE}")

    def _gold(self, work: Workshop, groups: Sequence[Group], clock: Clock) -> Sequence[Sequence[Score]]:
        """What the attempts are truly worth, where the run knows."""
        if work.gold is None:
            return []
        with clock("gold"):
            return score(work.gold, [(group.task, group.trajectories) for group in groups])

    def _place(self, work: Workshop) -> dict[str, Any]:
        return {"stage": work.stage.name, "step": self.position.step}

    def _keep(self, work: Workshop, rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, float]) -> dict[str, str]:
        """Write down a step; gives the mark of its rollouts."""
        name = rollout_file(work.stage, self.position.step)
        kept = {name: write_text(self.folder.path / name, "".join(dumps(row) + "\n" for row in rows))}
        self.folder.append("metrics.jsonl", self._place(work) | dict(metrics))
        return kept

    def _look(self, work: Workshop, rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, float]) -> list[Alarm]:
        """Watch a step, and tell and keep the alarms it raises."""
        alarms = self.watching.look(self._place(work) | dict(metrics), rows)
        for alarm in alarms:
            self.folder.append("alarms.jsonl", asdict(alarm))
            self.watch.note(f"{alarm.severity}: {alarm.text}")
        return alarms

    def _log_time(
        self, work: Workshop, seconds: Mapping[str, float], groups: Sequence[Group], drawn: Sequence[int]
    ) -> None:
        tokens = sum(completion_tokens(trajectory) for group in groups for trajectory in group.trajectories)
        row = self._place(work) | {"seconds": dict(seconds), **work.idle(), "tokens": tokens}
        self.folder.append("timings.jsonl", row | {"drawn": sum(drawn), "memory_gb": peak_memory(work.device)})

    def _save(self, work: Workshop) -> None:
        self.watch.phase("save")
        save_checkpoint(
            self.checkpoints,
            self.position.total,
            self._state(work.saved()),
            work.policy.save,
            self._announce,
            keep=self.run.keep,
            needed=work.policy.saved_bytes,
        )
        self._saved = self.position.total
        self._drop_beaten(work)
        self._drop_over()

    def _state(self, work: dict[str, Any] | None) -> dict[str, Any]:
        return {"position": asdict(self.position), "sizes": self.folder.sizes(*LOGS), "work": work}

    def _announce(self, mark: str) -> None:
        name = f"checkpoints/{self.position.total:06d}"
        self.folder.event("checkpoint", step=self.position.total, files={name: mark})

    def _finish(self, work: Workshop) -> None:
        """Keep the stage's weights, then move on; the checkpoint that says so needs no weights of its own."""
        stage = work.stage
        path = stage_model(self.folder.path, stage.name)
        evaluation, chosen = self.run.evaluation, {}
        if evaluation and evaluation.best:
            chosen = choice_of(work.looks, evaluation.best, apart=bool(evaluation.choice))
        if chosen:
            best = self.folder.path / weights_at(stage.name, chosen["step"])
            write_folder(path, partial(shutil.copytree, best, dirs_exist_ok=True))
            self.watch.note(in_words(stage.name, self.position.step, chosen))
        elif stage.algorithm.trains != "nothing":
            self._save_model(work, path)
        if stage.algorithm.trains == "scorer":
            work.here.save_heads(path)
        measured = measure_stage(self.run, work, path, step=self.position.total, dtype=self.dtype, watch=self.watch)
        made = self.folder.marks(*(one for one in (path, measured) if one and one.exists()))
        told = {"best": chosen} if chosen else {}
        self.folder.event("stage_done", name=stage.name, steps=self.position.step, **told, files=made)
        self.position = Position(stage=self.position.stage + 1, step=0, total=self.position.total)
        save_checkpoint(
            self.checkpoints, self.position.total, self._state(None), lambda _: None, self._announce, keep=self.run.keep
        )
        self._drop_beaten(None)
        self._drop_over()

    def _done(self) -> Sequence[Stage]:
        return self.run.stages[: self.position.stage]

    def _evaluate_what_is_due(self) -> None:
        """Evaluate the base model and every finished stage whose policy is to be measured and is not yet."""
        evaluation = self.run.evaluation
        if evaluation is None:
            return
        for name in [
            BASE,
            *(stage.name for stage in self._done() if stage.measured and stage.algorithm.trains == "policy"),
        ]:
            path = self.folder.path / "evaluations" / f"{name}.json"
            if path.exists():
                continue
            self.watch.phase(f"evaluate {name}")
            self.reward_log.place = f"evaluate {name}"
            played: list[Group] = []
            result = evaluate(
                open_play(self.run, self._open(name, self.dtype)).at(0, self.watch.progress),
                evaluation.tasks,
                evaluation.attempts,
                model=name,
                step=steps_taken(self.run, name),
                sampling=evaluation.sampling,
                keep=played.extend,
            )
            # What is told of the truth is told against how far the model has moved.
            if evaluation.under_base or (name != BASE and any(stage.gold for stage in self.run.stages)):
                read_under_base(result, played, PackedModel(self._open(BASE, self.dtype).model))
            write_text(path, dumps(result))
            self.folder.event("evaluated", model=name, files=self.folder.marks(path))
            self.senders.send("held_out", headline(result), result["step"])

    def _warn(self, text: str) -> None:
        warn(self.folder, self.watch, text)
