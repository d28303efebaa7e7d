"""Draws tokens from logits and says how probable each draw was; knows no model, no sequence and no generator state.

Randomness is counter-based: the uniform number of a draw is a hash of (seed, position), so that a rollout depends
neither on its neighbours nor on the order of the batch. Axes: B rows, V vocabulary, K candidates, C chunks.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from togi.types import Sampling

_CHUNK = 256  # about the square root of a vocabulary: the search costs V/_CHUNK + _CHUNK after one pass over V
_BLOCK_BYTES = 1 << 22  # rows taken together: enough to pay for the calls, few enough to stay in a cache
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def check_sampling(sampling: Sampling) -> None:
    """Raise ValueError for a setting that describes no distribution."""
    for name, got, good, want in (
        ("max_tokens", sampling.max_tokens, sampling.max_tokens >= 0, "0 or more"),
        ("temperature", sampling.temperature, 0 <= sampling.temperature < float("inf"), "finite and 0 or more"),
        ("top_p", sampling.top_p, 0 < sampling.top_p <= 1, "above 0 and at most 1 (1 keeps every token)"),
        ("top_k", sampling.top_k, sampling.top_k >= 0, "0 (keep every token) or more"),
        ("min_p", sampling.min_p, 0 <= sampling.min_p <= 1, "between 0 (keep every token) and 1"),
        ("stop", sampling.stop, "" not in sampling.stop, "free of empty strings"),
    ):
        if not good:
            raise ValueError(f"sampling.{name} is {got!r}; it must be {want}")


def check_drawn(logp_B: torch.Tensor) -> None:
    """Raise ValueError for draws from a distribution that is none."""
    if not bool(torch.isfinite(logp_B).all()):
        raise ValueError(
            "the model's outputs are not finite numbers, so nothing can be drawn from them; its weights have probably "
            "diverged: go back to an earlier checkpoint and lower the learning rate"
        )


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output function of splitmix64 (Steele, Lea and Flood, 2014): a bijection that scatters neighbours."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def uniform(seed_B: NDArray[np.uint64], position_B: NDArray[np.int64]) -> NDArray[np.float64]:
    """Numbers in [0, 1) with 53 random bits, [B]: draw number ``position`` of the splitmix64 stream of each seed."""
    state = _mix(seed_B + _GOLDEN) + (position_B.astype(np.uint64) + np.uint64(1)) * _GOLDEN
    return (_mix(state) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def draw(
    logits_BV: torch.Tensor, uniform_B: NDArray[np.float64], sampling: Sampling
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token a row by inverting the cumulative distribution: tokens [B] int64 and log-probabilities [B].

    The distribution is softmax(logits / temperature), cut to the ``top_k`` likeliest tokens, then to the smallest set
    that holds ``top_p`` of the mass left, then to tokens with at least ``min_p`` of the likeliest one's probability,
    and renormalised: the log-probability is of that distribution. Temperature 0 takes the likeliest token and gives
    its log-probability at temperature 1, uncut. Computed in float32, or wider where the logits are. A row whose
    logits hold nan or +inf gives a log-probability that is not finite.
    """
    if logits_BV.device.type == "mps":  # which has no float64
        logits_BV = logits_BV.cpu()
    rows, vocabulary = logits_BV.shape
    dtype = torch.promote_types(logits_BV.dtype, torch.float32)
    block = max(1, _BLOCK_BYTES // (vocabulary * dtype.itemsize)) if logits_BV.device.type == "cpu" else rows
    target_B = torch.from_numpy(uniform_B).to(logits_BV.device)
    tokens, logps = [], []
    for start in range(0, rows, block):
        scores_BV = logits_BV[start : start + block].to(dtype)
        token_B, logp_B = _draw_block(scores_BV, target_B[start : start + block], sampling)
        tokens.append(token_B)
        logps.append(logp_B)
    return torch.cat(tokens), torch.cat(logps)


def _draw_block(
    scores_BV: torch.Tensor, uniform_B: torch.Tensor, sampling: Sampling
) -> tuple[torch.Tensor, torch.Tensor]:
    if sampling.temperature == 0:
        best_B, token_B = scores_BV.max(-1)
        return token_B, best_B - scores_BV.logsumexp(-1)
    if sampling.top_k or sampling.top_p < 1:
        return _draw_candidates(scores_BV, uniform_B, sampling)
    best_B1 = scores_BV.amax(-1, keepdim=True)
    rows, vocabulary = scores_BV.shape
    chunks = -(-vocabulary // _CHUNK)
    mass_BV = scores_BV.new_empty(rows, chunks * _CHUNK)
    mass_BV[:, vocabulary:] = 0
    body_BV = mass_BV[:, :vocabulary]
    torch.sub(scores_BV, best_B1, out=body_BV)
    if sampling.temperature != 1:
        body_BV.div_(sampling.temperature)
    body_BV.exp_()
    if sampling.min_p:
        body_BV.masked_fill_(body_BV < sampling.min_p, 0)
    return _invert(mass_BV.view(rows, chunks, _CHUNK), uniform_B)


def _invert(mass_BCc: torch.Tensor, uniform_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two searches: the chunk that holds ``uniform`` of the total mass, then the token within it."""
    rows = torch.arange(len(mass_BCc), device=mass_BCc.device)
    reach_BC = mass_BCc.sum(-1, dtype=torch.float64 if mass_BCc.dtype == torch.float64 else None).double().cumsum(-1)
    total_B = reach_BC[:, -1]
    chunk_B, before_B = _search(reach_BC, uniform_B * total_B)
    inside_Bc = mass_BCc[rows, chunk_B]
    # The chunk's own float64 sum may differ in the last bits from the sum the first search used; the search clamps.
    reach_Bc = inside_Bc.double().cumsum(-1)
    within_B, _ = _search(reach_Bc, uniform_B * total_B - before_B)
    logp_B = inside_Bc[rows, within_B].double().log() - total_B.log()
    return chunk_B * mass_BCc.shape[-1] + within_B, logp_B.to(mass_BCc.dtype)


def _search(reach_BK: torch.Tensor, target_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The first entry whose cumulative mass exceeds the target, [B], and the mass before it: never an empty entry."""
    total_B1 = reach_BK[:, -1:]
    highest_B1 = torch.nextafter(total_B1, torch.zeros_like(total_B1))
    index_B1 = torch.searchsorted(reach_BK, torch.minimum(target_B[:, None].clamp(min=0), highest_B1), right=True)
    index_B1 = index_B1.clamp(max=reach_BK.shape[-1] - 1)  # only where the mass is nan
    before_B1 = torch.where(index_B1 > 0, reach_BK.gather(1, (index_B1 - 1).clamp(min=0)), 0.0)
    return index_B1[:, 0], before_B1[:, 0]


def _draw_candidates(
    scores_BV: torch.Tensor, uniform_B: torch.Tensor, sampling: Sampling, width: int = _CHUNK
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw among the likeliest tokens only; a row whose nucleus needs more than ``width`` of them is sorted deeper."""
    most = min(sampling.top_k or scores_BV.shape[-1], scores_BV.shape[-1])
    width = most if sampling.top_k else min(width, most)
    score_BK, index_BK = scores_BV.topk(width)
    best_B1 = score_BK[:, :1]
    mass_BK = ((score_BK - best_B1) / sampling.temperature).exp().double()
    reach_BK = mass_BK.cumsum(-1)
    kept_BK = mass_BK >= sampling.min_p
    if sampling.top_p < 1:
        if sampling.top_k:
            total_B1 = reach_BK[:, -1:]
        else:
            total_B1 = ((scores_BV - best_B1) / sampling.temperature).exp_().sum(-1, keepdim=True).double()
        nucleus_BK = reach_BK - mass_BK < sampling.top_p * total_B1
        kept_BK &= nucleus_BK
    mass_BK = torch.where(kept_BK, mass_BK, 0.0)
    reach_BK = mass_BK.cumsum(-1)
    choice_B1 = _search(reach_BK, uniform_B * reach_BK[:, -1])[0][:, None]
    logp_B = (mass_BK.gather(1, choice_B1)[:, 0].log() - reach_BK[:, -1].log()).to(scores_BV.dtype)
    token_B = index_BK.gather(1, choice_B1)[:, 0]
    if width < most:
        deeper_B = nucleus_BK[:, -1].nonzero()[:, 0]
        if len(deeper_B):
            token_B[deeper_B], logp_B[deeper_B] = _draw_candidates(
                scores_BV[deeper_B], uniform_B[deeper_B], sampling, 16 * width
            )
    return token_B, logp_B
