"""Draws follow the distribution they claim, and the stop strings are seen in any cut of the text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest

from togi.engines import token_sampling as module
from togi.engines.stop_strings import StopStrings, cut
from togi.engines.token_sampling import check_sampling, draw, uniform
from togi.types import Sampling

DRAWS = 20_000


def chances(count: int, seed: int = 5) -> np.ndarray:
    return uniform(np.full(count, seed, dtype=np.uint64), np.arange(count))


def truncated(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """The distribution by its definition, one token at a time, in descending order of probability."""
    p = (logits.double() / sampling.temperature).softmax(-1)
    order = p.argsort(descending=True).tolist()
    kept = order[: sampling.top_k] if sampling.top_k else order
    mass, nucleus, inside = sum(float(p[token]) for token in kept), [], 0.0
    for token in kept:
        if inside >= sampling.top_p * mass:
            break
        nucleus.append(token)
        inside += float(p[token])
    nucleus = [token for token in nucleus if p[token] >= sampling.min_p * p.max()]
    out = torch.zeros_like(p)
    out[nucleus] = p[nucleus] / p[nucleus].sum()
    return out


SETTINGS = [
    Sampling(),
    Sampling(temperature=0.6),
    Sampling(temperature=2.0),
    Sampling(top_k=5),
    Sampling(top_p=0.8),
    Sampling(min_p=0.2),
    Sampling(temperature=1.3, top_k=9, top_p=0.9),
    Sampling(temperature=0.8, top_p=0.95, min_p=0.1),
    Sampling(top_k=1),
    Sampling(top_k=7, min_p=0.3),
]


@pytest.mark.parametrize("vocabulary", [13, 700])
@pytest.mark.parametrize("sampling", SETTINGS, ids=str)
def test_frequencies_and_log_probabilities(sampling: Sampling, vocabulary: int) -> None:
    torch.manual_seed(vocabulary)
    logits = torch.randn(vocabulary) * 2
    want = truncated(logits, sampling)
    token_B, logp_B = draw(logits.expand(DRAWS, -1), chances(DRAWS), sampling)
    assert torch.allclose(logp_B.double(), want[token_B].log(), atol=1e-5)
    counts = torch.bincount(token_B, minlength=vocabulary)
    likely = want * DRAWS >= 5
    got = torch.cat([counts[likely], counts[~likely].sum()[None]]).double()
    expected = torch.cat([want[likely], want[~likely].sum()[None]]) * DRAWS
    got, expected = got[expected > 0], expected[expected > 0]
    if len(expected) > 1:
        assert chisquare(got, expected).pvalue > 1e-3
    else:
        assert got.tolist() == [DRAWS]


def test_a_nucleus_wider_than_the_first_sort() -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 5000) * 0.1
    logits[0, 3] = 20.0
    sampling = Sampling(top_p=0.9)
    token_B, logp_B = draw(logits, chances(4), sampling)
    for row, (token, logp) in enumerate(zip(token_B, logp_B, strict=True)):
        assert logp == pytest.approx(float(truncated(logits[row], sampling)[token].log()), abs=1e-4)
    assert token_B[0] == 3


def test_greedy_is_the_best_token_at_temperature_one() -> None:
    logits = torch.tensor([[0.1, 2.0, -1.0], [3.0, 0.0, 1.0]])
    token_B, logp_B = draw(logits, chances(2), Sampling(temperature=0, top_p=0.1, top_k=1))
    assert token_B.tolist() == [1, 0]
    assert torch.allclose(logp_B, logits.log_softmax(-1).amax(-1))


def test_the_ends_of_the_unit_interval_and_impossible_tokens() -> None:
    logits = torch.full((3, 1000), -torch.inf)
    logits[:, 300] = np.log(0.75)
    logits[:, 777] = np.log(0.25)
    ends = np.array([0.0, 1 - 2.0**-53, 0.8])
    for sampling in (Sampling(), Sampling(top_p=0.999999), Sampling(top_k=1000), Sampling(min_p=0.3)):
        token_B, logp_B = draw(logits, ends, sampling)
        assert token_B.tolist() == [300, 777, 777]
        assert torch.allclose(logp_B.exp(), torch.tensor([0.75, 0.25, 0.25]))


@pytest.mark.parametrize("sampling", [Sampling(), Sampling(top_p=0.5), Sampling(top_k=2), Sampling(temperature=0)])
def test_logits_that_are_not_finite_give_no_finite_log_probability(sampling: Sampling) -> None:
    logits = torch.zeros(3, 300)
    logits[0, 5], logits[1, 7] = torch.nan, torch.inf
    _, logp_B = draw(logits, chances(3), sampling)
    assert logp_B.isfinite().tolist() == [False, False, True]


@pytest.mark.parametrize("also", [{}, {"top_p": 0.9}, {"top_k": 3}, {"temperature": 2.0}])
def test_a_min_p_of_1_keeps_only_the_likeliest(also: dict[str, float]) -> None:
    logits = torch.tensor([0.0, 1.0, 0.999, -1.0]).expand(8, -1)
    token_B, logp_B = draw(logits, np.linspace(0, 0.999, 8), Sampling(min_p=1.0, **also))  # type: ignore[arg-type]
    assert token_B.tolist() == [1] * 8
    assert logp_B.tolist() == [0.0] * 8
    tied = draw(torch.tensor([1.0, 0.0, 1.0]).expand(8, -1), np.linspace(0, 0.999, 8), Sampling(min_p=1.0))
    assert tied[0].tolist() == [0] * 4 + [2] * 4


def splitmix(state: int) -> int:
    """The number that splitmix64 gives at a state, with its published constants."""
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


@pytest.mark.parametrize("seed", [0, 1, 2**63 + 12345])
def test_uniform_numbers_are_those_of_splitmix64(seed: int) -> None:
    assert splitmix(0) == 0xE220A8397B1DCDAF  # as published
    want = [(splitmix(splitmix(seed) + i * 0x9E3779B97F4A7C15) >> 11) / 2**53 for i in range(4)]
    assert uniform(np.full(4, seed, np.uint64), np.arange(4)).tolist() == want


def test_a_batch_is_drawn_in_blocks_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, sampling = torch.randn(7, 50, generator=torch.Generator().manual_seed(0)), Sampling(temperature=0.7)
    whole = draw(logits, chances(7), sampling)
    for size in (1, 50 * 4 * 3):
        monkeypatch.setattr(module, "_BLOCK_BYTES", size)
        for part, other in zip(draw(logits, chances(7), sampling), whole, strict=True):
            assert part.equal(other)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_a_nucleus_is_measured_at_the_temperature(temperature: float) -> None:
    """Of masses 1, 1/2, 1/4 the first two hold 6/7: a top_p just below keeps them, one just above the third too."""
    logits = torch.tensor([1.0, 0.5, 0.25]).log()[None] * temperature
    for top_p, last in ((6 / 7 - 1e-4, 1), (6 / 7 + 1e-4, 2), (4 / 7 - 1e-4, 0)):
        token_B, _ = draw(logits, np.array([1 - 2.0**-53]), Sampling(temperature=temperature, top_p=top_p))
        assert token_B.tolist() == [last]


def test_settings_at_their_bounds_are_taken() -> None:
    check_sampling(Sampling(max_tokens=0, temperature=0.0, top_p=1.0, top_k=0, min_p=0.0))
    check_sampling(Sampling(min_p=1.0))


def test_uniform_numbers() -> None:
    first = uniform(np.zeros(1, dtype=np.uint64), np.arange(3))
    assert first.tolist() == uniform(np.zeros(3, dtype=np.uint64), np.arange(3)).tolist()
    by_position = chances(50_000)
    by_seed = uniform(np.arange(50_000, dtype=np.uint64), np.full(50_000, 9))
    for numbers in (by_position, by_seed):
        assert 0 <= numbers.min() < numbers.max() < 1
        assert kstest(numbers, "uniform").pvalue > 1e-3
        assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 0.02
    assert abs(np.corrcoef(by_position, by_seed)[0, 1]) < 0.02
    assert len(np.unique(by_position)) == 50_000


@pytest.mark.parametrize(
    ("sampling", "name"),
    [
        (Sampling(max_tokens=-1), "max_tokens"),
        (Sampling(temperature=-0.1), "temperature"),
        (Sampling(temperature=float("nan")), "temperature"),
        (Sampling(temperature=float("inf")), "temperature"),
        (Sampling(top_p=0), "top_p"),
        (Sampling(top_p=1.1), "top_p"),
        (Sampling(top_k=-1), "top_k"),
        (Sampling(min_p=2), "min_p"),
        (Sampling(stop=("",)), "stop"),
    ],
)
def test_settings_that_mean_nothing_are_refused(sampling: Sampling, name: str) -> None:
    with pytest.raises(ValueError, match=rf"sampling\.{name} is"):
        check_sampling(sampling)


class Bytes:
    """A token is a byte of UTF-8."""

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        return bytes(token_ids).decode("utf-8", errors="replace")


class Pieces:
    """A token is a number of letters; token 9 is special."""

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        return "".join(["ab", "c", "\n\nQ", ":", "x"][token] for token in token_ids if token != 9)


@pytest.mark.parametrize(
    ("text", "stop", "seen"),
    [
        ("one two", ("two",), 7),
        ("où est-ce", ("est",), 7),
        ("a\n\nb", ("\n\n", "b"), 3),
        ("日本語。x", ("語。",), 12),
        ("é", ("é",), 2),
        ("nothing", ("else", "x"), None),
    ],
)
def test_stop_strings_over_bytes(text: str, stop: tuple[str, ...], seen: int | None) -> None:
    tokens = list(text.encode())
    watch = StopStrings(Bytes(), stop)
    found = [end for end in range(1, len(tokens) + 1) if watch.found(tokens[:end])]
    assert found[:1] == ([] if seen is None else [seen])


def test_stop_strings_over_pieces_and_across_special_tokens() -> None:
    watch = StopStrings(Pieces(), ("\nQ:",))
    tokens = [0, 1, 9, 2, 9, 3, 4]
    assert [watch.found(tokens[:end]) for end in range(1, 7)] == [False] * 5 + [True]
    broken = StopStrings(Bytes(), ("ab",))
    tokens = [0xFF] * 20 + list(b"xab")
    assert [end for end in range(1, 24) if broken.found(tokens[:end])] == [23]


def test_cut() -> None:
    assert cut("one two three", ("three", "two")) == "one "
    assert cut("one", ("two",)) == "one"
    assert cut("<answer>4</answer> so", ("</answer>",)) == "<answer>4</answer>"
    assert cut("<a>4</a>\nso", ("so", "</a>\n")) == "<a>4</a>\n"
    assert cut("x <answer>4", ("<answer>",)) == "x "
    assert cut("x\n```\ny", ("```",)) == "x\n"
