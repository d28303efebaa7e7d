"""One optimiser step: invariant to how samples are cut, exact to save, unharmed by what is not finite."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_model
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from tiny_text import tiny_folder

from togi.batch import collate
from togi.models.load_model import load_model
from togi.models.optimiser import Trained
from togi.models.policy import LocalPolicy, NonFinite, Optimiser, probe_bf16
from togi.models.sampler_drift import Disagreement
from togi.models.save_model import save_model
from togi.models.scalar_heads import ScalarHead, ScalarModel, load_scalar
from togi.protocols import Model, Sampler
from togi.types import Batch, Heads, Loss, Mean, Memory, Need, Outputs, Sample, Unit


@dataclass(frozen=True)
class Likelihood:
    """Weighted likelihood: the smallest algorithm. ``scale`` lets a test spoil the loss."""

    scale: float = 1.0
    needs: frozenset[Need] = frozenset()
    unit: Unit = "sample"

    @property
    def sampler(self) -> Sampler:
        raise NotImplementedError

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        return list(samples)

    def forward(self, model: Model, batch: Batch) -> Outputs:
        return model(batch)

    def loss(self, out: Outputs, batch: Batch) -> Loss:
        weighted = -batch.weight_B[:, None] * batch.advantage_BT * out.logp_BT
        tokens = Mean(total=float(batch.mask_BT.sum()), count=len(batch.samples))
        return Loss(value=weighted.sum() * self.scale, metrics={"tokens": tokens})


def samples(groups: int = 3, attempts: int = 4, seed: int = 0) -> list[Sample]:
    rng = np.random.default_rng(seed)
    made = []
    for group in range(groups):
        prompt = rng.integers(0, 61, rng.integers(3, 9))
        for attempt in range(attempts):
            answer = rng.integers(0, 61, rng.integers(1, 12))
            ids = np.concatenate((prompt, answer))
            mask = np.arange(len(ids)) >= len(prompt)
            made.append(
                Sample(
                    ids=ids,
                    mask=mask,
                    logp=np.where(mask, -4.0, 0.0).astype(np.float32),
                    reward=0.0,
                    group=group,
                    trajectory=attempt,
                    task=str(group),
                    stop="eos",
                    advantage=np.where(mask, rng.normal(), 0.0).astype(np.float32),
                    weight=1 / 64,
                )
            )
    return made


def policy(compute: torch.dtype = torch.float64, **settings: object) -> LocalPolicy:
    wide = torch.float64 if compute == torch.float64 else torch.float32
    optimiser = replace(Optimiser(learning_rate=1e-3), **settings)  # type: ignore[arg-type]
    return LocalPolicy(tiny_model(dtype=wide), optimiser, compute=compute)


def weights(policy: LocalPolicy) -> list[torch.Tensor]:
    return [p.detach().clone() for p in policy.model.parameters()]


def test_the_step_does_not_depend_on_splitting_or_order() -> None:
    made = samples()
    whole = policy(tokens_per_microbatch=10_000)
    expected = whole.learn(made, Likelihood())
    for budget, order in ((10_000, made[::-1]), (30, made), (1, made[::-1])):
        other = policy(tokens_per_microbatch=budget)
        metrics = other.learn(order, Likelihood())
        for name, value in expected.items():
            assert metrics[name] == pytest.approx(value, rel=1e-6), name
        for ours, theirs in zip(weights(other), weights(whole), strict=True):
            # AdamW divides by the gradient's own size: compare where rounding noise is not all there is.
            torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)


def test_the_gradient_does_not_depend_on_splitting_or_order() -> None:
    made = samples()
    norms = {
        policy(tokens_per_microbatch=budget, clip_norm=1e-3).learn(order, Likelihood())["grad_norm"]
        for budget in (10_000, 30, 1)
        for order in (made, made[::-1])
    }
    assert max(norms) - min(norms) < 1e-6 * max(norms)
    assert min(norms) > 0


def test_metrics_are_exact_means() -> None:
    made = samples()
    metrics = policy(tokens_per_microbatch=30).learn(made, Likelihood())
    assert metrics["tokens"] == pytest.approx(sum(s.mask.sum() for s in made) / len(made))
    fresh = policy().annotate(made, frozenset({"old_logp"}))
    apart = np.concatenate([np.abs(s.old_logp - s.logp)[s.mask] for s in fresh if s.old_logp is not None])
    assert metrics["sampling/sampling_logp_difference/mean"] == pytest.approx(apart.mean(), rel=1e-5)
    assert metrics["sampling/sampling_logp_difference/max"] == pytest.approx(apart.max(), rel=1e-5)


def test_the_mismatch_is_that_of_the_weights_that_sampled() -> None:
    """Sampled at -4; the trainer said -4.5 then, and says another thing now that it has moved."""
    made = [replace(s, old_logp=np.where(s.mask, -4.5, 0).astype(np.float32)) for s in samples()]
    metrics = policy(tokens_per_microbatch=30).learn(made, Likelihood())
    assert metrics["sampling/sampling_logp_difference/mean"] == 0.5
    assert metrics["sampling/sampling_logp_difference/max"] == 0.5


def test_a_sampler_that_does_not_agree_stops_before_a_weight_moves() -> None:
    ours = LocalPolicy(tiny_model(dtype=torch.float64), Optimiser(), compute=torch.float64, mismatch_limit=0.1)
    before = [each.clone() for each in weights(ours)]
    made = [replace(s, old_logp=np.where(s.mask, -4.5, 0).astype(np.float32)) for s in samples()]
    with pytest.raises(Disagreement):
        ours.learn(made, Likelihood())
    assert all(map(torch.equal, weights(ours), before))
    assert ours.learn([replace(each, age=1) for each in made], Likelihood())["skipped_steps"] == 0


def test_recorded_text_has_no_sampling_metrics() -> None:
    made = [replace(s, logp=np.zeros_like(s.logp)) for s in samples()]
    assert not [name for name in policy().learn(made, Likelihood()) if name.startswith("sampling/")]


@pytest.mark.parametrize("compute", [torch.float64, torch.bfloat16])
def test_learning_raises_the_likelihood(compute: torch.dtype) -> None:
    made = [replace(s, advantage=s.mask.astype(np.float32)) for s in samples()]
    trained = policy(compute, learning_rate=1e-2)
    losses = [trained.learn(made, Likelihood())["loss"] for _ in range(12)]
    assert losses[-1] < 0.5 * losses[0]
    assert trained.step == 12


def test_bfloat16_masters_take_steps_too_small_for_bfloat16() -> None:
    trained = policy(torch.bfloat16, learning_rate=1e-6)
    before = [p.clone() for p in trained._policy.master.values()]
    trained.learn(samples(), Likelihood())
    assert all(p.dtype == torch.bfloat16 for p in trained.model.parameters())
    for old, new, working in zip(before, trained._policy.master.values(), trained.model.parameters(), strict=True):
        assert float((new - old).abs().max()) > 0
        assert working.equal(new.to(torch.bfloat16))


@pytest.mark.parametrize("compute", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("scale", [math.nan, math.inf])
def test_a_step_that_is_not_finite_is_skipped(compute: torch.dtype, scale: float, tmp_path: Path) -> None:
    made = samples()
    spoiled, clean = policy(compute, tokens_per_microbatch=30), policy(compute, tokens_per_microbatch=30)
    spoiled.learn(made, Likelihood())
    clean.learn(made, Likelihood())
    before = weights(spoiled)
    for _ in range(2):
        assert spoiled.learn(made, Likelihood(scale))["skipped_steps"] == 1.0
    assert spoiled.step == 1
    assert all(a.equal(b) for a, b in zip(before, weights(spoiled), strict=True))
    # The optimiser's state is untouched: the next good step is the one that would have come anyway.
    assert spoiled.learn(made, Likelihood())["skipped_steps"] == 0.0
    clean.learn(made, Likelihood())
    assert all(a.equal(b) for a, b in zip(weights(clean), weights(spoiled), strict=True))


def test_three_steps_in_a_row_that_are_not_finite_stop_the_run() -> None:
    trained = policy()
    trained.learn(samples(), Likelihood(math.nan))
    trained.learn(samples(), Likelihood(math.nan))
    with pytest.raises(NonFinite, match="3 steps"):
        trained.learn(samples(), Likelihood(math.nan))


def test_the_gradient_is_clipped_by_its_global_norm() -> None:
    """Plain AdamW over the clipped gradient of the same loss gives the same weights."""
    made = samples()
    trained = policy(clip_norm=1e-4)
    model = tiny_model()
    twin = LocalPolicy(model, Optimiser(), compute=torch.float64)
    adam = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    for _ in range(2):
        batch = collate(made)
        Likelihood().loss(twin.outputs(batch), batch).value.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-4)
        adam.step()
        adam.zero_grad()
        assert trained.learn(made, Likelihood())["grad_norm"] == pytest.approx(float(norm), rel=1e-6)
    for ours, theirs in zip(weights(trained), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs.detach(), rtol=0, atol=1e-7)


def test_the_rate_follows_the_schedule() -> None:
    trained = policy(warmup_steps=4)
    assert [trained.learn(samples(), Likelihood())["learning_rate"] for _ in range(2)] == [2.5e-4, 5e-4]


def test_annotate_keeps_order_and_takes_the_frozen_copy() -> None:
    made = samples()
    needs: frozenset[Need] = frozenset({"old_logp", "ref_logp"})
    trained = LocalPolicy(
        tiny_model(),
        Optimiser(learning_rate=1e-2, tokens_per_microbatch=30),
        compute=torch.float64,
        reference="copy",
    )
    first = trained.annotate(made, needs)
    trained.learn(made, Likelihood())
    second = trained.annotate(made[::-1], needs)[::-1]
    for before, after, plain in zip(first, second, made, strict=True):
        assert before.old_logp is not None
        assert before.ref_logp is not None
        assert after.old_logp is not None
        assert after.ref_logp is not None
        assert before.ids is plain.ids
        assert before.old_logp.shape == plain.ids.shape
        np.testing.assert_allclose(before.old_logp, before.ref_logp, atol=1e-6)
        np.testing.assert_allclose(before.ref_logp, after.ref_logp, atol=1e-6)
        assert np.abs(after.old_logp - before.old_logp).max() > 1e-4
        assert (before.old_logp[~plain.mask] == 0).all()
    assert all(p.grad is None for p in trained.model.parameters())


def test_a_reference_is_asked_for_before_it_is_needed() -> None:
    with pytest.raises(ValueError, match="reference"):
        policy().annotate(samples(), frozenset({"ref_logp"}))


def adapted(compute: torch.dtype) -> LocalPolicy:
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"], lora_dropout=0.0)
    model = get_peft_model(tiny_model(dtype=torch.float32), config)
    return LocalPolicy(model, Optimiser(learning_rate=1e-2), compute=compute, reference="adapter_base")


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
def test_adapters_learn_alone_and_their_base_is_the_reference(compute: torch.dtype, tmp_path: Path) -> None:
    made = [replace(s, advantage=s.mask.astype(np.float32)) for s in samples()]
    trained = adapted(compute)
    base = {n: p.detach().clone() for n, p in trained.model.named_parameters() if not p.requires_grad}
    needs: frozenset[Need] = frozenset({"old_logp", "ref_logp"})
    first = trained.annotate(made, needs)
    losses = [trained.learn(made, Likelihood())["loss"] for _ in range(8)]
    assert losses[-1] < losses[0]
    second = trained.annotate(made, needs)
    for before, after in zip(first, second, strict=True):
        np.testing.assert_array_equal(before.ref_logp, after.ref_logp)
        assert np.abs(after.old_logp - after.ref_logp).max() > 1e-3  # type: ignore[operator]
    for name, p in trained.model.named_parameters():
        assert p.requires_grad or p.equal(base[name])
    trained.save(tmp_path)
    other = adapted(compute)
    other.load(tmp_path)
    assert other.learn(made, Likelihood()) == trained.learn(made, Likelihood())


@pytest.mark.parametrize("compute", [torch.float64, torch.float32, torch.bfloat16])
def test_a_loaded_policy_goes_on_bit_for_bit(compute: torch.dtype, tmp_path: Path) -> None:
    made = samples()
    trained = policy(compute, warmup_steps=4)
    trained.learn(made, Likelihood())
    trained.learn(made, Likelihood(math.nan))
    trained.save(tmp_path)
    other = policy(compute, warmup_steps=4)
    other.load(tmp_path)
    assert other.step == trained.step == 1
    for _ in range(2):
        assert other.learn(made, Likelihood()) == trained.learn(made, Likelihood())
    assert all(a.equal(b) for a, b in zip(weights(other), weights(trained), strict=True))
    assert {p.name for p in tmp_path.iterdir()} == {"policy.safetensors", "optimiser.safetensors", "policy.json"}


def test_another_models_weights_are_refused(tmp_path: Path) -> None:
    adapted(torch.float32).save(tmp_path)
    with pytest.raises(ValueError, match="other parameters"):
        policy().load(tmp_path)


@dataclass(frozen=True)
class Valued(Likelihood):
    """The likelihood, and values and scores that are drawn to numbers of their own."""

    likelihood: float = 1.0
    squares: float = 1.0

    def forward(self, model: Model, batch: Batch) -> Outputs:
        return model(batch, frozenset({"logp", "value", "score"}))

    def loss(self, out: Outputs, batch: Batch) -> Loss:
        assert out.value_BT is not None
        assert out.score_B is not None
        squares = ((out.value_BT - batch.mask_BT * 0.5) ** 2).sum() + ((out.score_B + 1) ** 2).sum()
        return Loss(value=self.likelihood * super().loss(out, batch).value + self.squares * squares / 64)


def headed(heads: Heads, compute: torch.dtype = torch.float64, lora: bool = False, **settings: object) -> LocalPolicy:
    wide = torch.float64 if compute == torch.float64 else torch.float32
    optimiser = replace(Optimiser(learning_rate=1e-2, tokens_per_microbatch=40), **settings)  # type: ignore[arg-type]
    model = tiny_model(dtype=wide)
    if lora:
        torch.manual_seed(1)
        model = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"]))
    return LocalPolicy(model, optimiser, compute=compute, heads=heads)


VALUE: frozenset[Need] = frozenset({"old_value"})


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("heads", ["shared", "own"])
def test_a_loaded_head_goes_on_bit_for_bit(heads: Heads, compute: torch.dtype, lora: bool, tmp_path: Path) -> None:
    made = samples()
    trained = headed(heads, compute, lora)
    losses = [trained.learn(made, Valued())["loss"] for _ in range(4)]
    assert losses[-1] < losses[0]
    trained.save(tmp_path)
    written = [tensor for file in tmp_path.glob("*.safetensors") for tensor in load_file(file).values()]
    assert sum(tensor.nbytes for tensor in written) == pytest.approx(trained.saved_bytes, rel=0.01)
    other = headed(heads, compute, lora)
    other.load(tmp_path)
    for _ in range(2):
        assert other.learn(made, Valued()) == trained.learn(made, Valued())
    for ours, theirs in zip(other.annotate(made, VALUE), trained.annotate(made, VALUE), strict=True):
        np.testing.assert_array_equal(ours.value, theirs.value)
        assert ours.end_value == theirs.end_value != 0
    with pytest.raises(ValueError, match="other parameters"):
        headed("own" if heads == "shared" else "shared", compute, lora).load(tmp_path)


@pytest.mark.parametrize("heads", ["shared", "own"])
def test_annotated_values_are_the_models_own(heads: Heads) -> None:
    made, trained = samples(), headed(heads)
    for each in trained.annotate(made, VALUE):
        assert each.value is not None
        assert each.old_logp is None
        assert not each.value.any()
    trained.learn(made, Valued())
    batch = collate(made)
    out = trained.outputs(batch, frozenset({"logp", "value", "score"}))
    assert out.value_BT is not None
    assert out.score_B is not None
    annotated = trained.annotate(made, VALUE | {"old_logp"})
    for b, each in enumerate(annotated):
        assert each.value is not None
        assert each.old_logp is not None
        np.testing.assert_allclose(each.value, out.value_BT[b, : len(each.ids)].detach(), atol=1e-6)
        np.testing.assert_allclose(each.old_logp, out.logp_BT[b, : len(each.ids)].detach(), atol=1e-5)
        assert each.end_value == pytest.approx(float(out.score_B[b].detach()), abs=1e-6)
        assert (each.value[each.mask] != 0).all()
        assert (each.value[~each.mask] == 0).all()


def test_values_without_a_head_are_refused() -> None:
    with pytest.raises(ValueError, match="heads 'shared' or 'own'"):
        policy().annotate(samples(), VALUE)


def test_a_critic_of_its_own_leaves_the_policy_alone() -> None:
    made, alone = samples(), policy(learning_rate=1e-2, tokens_per_microbatch=40)
    trained = headed("own")
    for _ in range(3):
        expected, metrics = alone.learn(made, Likelihood()), trained.learn(made, Valued(squares=1e4))
        assert metrics["grad_norm"] == expected["grad_norm"]
        assert metrics["critic_grad_norm"] > 1
    assert all(a.equal(b) for a, b in zip(weights(alone), weights(trained), strict=True))
    shared = headed("shared")
    metrics = shared.learn(made, Valued(likelihood=0.0))
    assert "critic_grad_norm" not in metrics
    # The head starts at 0, so at first it learns alone; then its layers do.
    assert all(a.equal(b) for a, b in zip(weights(shared), weights(headed("shared")), strict=True))
    shared.learn(made, Valued(likelihood=0.0))
    assert not any(a.equal(b) for a, b in zip(weights(shared), weights(headed("shared")), strict=True) if a.ndim > 1)


def test_policy_and_critic_are_clipped_each_by_its_own_norm() -> None:
    """After one update AdamW's first moment is a tenth of the clipped gradient."""

    def moment(parts: Sequence[Trained]) -> float:
        moments = [part.adam.state[p]["exp_avg"] for part in parts for p in part.master.values()]
        return math.sqrt(sum(float((each.double() ** 2).sum()) for each in moments))

    own, shared = headed("own", clip_norm=1e-3), headed("shared", clip_norm=1e-3)
    metrics = own.learn(samples(), Valued())
    assert min(metrics["grad_norm"], metrics["critic_grad_norm"]) > 1e-3
    assert moment(own._parts[:1]) == pytest.approx(1e-4, rel=1e-3)
    assert moment(own._parts[1:]) == pytest.approx(1e-4, rel=1e-3)
    shared.learn(samples(), Valued())
    assert moment(shared._parts) == pytest.approx(1e-4, rel=1e-3)


