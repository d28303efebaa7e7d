"""vLLM itself as an engine, on a processor: after each update it draws from the weights that are here, or says why not.

``TOGI_VLLM_PYTHON`` names the Python of an environment that has vLLM.
"""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ahead_run import STEPS, ahead_run
from tiny_text import byte_level
from transformers import LlamaConfig, LlamaForCausalLM

from togi.engines.completions_server import CompletionsServer
from togi.engines.engine_choice import EngineChoice, WithVLLM
from togi.engines.engine_process import EngineProcess
from togi.engines.native import NativeEngine
from togi.engines.server_weights import ServerWeights
from togi.engines.vllm_program import vllm_program
from togi.launch.local import LocalLauncher
from togi.models.load_model import Loaded, Lora, load_model
from togi.models.lora_and_optimiser import Optimiser
from togi.run import Silent
from togi.run_folder.files import read_lines
from togi.run_folder.integrity import check
from togi.train import train
from togi.types import Prompt, Sampling, Turn

PYTHON = os.environ.get("TOGI_VLLM_PYTHON", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not PYTHON, reason="TOGI_VLLM_PYTHON names no Python that has vLLM"),
]
PROMPTS = [(5, 6, 7), (9, 8), tuple(range(20, 60))]
ALIKE = 1e-3
"""Nats a token that float32 may differ by."""


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model as small as vLLM's attention on a processor takes."""
    path = tmp_path_factory.mktemp("model") / "small"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=128,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        tie_word_embeddings=request.param,
        attention_bias=not request.param,
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(path)
    byte_level().save_pretrained(path)
    return path


@pytest.fixture(scope="module", params=[None, Lora(rank=4)], ids=["whole", "adapter"])
def begun(
    request: pytest.FixtureRequest, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Loaded, EngineProcess, Path]]:
    loaded, work = load_model(str(folder), lora=request.param), tmp_path_factory.mktemp("work")
    program = vllm_program(loaded, WithVLLM(python=Path(PYTHON)), work, side_by_side=8)
    process = EngineProcess(0, program, LocalLauncher(), work / "vllm.log", seconds=120.0)
    try:
        process.begin()
        yield loaded, process, work
    finally:
        process.end(10.0)


def moved(loaded: Loaded) -> None:
    with torch.no_grad():
        for weight in loaded.model.parameters():
            if weight.requires_grad:
                weight += 0.3 * torch.randn(weight.shape, generator=torch.manual_seed(1)) * weight.std().clamp(min=0.1)


def furthest(loaded: Loaded, server: CompletionsServer, name: str, sampling: Sampling) -> float:
    """How far the log-probabilities of what a server draws are from those that the weights here give, at most."""
    here, worst = NativeEngine(loaded.model, loaded.tokenizer, loaded.eos_ids), 0.0
    for seed, ids in enumerate(PROMPTS):
        drawn = server.complete(name, ids, seed=seed, limit=12, sampling=sampling, ends=())
        turn = Turn(
            prompt=ids, completion=drawn.ids, text="", stop="length", logp=drawn.logp, temperature=sampling.temperature
        )
        worst = max(worst, *(abs(a - b) for a, b in zip(drawn.logp, here.read([turn])[0].logp, strict=True)))
    return worst


def test_after_each_update_it_draws_from_the_weights_that_are_here(
    begun: tuple[Loaded, EngineProcess, Path],
) -> None:
    loaded, process, work = begun
    weights = ServerWeights(base="base", folder=work / "weights", whole=True)
    plain = Sampling(max_tokens=12, ignore_eos=True)
    for version in range(3):
        weights.write(loaded, version)
        weights.give(process.server)
        assert furthest(loaded, process.server, weights.name, plain) < ALIKE
        assert furthest(loaded, process.server, weights.name, Sampling(max_tokens=12, temperature=0.6)) < ALIKE
        moved(loaded)
    assert furthest(loaded, process.server, weights.name, plain) > 10 * ALIKE  # which this would see


def test_a_prompt_it_has_seen_is_read_anew_with_new_weights(begun: tuple[Loaded, EngineProcess, Path]) -> None:
    loaded, process, work = begun
    weights = ServerWeights(base="base", folder=work / "again", whole=True)
    long = Prompt(ids=tuple(3 + each % 300 for each in range(200)), seeds=(0,))
    sampling = Sampling(max_tokens=4, ignore_eos=True)
    said = []
    for version in range(2):
        weights.write(loaded, version)
        weights.give(process.server)
        drawn = [
            process.server.complete(weights.name, long.ids, seed=0, limit=4, sampling=sampling, ends=())
            for _ in range(2)  # the second from the cache
        ]
        here = NativeEngine(loaded.model, loaded.tokenizer, loaded.eos_ids)
        for each in drawn:
            [read] = here.read([Turn(prompt=long.ids, completion=each.ids, text="", stop="length")])
            assert each.logp == pytest.approx(read.logp, abs=ALIKE)
        said.append(drawn[0].logp)
        moved(loaded)
    assert said[0] != said[1]


def test_only_who_has_the_key_changes_weights(begun: tuple[Loaded, EngineProcess, Path]) -> None:
    _, process, _ = begun
    for path in ("/v1/load_weights", "/v1/load_lora_adapter", "/v1/completions", "/invocations", "/collective_rpc"):
        assert asked_without_a_key(process, path) == 401


def asked_without_a_key(process: EngineProcess, path: str) -> int:
    connection = http.client.HTTPConnection(*process._address, timeout=30)
    try:
        connection.request("POST", path, b"{}", {"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_a_torn_file_is_refused_and_the_weights_stay(begun: tuple[Loaded, EngineProcess, Path]) -> None:
    loaded, process, work = begun
    weights = ServerWeights(base="base", folder=work / "torn", whole=True)
    weights.write(loaded, 0)
    weights.give(process.server)
    if weights.now.adapter:
        pytest.skip("adapters are folders that appear whole")
    torn = work / "torn.safetensors"
    assert weights.now.file is not None
    torn.write_bytes(weights.now.file.read_bytes()[:-7])
    with pytest.raises(ValueError, match="is not the one that was written"):
        process.server.load_weights("togi-torn", str(torn), weights.now.checksum)
    assert furthest(loaded, process.server, weights.name, Sampling(max_tokens=12, ignore_eos=True)) < ALIKE


@pytest.mark.parametrize("lora", [None, Lora(rank=4)], ids=["whole", "adapter"])
def test_a_run_samples_ahead_with_it(folder: Path, tmp_path: Path, lora: Lora | None) -> None:
    run = ahead_run(tmp_path / "run", folder, "", staleness=1)
    vllm = EngineChoice(batch_size=8, vllm=WithVLLM(python=Path(PYTHON)))
    small_steps = replace(run.stages[0], optimiser=Optimiser(learning_rate=1e-4))
    train(replace(run, engine=vllm, model=replace(run.model, lora=lora), stages=(small_steps,)), Silent())
    rows = read_lines(tmp_path / "run" / "metrics.jsonl")
    assert len(rows) == STEPS
    assert max(row["staleness/max"] for row in rows) == 1
    # By weights that a step has changed a little tokens are about as likely, and by others they are not.
    assert all(row.get("sampling/stale_logp_difference/mean", 0.0) < 0.3 for row in rows)
    assert not check(tmp_path / "run").faults
