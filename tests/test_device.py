"""Where models compute: devices by name, and no tensor anywhere else than on the model's own device."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pretend_device import PRETEND, pretending
from tiny_text import tiny_folder
from toy_run import WORDS, SaysIt, first_stage, tasks, toy_run

from togi import stage_state
from togi.algorithms import GRPO, PPO, PRIME, SFT, NashMD
from togi.models import device as devices
from togi.models.device import find_device, memory_of, peak_memory, random_state, restore_random_state
from togi.models.load_model import Lora, load_model
from togi.models.policy import Optimiser
from togi.protocols import Algorithm
from togi.recipe.errors import RecipeError
from togi.recipe.needed_at_start import check_start
from togi.run import ModelChoice
from togi.run_folder.manifest import changes_between
from togi.samplers import Groups
from togi.stage_state import Workshop

STAGE = replace(first_stage(steps=1, optimiser=Optimiser(learning_rate=1e-2)), tasks_per_step=2)
PAID = replace(STAGE, reward=SaysIt())
MIXED = replace(PAID, mix=tasks(WORDS[:5]), mix_per_step=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model"))


def one_step(
    model: Path, stage: stage_state.Stage, lora: Lora | None, where: torch.device
) -> list[Mapping[str, float]]:
    """Sample, annotate, credit and learn, and what each update says of it."""
    torch.manual_seed(0)
    loaded = load_model(str(model), lora=lora)
    choice = ModelChoice(source=str(model), device="cpu", lora=lora)
    run = replace(toy_run(model, model), stages=(stage,), model=choice)
    with pretending():
        loaded.model.to(where).tie_weights()
        work = Workshop(run, 0, loaded, torch.float32)
        groups = stage.algorithm.sampler(work.stream, stage.tasks_per_step, work.play)
        samples = stage.algorithm.credit(work.annotate([*groups, *work.mixed_in()]), work.memory)
        return [work.policy.learn(part, stage.algorithm) for part in work.updates(samples, 0)]


@pytest.mark.parametrize(
    ("algorithm", "stage", "lora"),
    [
        pytest.param(SFT(), STAGE, None, marks=pytest.mark.slow),
        (GRPO(sampler=Groups(2), kl=0.01), replace(PAID, minibatches=2), None),
        pytest.param(GRPO(sampler=Groups(2), kl=0.01), PAID, Lora(rank=2), marks=pytest.mark.slow),
        pytest.param(PPO(critic="own", ptx=0.5), MIXED, None, marks=pytest.mark.slow),
        pytest.param(PPO(critic="shared"), PAID, None, marks=pytest.mark.slow),
        pytest.param(PRIME(sampler=Groups(2)), PAID, None, marks=pytest.mark.slow),
        pytest.param(NashMD(), PAID, None, marks=pytest.mark.slow),
    ],
)
def test_no_tensor_is_elsewhere(
    algorithm: Algorithm, stage: stage_state.Stage, lora: Lora | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage_state, "random_state", lambda _: {})  # the device has no generator
    if lora is not None:
        pytest.importorskip("peft")
    stage = replace(stage, algorithm=algorithm)
    there, here = (one_step(folder, stage, lora, where) for where in (PRETEND, torch.device("cpu")))
    assert there == here


def test_a_tensor_elsewhere_is_seen() -> None:
    with pretending():
        there, here = torch.ones(3, device=PRETEND), torch.ones(3)
        for wrong in (
            lambda: there + here,
            lambda: there.index_select(0, torch.arange(2)),
            lambda: torch.where(here > 0, there, 0.0),
            lambda: torch.cat([there, here]),
            lambda: there.addcmul_(here, there),
        ):
            with pytest.raises(AssertionError, match="two devices"):
                wrong()
        with pytest.raises(RuntimeError, match="not supported"):
            there.numpy()
        assert (there + torch.tensor(1.0) + 1).cpu().tolist() == [3.0, 3.0, 3.0]
        assert torch.tensor([1, 2], device=PRETEND).device == there.to("cpu").to(PRETEND).device == PRETEND


def see(monkeypatch: pytest.MonkeyPatch, kind: str | None, count: int = 1) -> None:
    """Let torch see so many accelerators of a kind."""
    found = None if kind is None else torch.device(kind)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available=False: found)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("kind", "count", "name", "wanted"),
    [
        (None, 0, "auto", "cpu"),
        (None, 0, "cpu", "cpu"),
        ("cuda", 2, "auto", "cuda:0"),
        ("cuda", 2, "cuda", "cuda:0"),
        ("cuda", 2, "cuda:1", "cuda:1"),
        ("cuda", 2, "cpu", "cpu"),
        ("xpu", 1, "xpu", "xpu:0"),
        ("mps", 1, "auto", "mps"),
        ("mps", 1, "mps", "mps"),
    ],
)
def test_a_device_by_its_name(
    kind: str | None, count: int, name: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    see(monkeypatch, kind, count)
    assert find_device(name) == torch.device(wanted)


@pytest.mark.parametrize(
    ("kind", "count", "name", "told"),
    [
        (None, 0, "cuda", "there is no device cuda here; torch .* sees cpu: .*install a torch made for it"),
        ("cuda", 2, "cuda:2", "there is no device cuda:2 here; torch .* sees cuda:0, cuda:1, cpu: .auto. takes"),
        ("cuda", 1, "mps", "there is no device mps here; torch .* sees cuda:0, cpu"),
        ("mps", 1, "xpu:0", "there is no device xpu:0 here; torch .* sees mps, cpu"),
        (None, 0, "gpu", "there is no device gpu here"),
    ],
)
def test_a_device_that_is_not_there(
    kind: str | None, count: int, name: str, told: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    see(monkeypatch, kind, count)
    with pytest.raises(ValueError, match=told):
        find_device(name)
    with pytest.raises(ValueError, match=told):
        load_model(str(folder), device=name)
    run = replace(toy_run(folder, folder), model=ModelChoice(source=str(folder), device=name))
    with pytest.raises(RecipeError, match=re.compile(f"model.device: {told}")):
        check_start(run)


def test_memory_is_the_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.accelerator, "get_memory_info", lambda device: (1, 80_000_000_000))
    monkeypatch.setattr(torch.accelerator, "max_memory_allocated", lambda device: 3_000_000_000)
    assert memory_of(torch.device("cuda:0")) == 80_000_000_000
    assert peak_memory(torch.device("cuda:0")) == 3.0
    assert memory_of(torch.device("cpu")) < 80_000_000_000_000
    assert 0.05 < peak_memory(torch.device("cpu")) < memory_of(torch.device("cpu")) / 1e9


class Generator:
    """The random state of an accelerator."""

    def __init__(self) -> None:
        self.states: dict[Any, torch.Tensor] = {}

    def get_rng_state(self, device: Any = None) -> torch.Tensor:
        return self.states.get(device, torch.tensor([7, 8], dtype=torch.uint8))

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:
        self.states[device] = state


def test_random_state_goes_to_a_device_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Generator()
    monkeypatch.setattr(devices, "torch", SimpleNamespace(**{**vars(torch), "get_device_module": lambda _: other}))
    torch.manual_seed(5)
    kept = random_state(torch.device("cuda:0"))
    assert kept.keys() == {"cpu", "cuda"}
    drawn = torch.rand(3)
    restore_random_state(kept, torch.device("cuda:1"))
    assert torch.equal(torch.rand(3), drawn)
    assert other.states[torch.device("cuda:1")].tolist() == [7, 8]
    restore_random_state(kept, torch.device("mps"))  # another kind: as it was seeded
    restore_random_state(kept, torch.device("cpu"))
    assert torch.equal(torch.rand(3), drawn)
    assert other.states.keys() == {torch.device("cuda:1")}
    restore_random_state(random_state(torch.device("mps")), torch.device("mps"))
    assert other.states[None].tolist() == [7, 8]


def test_a_run_may_go_on_elsewhere() -> None:
    begun = {"recipe": {"model": {"source": "m", "device": "cuda"}}, "files": {}, "data": {}}
    for device in ({"device": "cpu"}, {}):
        assert not changes_between(begun, {**begun, "recipe": {"model": {"source": "m", **device}}})
    assert changes_between(begun, {**begun, "recipe": {"model": {"source": "n", "device": "cuda"}}})