def test_a_critic_has_its_own_learning_rate() -> None:
    made = samples()
    fast = headed("own", critic_learning_rate=0.5, warmup_steps=2)
    fast.learn(made, Valued())
    assert fast._critic is not None
    # AdamW's first step is the rate itself.
    assert fast._critic.head.bias.abs().item() == pytest.approx(0.25, rel=1e-3)
    assert fast.optimiser.critic_rate(5) == 0.5
    assert Optimiser(learning_rate=0.25).critic_rate(5) == 0.25


def test_weights_nobody_trains_are_held_once() -> None:
    trained = headed("own", torch.float32, lora=True)
    assert trained._critic is not None
    held = {p.data_ptr() for p in trained.model.parameters() if not p.requires_grad}
    for name, p in trained._critic.backbone.named_parameters():
        assert (p.data_ptr() in held) == ("lora_" not in name), name


def test_a_reward_model_becomes_the_critic() -> None:
    made, scorer = samples(), ScalarModel(tiny_model(seed=5), ScalarHead(32).double(), shift=0.75)
    torch.nn.init.normal_(scorer.head.weight)
    wanted = scorer.scores(made)
    trained = LocalPolicy(tiny_model(), Optimiser(), compute=torch.float64, heads="own", critic=scorer)
    np.testing.assert_allclose([each.end_value for each in trained.annotate(made, VALUE)], wanted, atol=1e-6)
    with pytest.raises(ValueError, match="'own' uses it"):
        LocalPolicy(tiny_model(), Optimiser(), compute=torch.float64, critic=scorer)


