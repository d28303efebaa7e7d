"""AdamW on a few numbers, by hand: its moments, its decay, and gradients that are summed in full width."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from togi.models import optimiser as module
from togi.models.optimiser import Optimiser, Trained, clip, load_trained, save_trained


def trained(optimiser: Optimiser, compute: torch.dtype = torch.float64, **values: object) -> Trained:
    wide = torch.float64 if compute == torch.float64 else torch.float32
    return Trained(
        {n: nn.Parameter(torch.tensor(v, dtype=wide).to(compute)) for n, v in values.items()}, optimiser, compute
    )


def updated(part: Trained, name: str, *gradients: float, rate: float = 0.1) -> float:
    """The one number of a parameter after an update for each gradient."""
    for gradient in gradients:
        part.master[name].grad = torch.full_like(part.master[name], gradient)
        part.update(rate)
    return float(part.master[name].detach().reshape(-1)[0])


def test_moments_are_averaged_by_betas() -> None:
    """Gradients 1 and 0.5 with betas 0.5 and 0.8: m = 0.5, v = 0.36, over 1 - 0.5^2 and 1 - 0.8^2."""
    got = updated(trained(Optimiser(betas=(0.5, 0.8)), w=[0.0]), "w", 1.0, 0.5)
    assert got == pytest.approx(-0.1 - 0.1 * (0.5 / 0.75) / math.sqrt((0.8 * 0.2 + 0.2 * 0.25) / 0.36))


def test_a_matrix_decays_and_a_norm_does_not() -> None:
    """Without a gradient only the decay moves a weight, by rate times decay of itself."""
    part = trained(Optimiser(weight_decay=0.3), matrix=[[2.0]], norm=[2.0])
    assert updated(part, "matrix", 0.0) == pytest.approx(2 * (1 - 0.1 * 0.3))
    assert updated(part, "norm", 0.0) == 2.0
    assert updated(trained(Optimiser(), matrix=[[2.0]]), "matrix", 0.0) == 2.0


@pytest.mark.parametrize("piece", [1 << 18, 3])
def test_later_microbatches_are_added_in_full_width(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16, 1 + 2^-9 is 1: small parts would be lost one after the other."""
    monkeypatch.setattr(module, "_PIECE", piece)
    part = trained(Optimiser(), torch.bfloat16, w=[[0.0, 0.0], [0.0, 0.0]])
    part.accumulate()
    weight = torch.tensor([[1.0, 2.0], [4.0, 8.0]], dtype=torch.bfloat16)
    for scale in (1.0, 2**-9, 2**-9, 2**-9):
        (part.working["w"] * weight * scale).sum().backward()  # type: ignore[no-untyped-call]
    found = part.master["w"].grad
    assert found is not None
    assert found.dtype == torch.float32
    assert found.equal(weight.float() * (1 + 3 * 2**-9))
    assert part.working["w"].grad is None
    part.clear()
    (part.working["w"] * weight).sum().backward()  # type: ignore[no-untyped-call]
    assert part.master["w"].grad is not None
    assert part.master["w"].grad.equal(weight.float())


def grads(*parts: Trained) -> list[Tensor | None]:
    return [p.grad for part in parts for p in part.master.values()]


def test_parts_are_clipped_by_their_joint_norm() -> None:
    one, two = trained(Optimiser(), w=[0.0], idle=[0.0]), trained(Optimiser(), w=[[0.0]])
    one.master["w"].grad, two.master["w"].grad = torch.tensor([3.0]).double(), torch.tensor([[-4.0]]).double()
    norm = clip([one, two], 10.0)
    assert (type(norm), norm) == (float, 5.0)
    assert grads(one, two) == [3.0, None, -4.0]
    assert clip([one, two], 0.5) == 5.0
    assert [None if g is None else pytest.approx(float(g), rel=1e-5) for g in grads(one, two)] == [0.3, None, -0.4]
    one.master["w"].grad = torch.tensor([math.inf]).double()
    assert clip([one, two], 0.5) == math.inf
    assert two.master["w"].grad == pytest.approx(-0.4, rel=1e-5)


def test_an_update_gives_the_rate_and_the_betas_that_were_asked_for() -> None:
    part = trained(
        Optimiser(learning_rate=0.25, warmup_steps=5, betas=(0.7, 0.9), weight_decay=0.2), m=[[1.0]], n=[1.0]
    )
    assert [group["lr"] for group in part.adam.param_groups] == [0.05, 0.05]
    assert [group["betas"] for group in part.adam.param_groups] == [(0.7, 0.9)] * 2
    assert [group["weight_decay"] for group in part.adam.param_groups] == [0.2, 0.0]
    part.update(0.125)
    assert [group["lr"] for group in part.adam.param_groups] == [0.125, 0.125]


def test_schedules() -> None:
    flat = Optimiser(learning_rate=1.0, warmup_steps=2)
    assert [flat.rate(step) for step in range(4)] == [0.5, 1.0, 1.0, 1.0]
    line = Optimiser(learning_rate=1.0, warmup_steps=2, schedule="linear", total_steps=6)
    assert [line.rate(step) for step in range(8)] == [0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0, 0.0]
    cosine = Optimiser(learning_rate=1.0, schedule="cosine", total_steps=4)
    assert [cosine.rate(step) for step in range(5)] == pytest.approx([1.0, 0.853553, 0.5, 0.146447, 0.0], abs=1e-6)
    assert Optimiser(learning_rate=1.0, warmup_steps=3, schedule="linear", total_steps=3).rate(3) == 1.0


def test_what_was_saved_is_taken_up_to_the_bit(tmp_path: Path) -> None:
    one, other = (trained(Optimiser(), torch.bfloat16, w=[[value]], b=[value]) for value in (1.0, 5.0))
    updated(one, "w", 1.0, 0.3)
    save_trained([one], tmp_path)
    load_trained([other], tmp_path)
    for name in ("w", "b"):
        ours, theirs = other.master[name], one.master[name]
        assert ours.equal(theirs)
        assert other.working[name].equal(one.working[name])
        state, saved = other.adam.state[ours], one.adam.state[theirs]
        assert all(state[key].equal(saved[key]) for key in ("step", "exp_avg", "exp_avg_sq"))
    assert other.adam.state[other.master["w"]]["step"] == 2
    with pytest.raises(ValueError, match="other parameters than this model, for example c"):
        load_trained([trained(Optimiser(), w=[[1.0]], b=[1.0], c=[1.0])], tmp_path)
