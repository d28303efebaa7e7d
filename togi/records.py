"""What a step leaves behind: its metrics and its rollouts as rows. Knows no algorithm, no model and no file.

Names follow TRL where the thing is the same; docs/metrics.md defines each. A score that was not given counts nowhere
but in ``unscored/STATUS``; a completion that broke its environment or kept its grader from grading it counts as 0, and
in ``own_fault/KIND``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from togi.samplers.group import attempted
from togi.types import CUT, Group, Ids, Message, Sample, Score, Trajectory, Turn


def rollout_metrics(groups: Sequence[Group]) -> dict[str, float]:
    """Rewards, lengths, truncation and signal of the attempts in ``groups``. Lengths count completion tokens."""
    attempts = [pair for group in groups for pair in told(group)]
    if not attempts:
        return {}
    lengths = np.array([completion_tokens(trajectory) for trajectory, _ in attempts], dtype=float)
    values: dict[str, float] = {
        "completions/mean_length": float(lengths.mean()),
        "completions/min_length": float(lengths.min()),
        "completions/max_length": float(lengths.max()),
        "completions/clipped_ratio": float(np.mean([is_truncated(trajectory) for trajectory, _ in attempts])),
    }
    if not any(turn.logp for trajectory, _ in attempts for turn in trajectory.turns):
        return values  # recorded answers: nobody was paid, and 0 would read like a reward
    if not all(group.paid for group in groups):
        return values | episode_metrics([trajectory for trajectory, _ in attempts])
    values |= reward_metrics([score for _, score in attempts])
    values |= episode_metrics([trajectory for trajectory, _ in attempts])
    values |= role_metrics(attempts)
    # One attempt a task is compared with nothing by design: that it does not differ says nothing.
    spreads = [group_rewards(group) for group in groups if len(group.trajectories) > 1]
    spreads = [rewards for rewards in spreads if rewards.size]
    if spreads:
        values["reward_std"] = float(np.mean([rewards.std(ddof=1) if rewards.size > 1 else 0.0 for rewards in spreads]))
        values["frac_reward_zero_std"] = float(np.mean([np.ptp(rewards) < 1e-6 for rewards in spreads]))
    return values


def told(group: Group) -> list[tuple[Trajectory, Score]]:
    """What a group's metrics and rows are about: what was sampled, or the recorded answers where nothing was."""
    sampled = any(turn.logp for trajectory in group.trajectories for turn in trajectory.turns)
    return attempted(group) if sampled else list(zip(group.trajectories, group.scores, strict=True))