def test_a_head_on_the_policys_layers_is_saved_as_a_reward_model(tmp_path: Path) -> None:
    made, base = samples(), load_model(str(tiny_folder(tmp_path / "base")))
    trained = LocalPolicy(base.model, Optimiser(learning_rate=1e-2), compute=torch.bfloat16, heads="shared")
    for _ in range(3):
        trained.learn(made, Valued())
    with trained.full_precision() as model:
        folder = save_model(model, base.tokenizer, tmp_path / "rm").path
    trained.save_heads(folder)
    scores = load_scalar(folder, dtype=torch.bfloat16).scores(made)
    np.testing.assert_allclose(scores, [each.end_value for each in trained.annotate(made, VALUE)], atol=1e-6)
    assert np.ptp(scores) > 0
    policy().save_heads(tmp_path / "base")
    headed("own").save_heads(tmp_path / "base")
    assert not (tmp_path / "base" / "scalar_head.json").exists()


def test_nothing_to_learn_from_is_said() -> None:
    with pytest.raises(ValueError, match="no sample"):
        policy().learn([], Likelihood())


def test_probe_chooses_the_faster_type() -> None:
    probe = probe_bf16()
    assert probe.compute == (torch.bfloat16 if probe.bfloat16 > probe.float32 else torch.float32)
    assert min(probe.bfloat16, probe.float32) > 1e8


