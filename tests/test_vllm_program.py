"""vLLM as an engine's program: its command, what it is refused for, and what of Togi's runs inside it."""

from __future__ import annotations

import asyncio
import hashlib
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import distributions
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ahead_run import STEPS, ahead_run
from tiny_text import tiny_folder
from vllm_double import pretended_python

from togi.engines.engine_choice import EngineChoice, WithVLLM
from togi.engines.fleet_member import EngineOutage
from togi.engines.inside_vllm import Door, WeightsEndpoint
from togi.engines.open_engine import open_engine, opened_beside
from togi.engines.vllm_program import VllmProgram, check_vllm, put_plugin, refused_options
from togi.launch.launcher import Launched
from togi.models.load_model import load_model
from togi.models.lora_and_optimiser import Lora
from togi.run import Silent
from togi.run_folder.files import read_lines
from togi.run_folder.integrity import check
from togi.train import train
from togi.types import Prompt, Sampling

PROGRAM = VllmProgram(
    python=Path("/env/bin/python"),
    folder=Path("/models/base"),
    plugins=Path("/plugins"),
    dtype="bfloat16",
    context=2048,
    side_by_side=64,
    rank=16,
    versions=3,
)


def options_of(program: VllmProgram) -> dict[str, str]:
    return dict(pairwise(program.command(0, "127.0.0.1", 1234)))


def test_the_command_serves_where_it_is_told_what_the_recipe_says() -> None:
    command = replace(PROGRAM, options=("--block-size", "32")).command(0, "127.0.0.1", 1234)
    assert command[:3] == ["/env/bin/python", "-m", "vllm.entrypoints.openai.api_server"]
    assert command.index("--block-size") < command.index("--host")  # so that no option replaces what the recipe says
    said = options_of(PROGRAM)
    assert (said["--model"], said["--served-model-name"]) == ("/models/base", "base")
    assert (said["--host"], said["--port"]) == ("127.0.0.1", "1234")
    assert (said["--dtype"], said["--max-model-len"], said["--max-num-seqs"]) == ("bfloat16", "2048", "64")
    assert said["--logprobs-mode"] == "processed_logprobs"
    assert {"--enable-prefix-caching", "--enable-lora"} <= set(command)
    assert {"--enforce-eager", "--no-enable-chunked-prefill"} <= set(command)
    assert (said["--max-loras"], said["--max-cpu-loras"]) == ("3", "3")


@pytest.mark.parametrize(("rank", "room"), [(1, 1), (2, 8), (8, 8), (9, 16), (300, 320), (512, 512)])
def test_adapters_have_room_for_their_rank(rank: int, room: int) -> None:
    assert options_of(replace(PROGRAM, rank=rank))["--max-lora-rank"] == str(room)


def test_whole_weights_need_no_adapters_and_a_device_is_compiled_for() -> None:
    command = replace(PROGRAM, rank=None, on_processor=False).command(0, "127.0.0.1", 1)
    assert not {"--enable-lora", "--max-loras", "--enforce-eager"} & set(command)


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ((), ["1", "2", "3", "1"]),
        (("--tensor-parallel-size=2",), ["1,2", "3,1", "2,3", "1,2"]),
    ],
)
def test_engines_take_the_accelerators_in_turn(options: tuple[str, ...], seen: list[str]) -> None:
    program = replace(PROGRAM, devices=("1", "2", "3"), options=options)
    for number, each in enumerate(seen, 1):
        assert program.command(number, "127.0.0.1", 1)[:2] == ["env", f"CUDA_VISIBLE_DEVICES={each}"]


def test_the_key_is_in_no_command() -> None:
    variables = PROGRAM.variables("secret-key")
    assert variables["VLLM_API_KEY"] == "secret-key"
    assert "secret-key" not in PROGRAM.command(0, "127.0.0.1", 1)
    assert "VLLM_SERVER_DEV_MODE" not in variables  # whose routes no key guards


class Refuses:
    """A launcher that starts nothing, and keeps what it was to start."""

    listen = "127.0.0.1"

    def __init__(self) -> None:
        self.commands: list[tuple[str, ...]] = []

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> Launched:
        self.commands.append(tuple(command))
        raise ValueError("nothing is started here")