def episode_metrics(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """How attempts ended, turns an attempt, where any has more than one, and the mean of what environments counted."""
    stops = Counter(trajectory.stop for trajectory in trajectories)
    values = {f"stop/{stop}": count / len(trajectories) for stop, count in sorted(stops.items())}
    turns = [len(trajectory.turns) for trajectory in trajectories]
    if max(turns) > 1:
        values["completions/mean_turns"] = float(np.mean(turns))
    for name in sorted({name for trajectory in trajectories for name in trajectory.counts}):
        values[f"env/{name}"] = float(np.mean([trajectory.counts.get(name, 0.0) for trajectory in trajectories]))
    return values


def role_metrics(attempts: Sequence[tuple[Trajectory, Score]]) -> dict[str, float]:
    """Reward and turns of each player, where environments have several."""
    values: dict[str, float] = {}
    for role in sorted({trajectory.role for trajectory, _ in attempts} - {""}):
        own = [(trajectory, score) for trajectory, score in attempts if trajectory.role == role]
        if given := [score.value for _, score in own if score.status == "ok"]:
            values[f"role/{role}/reward"] = float(np.mean(given))
        values[f"role/{role}/turns"] = float(np.mean([len(trajectory.turns) for trajectory, _ in own]))
    return values


def reward_metrics(scores: Sequence[Score]) -> dict[str, float]:
    """Mean reward, mean of each named part, and the share of each kind of own fault and of each status that is not
    ``ok``."""
    values: dict[str, float] = {}
    good = [score for score in scores if score.status == "ok"]
    if good:
        values["reward"] = float(np.mean([score.value for score in good]))
        for part in sorted({name for score in good for name in score.parts}):
            given = [score.parts[part] for score in good if part in score.parts]
            values[f"rewards/{part}/mean"] = float(np.mean(given))
    faults = Counter(score.own_fault for score in good if score.own_fault)
    values |= {f"own_fault/{kind}": count / len(scores) for kind, count in sorted(faults.items())}
    lost = Counter(score.status for score in scores if score.status != "ok")
    return values | {f"unscored/{status}": count / len(scores) for status, count in sorted(lost.items())}


def kl_metrics(samples: Sequence[Sample]) -> dict[str, float]:
    """How far the sampled attempts show the policy to be from the reference: the mean over attempts of the summed
    log-ratio, nats a sequence (k1). Empty when nothing was compared with a reference."""
    attempts: dict[tuple[int, int], float] = {}
    for sample in samples:
        if sample.ref_logp is None or sample.recorded or sample.age:
            continue
        own = sample.logp if sample.old_logp is None else sample.old_logp
        ratio = float((own[sample.mask].astype(np.float64) - sample.ref_logp[sample.mask]).sum())
        attempt = (sample.group, sample.trajectory)
        attempts[attempt] = attempts.get(attempt, 0.0) + ratio
    return {"kl_sequence": float(np.mean(list(attempts.values())))} if attempts else {}


def gold_metrics(gold: Sequence[Sequence[Score]]) -> dict[str, float]:
    """The mean of the truth that the reward stands for, over the attempts it could be told for."""
    given = [each.value for scores in gold for each in scores if each.status == "ok"]
    return {"gold": float(np.mean(given))} if given else {}


def attribution_metrics(groups: Sequence[Group], samples: Sequence[Sample]) -> dict[str, float]:
    """Which parts of the reward drove the step: for each, ``Cov(advantage, share of the reward) / Cov(advantage,
    reward)`` over the attempts that are learned from. They sum to 1; a part that worked against the others is negative.

    Shares sum to the reward, so this splits exactly what advantages know of it, whatever baseline made them. Empty
    for a reward of one part, and where advantages say nothing of the reward.
    """
    learnt = {(sample.group, sample.trajectory): sample for sample in samples if not sample.recorded}
    rows = [
        (advantage, score)
        for number, group in enumerate(groups)
        for attempt, score in enumerate(group.scores)
        if score.status == "ok" and (advantage := mean_advantage(learnt.get((number, attempt)))) is not None
    ]
    names = sorted({name for _, score in rows for name in score.shares})
    if not names:
        return {}
    advantage_S = np.array([advantage for advantage, _ in rows])
    reward_S = np.array([score.value for _, score in rows])
    advantage_S -= advantage_S.mean()
    whole = float(advantage_S @ (reward_S - reward_S.mean()))
    if whole <= 1e-9 * float(np.linalg.norm(advantage_S) * max(1.0, float(np.linalg.norm(reward_S)))):
        return {}
    shares = {name: np.array([score.shares.get(name, 0.0) for _, score in rows]) for name in names}
    return {f"attribution/{name}": float(advantage_S @ share_S) / whole for name, share_S in shares.items()}


def group_rewards(group: Group) -> np.ndarray:
    """The rewards that were given, [G'] with G' <= G."""
    return np.array([score.value for score in group.scores if score.status == "ok"], dtype=float)


def completion_tokens(trajectory: Trajectory) -> int:
    return sum(len(turn.completion) for turn in trajectory.turns)


def is_truncated(trajectory: Trajectory) -> bool:
    """Whether a limit ended the attempt, or the turn at which its environment broke, and not the model."""
    broke = trajectory.stop == "error" and bool(trajectory.turns)
    return (trajectory.turns[-1].stop if broke else trajectory.stop) in CUT


def average(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The plain mean over a step's updates of each metric that any of them gave; skipped updates are summed."""
    names = {name for part in parts for name in part}
    values = {name: float(np.mean([part[name] for part in parts if name in part])) for name in sorted(names)}
    if "skipped_steps" in values:
        values["skipped_steps"] = float(sum(part["skipped_steps"] for part in parts))
    return values


def rollout_rows(
    groups: Sequence[Group],
    samples: Sequence[Sample],
    gold: Sequence[Sequence[Score]],
    show: Callable[[Ids], str],
    place: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """One row an attempt. ``gold`` are scores of the truth where it is known, else empty; ``show`` writes token ids as
    the model sees them; ``place`` (stage, step) leads each row."""
    learnt: dict[tuple[int, int], list[Sample]] = {}
    for each in samples:
        learnt.setdefault((each.group, each.trajectory), []).append(each)
    for number, group in enumerate(groups):
        # Demonstrations stand behind what was sampled.
        for attempt, (trajectory, score) in enumerate(told(group)):
            own = learnt.get((number, attempt), [])
            logp = [value for turn in trajectory.turns for value in turn.logp]
            yield {
                **place,
                "task": group.task.id,
                "group": number,
                "attempt": attempt,
                "prompt": show(trajectory.turns[0].prompt) if trajectory.turns else "",
                "completion": conversation(trajectory),
                "tokens": completion_tokens(trajectory),
                "stop": trajectory.stop,
                "error": trajectory.error,
                "score": score_row(score),
                "advantage": mean_advantage(own[-1] if own else None),
                "logp_mean": float(np.mean(logp)) if logp else None,
                "answer": group.task.answer,
                **({"gold": gold[number][attempt].value} if gold else {}),
                **({"role": trajectory.role} if trajectory.role else {}),
                **({"turns": turns} if (turns := turn_rows(trajectory, own)) else {}),
            }


def score_row(score: Score) -> dict[str, Any]:
    return {
        "value": score.value,
        "parts": dict(score.parts),
        "shares": dict(score.shares),
        **({"steps": list(score.steps)} if score.steps else {}),
        "status": score.status,
        **({"own_fault": score.own_fault} if score.own_fault else {}),
        "note": score.note,
    }


def conversation(trajectory: Trajectory) -> str:
    """What the model wrote, with the environment's replies between its turns."""
    pieces = []
    for turn in trajectory.turns:
        pieces.append(turn.text)
        pieces += [f"\n[{reply.role}] {reply.content}\n" for reply in turn.replies]
    return "".join(pieces)


def turn_rows(trajectory: Trajectory, learnt: Sequence[Sample] | None = None) -> list[dict[str, Any]]:
    """The turns of an attempt, where an environment answered any: what the model said, what it was paid, and the
    replies. Where ``learnt`` has the attempt's samples, also how many tokens of the turn were learned from, and their
    mean advantage."""
    if not any(turn.replies for turn in trajectory.turns):
        return []
    return [
        {
            "says": turn.text,
            "tokens": len(turn.completion),
            "stop": turn.stop,
            "reward": turn.reward,
            "replies": message_rows(turn.replies),
            **({} if learnt is None else _lesson(turn, learnt)),
        }
        for turn in trajectory.turns
    ]


def message_rows(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as data: who says what, and, of a tool, its name."""
    return [
        {"role": each.role, **({"name": each.name} if each.name else {}), "content": each.content} for each in messages
    ]


def _lesson(turn: Turn, samples: Sequence[Sample]) -> dict[str, Any]:
    """The tokens of a turn that its sample lets pass its mask and weighs, and what they were worth."""
    before, after = len(turn.prompt), len(turn.prompt) + len(turn.completion)
    seen = np.array(turn.prompt + turn.completion, dtype=np.int64)
    for sample in samples:
        if sample.weight and sample.recorded == (not turn.logp) and np.array_equal(sample.ids[:after], seen):
            mask = sample.mask[before:after]
            worth = None if sample.advantage is None else sample.advantage[before:after][mask]
            advantage = None if worth is None or not worth.size else float(worth.mean())
            return {"learned": int(mask.sum()), "advantage": advantage}
    return {"learned": 0, "advantage": None}


def mean_advantage(sample: Sample | None) -> float | None:
    if sample is None or sample.advantage is None or not sample.mask.any():
        return None
    return float(sample.advantage[sample.mask].mean())