def test_the_reference_can_become_the_policy_and_is_kept_with_it(tmp_path: Path) -> None:
    made, needs = samples(), frozenset[Need]({"old_logp", "ref_logp"})

    def fresh() -> LocalPolicy:
        return LocalPolicy(tiny_model(), Optimiser(learning_rate=1e-2), compute=torch.float64, reference="copy")

    trained = fresh()
    trained.learn(made, Likelihood())
    trained.save(tmp_path / "before")
    assert not (tmp_path / "before" / "reference.safetensors").exists()
    trained.renew_reference()
    [now, *_] = trained.annotate(made, needs)
    np.testing.assert_array_equal(now.ref_logp, now.old_logp)
    trained.learn(made, Likelihood())
    trained.save(tmp_path / "after")
    resumed = fresh()
    resumed.load(tmp_path / "after")
    for mine, theirs in zip(trained.annotate(made, needs), resumed.annotate(made, needs), strict=True):
        np.testing.assert_array_equal(mine.ref_logp, theirs.ref_logp)
        assert mine.old_logp is not None
        assert mine.ref_logp is not None
        assert np.abs(mine.old_logp - mine.ref_logp).max() > 1e-4
    # A second checkpoint of the one that was resumed has it too.
    resumed.save(tmp_path / "again")
    assert (tmp_path / "again" / "reference.safetensors").exists()