@pytest.mark.parametrize(("lora", "kept"), [(None, 0), (Lora(rank=2), 0), (Lora(rank=2), 3)])
def test_a_run_draws_with_one_vllm_that_serves_the_base(tmp_path: Path, lora: Lora | None, kept: int) -> None:
    loaded = load_model(str(tiny_folder(tmp_path / "tiny")), lora=lora)
    choice = EngineChoice(batch_size=5, vllm=WithVLLM(python=python_that("echo 0.32.0", tmp_path)))
    launcher, base = Refuses(), tmp_path / "engines" / "start-1" / "base"
    with opened_beside(choice, 0, launcher, tmp_path / "engines", lambda kind, **_: None, kept=kept) as chosen:
        engine = open_engine(loaded, chosen)
        assert load_model(str(base)).parameters == load_model(str(tmp_path / "tiny")).parameters
        with pytest.raises(EngineOutage, match="nothing is started here"):
            engine.generate([Prompt(ids=(5,), seeds=(1,))], Sampling(max_tokens=2))
    [command] = {tuple(part for part in each if not part.isdigit()) for each in launcher.commands}
    assert str(base) in command
    said = dict(pairwise(launcher.commands[0]))
    assert (said["--max-num-seqs"], said["--max-model-len"], said["--dtype"]) == ("5", "256", "float32")
    assert said.get("--max-loras") == (None if lora is None else str(kept + 2))


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        (["--host", "0.0.0.0"], ["--host"]),
        (["--port=80"], ["--port"]),
        (["--api-key", "mine"], ["--api-key"]),
        (["--gpu-memory-utilization", "0.4", "--tensor-parallel-size=2"], []),
        (["--dtype=half", "--max-loras=1"], ["--dtype", "--max-loras"]),
        (["--served_model_name", "mine", "-dp", "2"], ["--served-model-name", "-dp"]),
    ],
)
def test_options_that_the_recipe_decides_are_refused(options: list[str], refused: list[str]) -> None:
    assert [each.split()[0] for each in refused_options(options)] == refused


