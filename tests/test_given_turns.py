"""What an engine reads of turns is what a plain forward pass says, whatever the model is made of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from conftest import tiny_model
from peft import LoraConfig, get_peft_model
from tiny_text import byte_level
from torch import Tensor, nn
from transformers import GraniteConfig, GraniteForCausalLM, PreTrainedModel

from togi.batch import collate
from togi.engines import given_turns as reading
from togi.engines.model_mixture import Mixture
from togi.engines.native import NativeEngine
from togi.models.packing import of_logits
from togi.models.projection import divergence_from_uniform, token_log_probs
from togi.types import Prompt, Reading, Sample, Sampling, Turn


class Letters:
    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        return " ".join(map(str, token_ids))


def turns() -> list[Turn]:
    """Turns that share a prompt, one that stands alone, one at another temperature, and one without a token."""
    dice = np.random.default_rng(0)

    def turn(prompt: int, length: int, temperature: float = 1.0) -> Turn:
        ids = tuple(int(i) for i in dice.integers(3, 61, length))
        return Turn(prompt=tuple(range(3, 3 + prompt)), completion=ids, text="", stop="eos", temperature=temperature)

    return [turn(5, 7), turn(5, 1), turn(9, 4, 0.5), turn(5, 0), turn(1, 12), turn(5, 7, 1.5)]


def expected(logits: list[Tensor], tokens: int) -> list[Reading]:
    """One reading a turn from the plain logits [T, V] of its whole sequence."""
    said = []
    for turn, logits_TV in zip(turns(), logits, strict=True):
        logp_TV = (logits_TV.double() / turn.temperature).log_softmax(-1)[len(turn.prompt) - 1 : -1]
        own = [float(row[token]) for row, token in zip(logp_TV, turn.completion, strict=True)]
        entropy = [-float((row.exp() * row).sum()) for row in logp_TV]
        certainty = [float((-math.log(tokens) - row[:tokens]).mean()) for row in logp_TV]
        said.append(Reading(logp=tuple(own), entropy=tuple(entropy), certainty=tuple(certainty)))
    return said


def plain_logits(model: nn.Module) -> list[Tensor]:
    with torch.no_grad():
        return [model(torch.tensor([turn.prompt + turn.completion])).logits[0] for turn in turns()]


def same(said: list[Reading], wanted: list[Reading], atol: float) -> None:
    for one, other in zip(said, wanted, strict=True):
        for name in ("logp", "entropy", "certainty"):
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=atol, err_msg=name)


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float64, 1e-9), (torch.float32, 2e-5)])
@pytest.mark.parametrize("budget", [reading.TOKENS, 8])
def test_a_reading_is_that_of_a_plain_forward(
    dtype: torch.dtype, atol: float, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "TOKENS", budget)
    model = tiny_model(dtype=dtype)
    model.train()
    same(NativeEngine(model, Letters(), frozenset()).read(turns()), expected(plain_logits(model), 61), atol)
    assert model.training


def test_it_reads_what_it_drew() -> None:
    engine = NativeEngine(tiny_model(), Letters(), frozenset({2}))
    prompts = [Prompt(ids=(5, 6, 7), seeds=(1, 2, 3)), Prompt(ids=(9,), seeds=(4,))]
    drawn = [turn for each in engine.generate(prompts, Sampling(max_tokens=9, temperature=0.8)) for turn in each]
    for turn, said in zip(drawn, engine.read(drawn), strict=True):
        np.testing.assert_allclose(said.logp, turn.logp, atol=1e-5)


def test_it_reads_the_current_weights() -> None:
    model = tiny_model()
    engine = NativeEngine(model, Letters(), frozenset())
    engine.read(turns())
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.1)
    same(engine.read(turns()), expected(plain_logits(model), 61), 1e-9)


def test_it_reads_through_adapters() -> None:
    adapted = get_peft_model(tiny_model(), LoraConfig(r=4, target_modules=["q_proj", "down_proj"])).double().eval()
    with torch.no_grad():
        for name, weight in adapted.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.3)
    same(NativeEngine(adapted, Letters(), frozenset()).read(turns()), expected(plain_logits(adapted), 61), 1e-6)
    with adapted.disable_adapter():
        bare = plain_logits(adapted)
    assert not torch.allclose(bare[0], plain_logits(adapted)[0])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_it_reads_a_mixture(share: float) -> None:
    model, other = tiny_model(), tiny_model(seed=1)
    mixed = [torch.lerp(a, b, share) for a, b in zip(plain_logits(model), plain_logits(other), strict=True)]
    same(NativeEngine(Mixture(model, other, share), Letters(), frozenset()).read(turns()), expected(mixed, 61), 1e-9)


def test_it_reads_a_model_that_cannot_be_packed() -> None:
    torch.manual_seed(0)
    config = GraniteConfig(
        vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, logits_scaling=3.0,
    )  # fmt: skip
    model = GraniteForCausalLM(config).double().eval()
    same(NativeEngine(model, Letters(), frozenset()).read(turns()), expected(plain_logits(model), 61), 1e-9)


def test_rows_beyond_the_tokenizer_have_no_part_in_the_certainty() -> None:
    tokenizer = byte_level()
    rounded: PreTrainedModel = tiny_model(len(tokenizer) + 7)
    said = NativeEngine(rounded, tokenizer, frozenset()).read(turns())
    same(said, expected(plain_logits(rounded), len(tokenizer)), 1e-9)
    with torch.no_grad():  # such rows may hold anything
        rounded.get_input_embeddings().weight[len(tokenizer) :] *= -40.0
    same(
        NativeEngine(rounded, tokenizer, frozenset()).read(turns()),
        expected(plain_logits(rounded), len(tokenizer)),
        1e-9,
    )


def test_tokens_that_cannot_come_have_no_part_in_the_certainty_and_the_entropy() -> None:
    ids = np.array([0, 1, 2])
    zeros = np.zeros(3, np.float32)
    one = Sample(ids=ids, mask=ids > 0, logp=zeros, reward=0, group=0, trajectory=0, task="", stop="eos")
    logits = torch.tensor([[[2.0, 0, -1, 0, -torch.inf], [0.0, 0, 0, 0, -torch.inf], [1.0, 0, 0, 0, 0]]]).double()
    out = of_logits(logits, collate([one]), reading.OUTPUTS)
    assert out.certainty_BT is not None
    assert out.entropy_BT is not None
    np.testing.assert_allclose(out.certainty_BT[0], [0, 0.641684, 0], atol=1e-6)
    np.testing.assert_allclose(out.entropy_BT[0], [0, 0.801056, math.log(4)], atol=1e-6)


def test_certainty_is_the_divergence_from_the_uniform_distribution() -> None:
    logits = torch.tensor([2.0, 0.0, -1.0, 0.0]).double()
    logp = logits.log_softmax(-1)
    assert float(divergence_from_uniform(logp)) == pytest.approx(0.641684, abs=1e-6)
    code = float(logits.logsumexp(-1) - logits.mean())
    assert code == pytest.approx(2.02798, abs=1e-5)
    assert float(divergence_from_uniform(logp)) == pytest.approx(code - math.log(4), abs=1e-12)
    _, entropy, certainty = token_log_probs(
        logits[None], torch.eye(4).double(), torch.tensor([0]), torch.tensor([1]), entropy=True, certainty=4
    )
    assert float(certainty) == pytest.approx(0.641684, abs=1e-6)
    assert float(entropy) == pytest.approx(0.801056, abs=1e-6)


def test_ids_outside_the_vocabulary_are_refused() -> None:
    engine = NativeEngine(tiny_model(), Letters(), frozenset())
    with pytest.raises(ValueError, match="vocabulary has 61 entries"):
        engine.read([Turn(prompt=(1,), completion=(61,), text="", stop="eos")])
