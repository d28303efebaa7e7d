"""GRPO written twice: ``recipes/from_scratch.py`` and togi give the same advantages, loss and gradient; it learns."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from togi import losses
from togi.advantages import group_mean_std, sequence_mean
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.batch import collate, samples
from togi.models.packing import PackedModel, padded_outputs
from togi.types import Batch, Group, Outputs, Sample, Score, Task, Trajectory, Turn

FILE = Path(__file__).parent.parent / "recipes" / "from_scratch.py"
EOS, BOS = 10, 11


@pytest.fixture(scope="module")
def scratch() -> ModuleType:
    spec = importlib.util.spec_from_file_location("from_scratch", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_imports_torch_and_nothing_of_togi() -> None:
    found = set()
    for node in ast.walk(ast.parse(FILE.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    assert found == {"copy", "torch", "transformers"}


def test_the_same_advantages(scratch: ModuleType) -> None:
    rewards = np.random.default_rng(0).choice([0.0, 0.1, 0.5, 1.0], size=(6, 4))
    rewards[2], rewards[4] = 0.3, [1.0, 0, 0, 1]
    want = group_mean_std(rewards.ravel(), np.repeat(np.arange(6), 4))
    got = scratch.advantages(torch.from_numpy(rewards).ravel(), 4)
    assert_allclose(got, want, rtol=1e-12, atol=1e-12)
    assert (got.view(6, 4)[2] == 0).all()


@pytest.mark.parametrize("kl", [0.0, 0.04])
def test_the_same_loss_of_log_probabilities(scratch: ModuleType, kl: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logp, old, ref = (torch.randn(6, 9, generator=generator, dtype=torch.float64) for _ in range(3))
    advantage = torch.randn(6, generator=generator, dtype=torch.float64)
    mask = torch.arange(9)[None] < torch.tensor([9, 3, 0, 1, 5, 7])[:, None]
    for x in (logp, old, ref):
        x[~mask] = torch.nan
    logp.requires_grad_()

    theirs = losses.ppo_clip(logp, old, advantage[:, None].expand(6, 9), mask, low=0.2, high=0.2)
    theirs = theirs + kl * losses.kl(logp, ref, mask, estimator="k3")
    weight = torch.from_numpy(sequence_mean(mask.sum(1).numpy()))
    want = losses.weighted_sum(theirs, weight, mask)
    got = scratch.grpo_loss(logp, old, advantage, mask, ref if kl else None, clip=0.2, kl=kl)
    assert_allclose(got.item(), want.item(), rtol=1e-12)
    assert_allclose(*(torch.autograd.grad(x, logp)[0] for x in (got, want)), rtol=1e-10, atol=1e-14)


REWARDS = [[1.0, 0.0, 0.5, 1.0], [0.0, 0.0, 0.0, 1.0], [0.3, 0.3, 0.3, 0.3]]


def _groups() -> list[Group]:
    """Three tasks of unequal length, four attempts each, of unequal length too."""
    rng = np.random.default_rng(0)
    groups = []
    for number, rewards in enumerate(REWARDS):
        prompt = tuple(rng.integers(3, 61, 3 + 2 * number).tolist())
        attempts = []
        for _ in rewards:
            completion = tuple(rng.integers(3, 61, rng.integers(1, 7)).tolist())
            turn = Turn(prompt=prompt, completion=completion, text="", stop="eos", logp=(-1.0,) * len(completion))
            attempts.append(Trajectory(turns=(turn,), stop="eos"))
        scores = tuple(Score(value=value) for value in rewards)
        groups.append(Group(task=Task(id=str(number), prompt=()), trajectories=tuple(attempts), scores=scores))
    return groups


def _noisy(sample: Sample, rng: np.random.Generator) -> Sample:
    """With log-probabilities of an older and of a reference policy, near enough that some tokens are clipped."""
    old, ref = (np.where(sample.mask, rng.normal(-4, 1.5, len(sample.ids)), 0).astype(np.float32) for _ in range(2))
    return replace(sample, old_logp=old, ref_logp=ref)


def _gradients(model: PreTrainedModel, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.parametrize("forward", ["padded", "packed"])
@pytest.mark.parametrize("kl", [0.0, 0.04])
def test_the_same_loss_and_gradient_through_all_of_togi(
    scratch: ModuleType, tiny: PreTrainedModel, forward: str, kl: float
) -> None:
    rng = np.random.default_rng(1)
    algorithm = GRPO(kl=kl)
    batch: Batch = collate([_noisy(sample, rng) for sample in algorithm.credit(samples(_groups()), {})])
    run: Callable[[Batch], Outputs] = PackedModel(tiny) if forward == "packed" else lambda b: padded_outputs(tiny, b)
    ours = algorithm.loss(run(batch), batch)
    assert 0 < ours.metrics["clip_ratio/region_mean"].total < ours.metrics["clip_ratio/region_mean"].count

    assert batch.old_logp_BT is not None
    assert batch.ref_logp_BT is not None
    loss = scratch.grpo_loss(
        scratch.token_logp(tiny, batch.ids_BT),
        batch.old_logp_BT.double(),
        scratch.advantages(torch.tensor(REWARDS, dtype=torch.float64).ravel(), 4),
        batch.mask_BT,
        batch.ref_logp_BT.double() if kl else None,
        clip=0.2,
        kl=kl,
    )
    # Samples carry advantages and weights in float32; everything else is in float64.
    assert_allclose(ours.value.item(), loss.item(), rtol=1e-5)
    for got, want in zip(_gradients(tiny, ours.value), _gradients(tiny, loss), strict=True):
        assert_allclose(got, want, rtol=1e-5, atol=1e-6 * want.abs().max().item())


# The toy of its main().


def _toy() -> PreTrainedModel:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=12,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=16,
    )
    return LlamaForCausalLM(config)


def test_it_trains_on_what_the_model_wrote_and_on_nothing_else(scratch: ModuleType) -> None:
    prompt = torch.tensor([BOS, 3])
    ids, mask = scratch.sample(_toy(), prompt, 64, 6, EOS)
    assert (ids[:, :2] == prompt).all()
    assert not mask[:, :2].any()
    for row, written in zip(ids[:, 2:].tolist(), mask[:, 2:].tolist(), strict=True):
        end = row.index(EOS) + 1 if EOS in row else len(row)
        assert written == [True] * end + [False] * (len(row) - end)
    assert int((~mask[:, 2:]).sum()) > 0
    assert len({tuple(row) for row in ids.tolist()}) > 32


@pytest.mark.parametrize(
    ("completion", "reward"), [([3, EOS], 1.0), ([3, 3], 0.5), ([3], 0.5), ([4, EOS], 0.0), ([EOS], 0.0), ([], 0.0)]
)
def test_the_toy_reward(scratch: ModuleType, completion: list[int], reward: float) -> None:
    assert scratch.echo_reward(completion, 3, EOS) == reward


def test_it_learns(scratch: ModuleType) -> None:
    prompts = torch.tensor([[BOS, digit] for digit in range(4)])
    lines: list[str] = []
    history = scratch.train(
        _toy(),
        prompts,
        lambda digit, completion: scratch.echo_reward(completion, digit, EOS),
        eos=EOS,
        steps=40,
        max_tokens=3,
        log=lines.append,
    )
    assert len(history) == 40
    assert len(lines) == 5
    assert np.mean(history[:5]) < 0.15
    assert np.mean(history[-5:]) > 0.4


@pytest.mark.slow
def test_its_main_shows_a_reward_that_rises(scratch: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    scratch.main()
    shown = capsys.readouterr().out
    rewards = [float(line.split()[3]) for line in shown.splitlines() if line.startswith("step")]
    assert rewards[0] < 0.15
    assert rewards[-1] > 0.7
    assert shown.count("stop") >= 7