def python_that(prints: str, folder: Path) -> Path:
    """A program in the place of an environment's Python."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{prints}\n", encoding="utf-8")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.mark.parametrize(
    ("prints", "said"),
    [
        ("echo 0.31.2", r"has vLLM 0.31.2, wanted 0.32 or newer"),
        ("echo", "there is no vLLM in the environment"),
        ("exit 1", "there is no vLLM in the environment"),
        (None, "does not run"),
    ],
)
def test_an_environment_without_a_usable_vllm_is_refused(tmp_path: Path, prints: str | None, said: str) -> None:
    python = tmp_path / "nothing" if prints is None else python_that(prints, tmp_path)
    with pytest.raises(ValueError, match=rf"engine.python: .*{said}"):
        check_vllm(python)


@pytest.mark.parametrize("version", ["0.32.0", "0.33.1", "1.0", "0.32.1.dev7+cpu"])
def test_newer_ones_are_taken(tmp_path: Path, version: str) -> None:
    check_vllm(python_that(f"echo {version}", tmp_path))


def test_the_plugin_is_found_as_an_installed_package_is(tmp_path: Path) -> None:
    put_plugin(tmp_path)
    put_plugin(tmp_path)  # of another run
    [found] = distributions(path=[str(tmp_path)])
    [point] = found.entry_points
    assert (point.group, point.name) == ("vllm.endpoint_plugins", WeightsEndpoint.name)
    assert (tmp_path / f"{point.module}.py").is_file()
    assert point.attr == WeightsEndpoint.__name__


@dataclass(frozen=True)
class Model:
    name: str


class Engine:
    """What the endpoint asks of vLLM, written down."""

    def __init__(self, fail: bool = False) -> None:
        self.asked: list[Any] = []
        self._fail = fail

    async def collective_rpc(self, method: str, args: tuple[str, ...]) -> None:
        self.asked.append((method, *args))
        if self._fail:
            raise RuntimeError("no such tensor")

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def asked(**settings: Any) -> None:
            self.asked.append((name, settings) if settings else name)

        return asked


class State:
    def __init__(self) -> None:
        self.openai_serving_models = self
        self.base_model_paths = [Model("base")]


@pytest.mark.parametrize(
    ("scope", "let_in"),
    [
        ({"type": "lifespan"}, True),
        ({"type": "http", "path": "/health", "headers": []}, True),
        ({"type": "http", "path": "/v1/completions", "headers": [(b"authorization", b"Bearer right-key")]}, True),
        ({"type": "http", "path": "/v1/completions", "headers": [(b"authorization", b"Bearer wrong-key")]}, False),
        ({"type": "http", "path": "/v1/load_weights", "headers": []}, False),
        ({"type": "http", "path": "/invocations", "headers": []}, False),
        ({"type": "http", "path": "/health/", "headers": []}, False),
        ({"type": "websocket", "path": "/v1/realtime", "headers": []}, False),
    ],
)
def test_nobody_without_the_key_is_let_in(
    scope: Mapping[str, Any], let_in: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "right-key")
    seen: list[Any] = []
    told: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope)

    async def send(message: Mapping[str, Any]) -> None:
        told.append(message.get("status", message.get("code")))

    asyncio.run(Door(app)(scope, None, send))
    assert bool(seen) == let_in
    assert let_in or told[0] in (401, 1008)


def load(state: State, engine: Engine, name: str, file: Path, checksum: str) -> str:
    async def loaded() -> str:
        endpoint = WeightsEndpoint()
        await endpoint.init_state(engine, state, None)
        return await endpoint._load(name, str(file), checksum)

    return asyncio.run(loaded())


def test_weights_are_taken_between_what_is_drawn(tmp_path: Path) -> None:
    file, state, engine = tmp_path / "model.safetensors", State(), Engine()
    file.write_bytes(b"weights")
    right = hashlib.sha256(b"weights").hexdigest()
    assert load(state, engine, "togi-1", file, right) == ""
    assert engine.asked == [
        ("pause_generation", {"mode": "wait", "clear_cache": True}),
        ("togi_load_weights", str(file)),
        "reset_prefix_cache",
        "resume_generation",
    ]
    assert [model.name for model in state.base_model_paths] == ["togi-1"]
    assert load(state, engine, "togi-1", file, right) == ""
    assert len(engine.asked) == 4  # asked again, it has them already


def test_a_torn_file_changes_nothing(tmp_path: Path) -> None:
    file, state, engine = tmp_path / "model.safetensors", State(), Engine()
    file.write_bytes(b"weigh")
    assert "is not the one that was written" in load(state, engine, "togi-1", file, "0" * 64)
    assert "cannot be read" in load(state, engine, "togi-1", tmp_path / "gone", "0" * 64)
    assert (engine.asked, state.base_model_paths) == ([], [Model("base")])


def test_after_a_failure_in_between_nothing_is_drawn_any_more(tmp_path: Path) -> None:
    file, state, engine = tmp_path / "model.safetensors", State(), Engine(fail=True)
    file.write_bytes(b"weights")
    with pytest.raises(RuntimeError, match="no such tensor"):
        load(state, engine, "togi-1", file, hashlib.sha256(b"weights").hexdigest())
    assert "resume_generation" not in engine.asked
    assert state.base_model_paths[0].name not in ("base", "togi-1")


@pytest.mark.slow
@pytest.mark.parametrize("lora", [None, Lora(rank=2)], ids=["whole", "adapter"])
def test_a_run_samples_ahead_with_it(tmp_path: Path, lora: Lora | None) -> None:
    run = ahead_run(tmp_path / "run", tiny_folder(tmp_path / "tiny"), "", staleness=1)
    vllm = EngineChoice(batch_size=4, vllm=WithVLLM(python=pretended_python(tmp_path / "env")))
    train(replace(run, engine=vllm, model=replace(run.model, lora=lora)), Silent())
    rows = read_lines(tmp_path / "run" / "metrics.jsonl")
    assert len(rows) == STEPS
    assert max(row["staleness/max"] for row in rows) == 1
    assert all(("sampling/stale_logp_difference/mean" in row) == (row["staleness/mean"] > 0) for row in rows)
    assert all(row["skipped_steps"] == 0 for row in rows)
    told = read_lines(tmp_path / "run" / "events.jsonl")
    assert [each["version"] for each in told if each["event"] == "weights_published"][-1] == STEPS - 1
    assert not [each for each in told if each["event"] == "engine_failed"]
    assert not check(tmp_path / "run").faults
