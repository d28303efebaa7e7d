"""Distillation: the divergences by number, whole vocabularies in chunks, and what a teacher may be."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import tiny_model
from torch import Tensor

from togi import losses
from togi.algorithms import GKD, KD, SKEWED_KL, SKEWED_REVERSE_KL, OnPolicyDistillation
from togi.batch import collate
from togi.models import compared_projection
from togi.models.packing import PackedModel
from togi.models.policy import LocalPolicy, Optimiser
from togi.types import Sample

STUDENT = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64).log_softmax(-1)
TEACHER = torch.tensor([2.0, 0.0, -2.0], dtype=torch.float64).log_softmax(-1)


def test_divergences_of_two_distributions() -> None:
    """H3.gkd."""
    assert losses.forward_kl(STUDENT, TEACHER).item() == pytest.approx(0.115611, rel=1e-5)
    assert losses.reverse_kl(STUDENT, TEACHER).item() == pytest.approx(0.160115, rel=1e-5)
    assert losses.jsd(STUDENT, TEACHER, beta=0.5).item() == pytest.approx(0.0324334, rel=1e-5)
    assert losses.jsd(STUDENT, TEACHER, beta=0.1).item() == pytest.approx(0.010607, rel=1e-4)


def test_the_ends_of_beta_are_the_plain_divergences_which_the_inside_tends_to_over_beta() -> None:
    assert losses.jsd(STUDENT, TEACHER, beta=0.0) == losses.forward_kl(STUDENT, TEACHER)
    assert losses.jsd(STUDENT, TEACHER, beta=1.0) == losses.reverse_kl(STUDENT, TEACHER)
    near = losses.jsd(STUDENT, TEACHER, beta=1e-5).item() / 1e-5
    assert near == pytest.approx(losses.forward_kl(STUDENT, TEACHER).item(), rel=1e-3)
    other = losses.jsd(STUDENT, TEACHER, beta=1 - 1e-5).item() / 1e-5
    assert other == pytest.approx(losses.reverse_kl(STUDENT, TEACHER).item(), rel=1e-3)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.9])
def test_skewed_divergences_mix_the_first_into_the_second(alpha: float) -> None:
    student, teacher = STUDENT.exp(), TEACHER.exp()
    mixed = (alpha * teacher + (1 - alpha) * student).log()
    expected = (teacher * (TEACHER - mixed)).sum()
    assert losses.skewed_forward_kl(STUDENT, TEACHER, alpha=alpha).item() == pytest.approx(expected.item())
    mixed = (alpha * student + (1 - alpha) * teacher).log()
    expected = (student * (STUDENT - mixed)).sum()
    assert losses.skewed_reverse_kl(STUDENT, TEACHER, alpha=alpha).item() == pytest.approx(expected.item())


def test_what_one_of_them_rules_out_is_neither_nan_nor_has_a_gradient_of_nan() -> None:
    logits = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64, requires_grad=True)
    teacher = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64).log()
    for found in (
        losses.forward_kl(logits.log_softmax(-1), teacher),
        losses.jsd(logits.log_softmax(-1), teacher, beta=0.5),
        losses.skewed_forward_kl(logits.log_softmax(-1), teacher, alpha=0.1),
        losses.skewed_reverse_kl(logits.log_softmax(-1), teacher, alpha=0.1),
    ):
        assert math.isfinite(found.item())
        (grad,) = torch.autograd.grad(found, logits)
        assert bool(grad.isfinite().all())
    assert losses.reverse_kl(logits.log_softmax(-1), teacher).item() == math.inf  # truly


def sample(ids: list[int], prompt: int, **fields: object) -> Sample:
    zeros = np.zeros(len(ids), np.float32)
    mask = np.arange(len(ids)) >= prompt
    made = Sample(ids=np.array(ids), mask=mask, logp=zeros, reward=0.0, group=0, trajectory=0, task="t", stop="eos")
    return replace(made, **fields)  # type: ignore[arg-type]


def test_on_policy_distillation_credits_each_token_with_the_log_ratio() -> None:
    """H3.opd_adv."""
    fields = {
        "logp": np.array([0, -0.5, -1, -2], np.float32),
        "teacher_logp": np.array([0, -0.7, -0.4, -5], np.float32),
    }
    one = sample([1, 2, 3, 4], 1, **fields)
    for discount, expected in ((0.0, [-0.2, 0.6, -3.0]), (1.0, [-2.6, -2.4, -3.0])):
        [credited] = OnPolicyDistillation(discount=discount).credit([one], {})
        assert credited.advantage is not None
        assert credited.advantage[1:] == pytest.approx(expected, rel=1e-5)
        assert credited.advantage[0] == 0.0
        assert credited.weight == pytest.approx(1 / 3)


def test_the_expected_gradient_of_on_policy_distillation_is_that_of_the_reverse_kl() -> None:
    """H3.opd_grad_check."""
    logits = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64, requires_grad=True)
    p = logits.softmax(-1).detach()
    expected = torch.zeros(3, dtype=torch.float64)
    for token in range(3):
        logp = logits.log_softmax(-1)
        (grad,) = torch.autograd.grad(logp[token], logits)
        expected += p[token] * (TEACHER[token] - STUDENT[token]) * grad
    (kl_grad,) = torch.autograd.grad(losses.reverse_kl(logits.log_softmax(-1), TEACHER), logits)
    assert expected.tolist() == pytest.approx([0.282587, -0.14077, -0.141817], rel=1e-5)
    assert expected.tolist() == pytest.approx((-kl_grad).tolist())


SAMPLES = [
    sample([5, 6, 7, 8, 9, 10], 3),
    sample([5, 6, 7, 8, 11, 12, 13], 3, trajectory=1, temperature=0.7),
    sample([5, 6, 14, 15], 2, group=1),
]


@pytest.mark.parametrize("elements", [1, 3 * 61, 1 << 23])
@pytest.mark.parametrize("algorithm", [GKD(), KD, SKEWED_KL, SKEWED_REVERSE_KL, GKD(divergence="reverse_kl")])
def test_chunks_of_packed_tokens_give_the_divergence_of_whole_logits(
    algorithm: GKD, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compared_projection, "CHUNK_ELEMENTS", elements)
    student, teacher = tiny_model(seed=1), tiny_model(seed=2).requires_grad_(False)
    batch = collate(SAMPLES)
    out = PackedModel(student)(batch, algorithm.outputs, algorithm.between, PackedModel(teacher))
    assert out.compared_BT is not None
    out.compared_BT.sum().backward()  # type: ignore[no-untyped-call]
    found = {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}
    student.zero_grad()

    def logp(model: torch.nn.Module) -> Tensor:
        logits: Tensor = model(input_ids=batch.ids_BT).logits  # right-padded: what follows a row is never looked at
        return torch.log_softmax(logits[:, :-1] / batch.temperature_B[:, None, None].double(), -1)

    read = torch.nn.functional.pad(algorithm.between(logp(student), logp(teacher)), (1, 0)).where(batch.mask_BT, 0.0)
    read.sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(out.compared_BT, read, check_dtype=False)
    expected = {name: p.grad for name, p in student.named_parameters() if p.grad is not None}
    assert found.keys() == expected.keys()
    for name, grad in found.items():
        torch.testing.assert_close(grad, expected[name], rtol=1e-5, atol=1e-6)


def test_a_longer_vocabulary_that_only_rounds_its_size_up_changes_nothing() -> None:
    student, teacher = tiny_model(seed=1), tiny_model(seed=2)
    batch = collate(SAMPLES[:1])
    plain = PackedModel(student)(batch, GKD().outputs, GKD().between, PackedModel(teacher))
    weight = teacher.get_input_embeddings().weight
    longer = torch.nn.Parameter(torch.cat([weight.data, torch.zeros(3, weight.shape[1], dtype=weight.dtype)]))
    teacher.get_input_embeddings().weight = longer
    teacher.get_output_embeddings().weight = longer
    found = PackedModel(student)(batch, GKD().outputs, GKD().between, PackedModel(teacher))
    assert plain.compared_BT is not None
    assert found.compared_BT is not None
    torch.testing.assert_close(found.compared_BT, plain.compared_BT)


@pytest.mark.parametrize("algorithm", [GKD(), SKEWED_REVERSE_KL])
def test_a_student_comes_nearer_to_its_teacher(algorithm: GKD) -> None:
    student, teacher = tiny_model(seed=1, dtype=torch.float32), tiny_model(seed=2, dtype=torch.float32)
    policy = LocalPolicy(
        student, Optimiser(learning_rate=1e-2), compute=torch.float32, teacher=teacher.requires_grad_(False)
    )

    def apart() -> float:
        with torch.no_grad():
            out = PackedModel(student)(collate(SAMPLES), GKD().outputs, losses.reverse_kl, PackedModel(teacher))
        assert out.compared_BT is not None
        return float(out.compared_BT.sum())

    before = apart()
    for _ in range(8):
        policy.learn(algorithm.credit(SAMPLES, {}), algorithm)
    assert apart() < 0.7 * before


def test_without_a_teacher_nothing_is_distilled() -> None:
    policy = LocalPolicy(tiny_model(), Optimiser(learning_rate=1e-2), compute=torch.float64)
    with pytest.raises(ValueError, match="learns from a teacher: give the policy one"):
        policy.annotate(SAMPLES, frozenset({"teacher_logp"}))
    with pytest.raises(ValueError, match="learns from a teacher: give the policy one"):
        policy.learn(GKD().credit(SAMPLES, {}), GKD())
