"""Scalar heads: scores do not depend on batching, files hold them exactly, and what does not fit is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_text import byte_level, tiny_folder

from togi.models.load_model import Lora, ModelError, load_model
from togi.models.save_model import save_model
from togi.models.scalar_heads import ScalarHead, ScalarModel, load_scalar, save_head, tokenizer_digest
from togi.types import Sample


def sample(ids: list[int]) -> Sample:
    zeros = np.zeros(len(ids), np.float32)
    return Sample(
        ids=np.asarray(ids), mask=np.arange(len(ids)) > 1, logp=zeros, reward=0.0, group=0, trajectory=0, task="t",
        stop="eos",
    )  # fmt: skip


ROWS = [[1, 5, 80, 299, 7], [1, 5, 80, 298], [3, 3, 8, 100, 398], [1, 5, 80, 299, 7], [9]]


def filled(width: int) -> ScalarHead:
    head = ScalarHead(width)
    torch.manual_seed(2)
    for p in head.parameters():
        p.data.normal_()
    return head


def reward_model(folder: Path, shift: float = 0.0) -> Path:
    tiny_folder(folder)
    width = load_model(str(folder)).model.config.hidden_size
    save_head(filled(width), folder, shift=shift)
    return folder


def test_a_head_says_nothing_at_first() -> None:
    assert not ScalarHead(4)(torch.randn(3, 4)).any()


def test_scores_are_those_of_each_sample_alone_less_the_shift(tmp_path: Path) -> None:
    model = load_scalar(reward_model(tmp_path / "rm", shift=0.5))
    together = model.scores([sample(row) for row in ROWS])
    alone = [model.scores([sample(row)])[0] for row in ROWS]
    cut = model.scores([sample(row) for row in ROWS], budget=1)
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(together, cut, atol=1e-5)
    assert together.dtype == np.float64
    assert together[0] == together[3]
    states = load_model(str(tmp_path / "rm")).model.model(input_ids=torch.tensor([ROWS[0]])).last_hidden_state[0, -1]
    assert together[0] == pytest.approx(float(filled(len(states))(states).detach()) - 0.5, abs=1e-5)
    assert not model.training
    assert model.scores([]).shape == (0,)


def test_a_run_folder_gives_its_newest_reward_model(tmp_path: Path) -> None:
    reward_model(tmp_path / "models" / "rm")
    tiny_folder(tmp_path / "models" / "later_policy")
    assert load_scalar(tmp_path).scores([sample(ROWS[0])])[0] != 0


def test_bfloat16_layers_have_a_float32_head(tmp_path: Path) -> None:
    folder = reward_model(tmp_path / "rm")
    wide, narrow = load_scalar(folder), load_scalar(folder, dtype=torch.bfloat16)
    assert {p.dtype for p in narrow.backbone.parameters()} == {torch.bfloat16}
    assert narrow.head.weight.dtype == torch.float32
    rows = [sample(row) for row in ROWS]
    np.testing.assert_allclose(narrow.scores(rows), wide.scores(rows), atol=0.5)


def test_a_reward_model_may_be_an_adapter(tmp_path: Path) -> None:
    base = tiny_folder(tmp_path / "base")
    loaded = load_model(str(base), lora=Lora(rank=2, alpha=4))
    torch.manual_seed(1)
    for name, p in loaded.model.named_parameters():
        if "lora_B" in name:
            p.data.normal_(0, 0.3)
    folder = save_model(loaded.model, loaded.tokenizer, tmp_path / "rm").path
    head = filled(loaded.model.config.hidden_size)
    save_head(head, folder)
    rows = [sample(row) for row in ROWS]
    np.testing.assert_array_equal(load_scalar(folder).scores(rows), ScalarModel(loaded.model, head).scores(rows))
    save_head(head, base)
    assert np.abs(load_scalar(folder).scores(rows) - load_scalar(base).scores(rows)).max() > 1e-3


def test_a_model_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    model = load_scalar(reward_model(tmp_path / "rm"))
    tokenizer = load_model(str(tmp_path / "rm")).tokenizer
    model.check_tokenizer(tokenizer)
    other = byte_level()
    other.add_tokens(["<new>"])
    assert tokenizer_digest(other) != tokenizer_digest(tokenizer)
    with pytest.raises(ModelError, match="another tokenizer"):
        model.check_tokenizer(other)


def test_what_is_no_reward_model_is_said(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "lm")
    with pytest.raises(ModelError, match=r"has no scalar_head.safetensors.*algorithm 'reward_model'"):
        load_scalar(folder)
    with pytest.raises(ModelError, match="has no scalar_head"):
        load_scalar(tmp_path / "nowhere")
    save_head(ScalarHead(3), folder)
    with pytest.raises(ModelError, match="reads 3 numbers, its model gives"):
        load_scalar(folder)
    (folder / "scalar_head.json").write_text(json.dumps({"hidden_size": 4, "shift": 0.0}))
    with pytest.raises(ModelError, match="is damaged"):
        load_scalar(folder)
    with pytest.raises(ModelError, match="could not be written"):
        save_head(ScalarHead(3), tmp_path / "nowhere")
