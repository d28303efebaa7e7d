"""Opens what a stage trains, in every process that learns it. Knows runs and stages; no engine, no loop and no log."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from togi.cluster.cluster_policy import ClusterPolicy, Start
from togi.cluster.stage_weights import noted
from togi.cluster.tinker_service import open_cluster
from togi.engines.engine_choice import AtCluster
from togi.models.load_model import Loaded
from togi.models.policy import LocalPolicy, Reference
from togi.models.ranks import ALONE, Ranks
from togi.models.scalar_heads import load_scalar, tokenizer_digest
from togi.models.thought_head import ThoughtHead, new_head
from togi.run import BASE, Run, Stage, open_teacher, other_tokens, seed_of, stage_model, start_of
from togi.types import Need


@dataclass(frozen=True, kw_only=True)
class StagePolicy:
    """What a stage trains, whom ``reference`` makes its reference, and which weights its teacher has, if any."""

    policy: LocalPolicy | ClusterPolicy
    reference: Reference
    teacher_digest: str | None


def open_policy(run: Run, number: int, loaded: Loaded, dtype: torch.dtype, ranks: Ranks = ALONE) -> StagePolicy:
    """The policy of a stage from the weights it starts from. Changes ``loaded.model``.

    Raises ValueError for a teacher that the stage cannot use.
    """
    stage = run.stages[number]
    if run.engine.cluster is not None:
        policy = policy_at_cluster(run, stage, loaded.source, run.engine.cluster)
        return StagePolicy(policy=policy, reference="none", teacher_digest=None)
    ranks.lead("open", stage=number, dtype=str(dtype).removeprefix("torch."))
    # With adapters the frozen base is the reference, as long as the stage starts from untrained adapters.
    adapter_base = run.model.lora is not None and start_of(run, number) == BASE
    copied: Reference = "adapter_base" if adapter_base else "copy"
    offline = not stage.algorithm.sampler.writes
    reference: Reference = "none" if offline or "ref_logp" not in needs_of(stage) else copied
    critic = None
    if stage.critic_start:
        critic = load_scalar(stage_model(run.folder, stage.critic_start), device=run.model.device)
    teacher = loaded if stage.answered_by_teacher else None
    if stage.teacher and teacher is None:
        teacher = open_teacher(run, stage, dtype)
        check_same_tokens(stage, loaded, teacher)
    here = LocalPolicy(
        loaded.model,
        stage.optimiser,
        compute=dtype,
        reference=reference,
        heads=stage.algorithm.heads,
        critic=critic,
        mismatch_limit=run.engine.mismatch_limit,
        thoughts=loaded.thoughts,
        teacher=teacher.model if teacher and not stage.answered_by_teacher else None,
        trains=not stage.answered_by_teacher,
        ranks=ranks,
    )
    return StagePolicy(policy=here, reference=reference, teacher_digest=teacher.digest if teacher else None)


def policy_at_cluster(run: Run, stage: Stage, source: str, at: AtCluster) -> ClusterPolicy:
    """A policy that learns at a cluster, from the weights that ``source`` notes, or else from the base."""
    assert run.model.lora is not None, "recipes refuse whole weights at a cluster"
    weights = noted(source)
    state = weights.state if weights else None
    start = Start(base=at.model, state=state, rank=run.model.lora.rank, seed=seed_of(run, "init"))
    return ClusterPolicy(open_cluster(at), start, stage.optimiser, mismatch_limit=run.engine.mismatch_limit)


def thought_head(stage: Stage, loaded: Loaded) -> ThoughtHead | None:
    """The head of a stage whose policy learns to think: the one that its model brings, or a new one."""
    thinking = stage.algorithm.thinking
    if thinking is None:
        return None
    head = loaded.thoughts or new_head(
        loaded.model, thinking, partial(loaded.tokenizer.encode, add_special_tokens=False)
    )
    head.thinking = thinking
    return head


def needs_of(stage: Stage) -> frozenset[Need]:
    """What samples are annotated with: what the algorithm asks for, and what several updates or a truth call for."""
    needs: set[Need] = set(stage.algorithm.needs)
    credited = stage.algorithm.sampler.rewarded or "teacher_logp" in needs
    if credited and stage.algorithm.trains == "policy":
        if stage.minibatches * stage.epochs > 1 or stage.replay is not None:
            needs.add("old_logp")
        if stage.gold is not None:
            # Reward and truth are set against how far the policy has moved.
            needs.add("ref_logp")
    return frozenset(needs)


def check_same_tokens(stage: Stage, student: Loaded, teacher: Loaded) -> None:
    """Raises ValueError for a teacher that reads other tokens than the student writes."""
    if tokenizer_digest(teacher.tokenizer) != tokenizer_digest(student.tokenizer):
        raise ValueError(other_tokens(stage))
