"""Commands on models: weights for other tools, a talk, an endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from togi.cli.command_app import Flag, app, say

ModelSource = Annotated[str, Parameter(help="Run folder, bundled name, model folder, .gguf file or hub id.")]
Arithmetic = Annotated[
    Literal["auto", "float32", "bfloat16"], Parameter(help="Arithmetic; auto takes the faster, as in a recipe.")
]
DeviceName = Annotated[str, Parameter(help="cpu, cuda, cuda:1, mps or xpu; auto takes an accelerator, else cpu.")]


@app.command(sort_key=8)
def export(
    source: Annotated[str, Parameter(help="Run folder, or any model source.")],
    folder: Annotated[Path, Parameter(help="New folder to write.")],
    *,
    adapter: Annotated[bool, Flag, Parameter(help="Keep an adapter apart; else it is merged into its base.")] = False,
    gguf: Annotated[bool, Flag, Parameter(help="Write one GGUF file, for llama.cpp and what is built on it.")] = False,
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16", "q8_0"],
        Parameter(help="Type of the weights; float16 and q8_0 with --gguf only."),
    ] = "float32",
    license_id: Annotated[
        str, Parameter(name="--license", help="What the model card names as license, such as apache-2.0.")
    ] = "",
) -> None:
    """Weights in the formats that other tools load, with a model card where they are a run's."""
    from togi.models.model_source import check_source

    if folder.exists():
        raise ValueError(f"{folder} exists already: choose another folder, or remove it first")
    if gguf and adapter:
        raise ValueError("--gguf writes whole weights: leave out --adapter, and an adapter is merged into its base")
    if dtype in ("float16", "q8_0") and not gguf:
        raise ValueError(f"--dtype {dtype} is for --gguf; a folder takes float32 or bfloat16")
    check_source(source)
    from togi.run_folder.integrity import refuse_changed_model

    refuse_changed_model(source)
    from togi.report import card_of

    card = card_of(source, library="gguf" if gguf else "peft" if adapter else "transformers", license_id=license_id)
    beside = {"README.md": card} if card else {}
    if gguf:
        from togi.models.model_source import newest_model
        from togi.models.save_gguf import export_gguf
        from togi.models.thought_head import thinks

        saved = export_gguf(source, folder, dtype, beside=beside)
    else:
        import torch

        from togi.models.save_model import export as write

        kind = torch.bfloat16 if dtype == "bfloat16" else torch.float32
        saved = write(source, folder, adapter=adapter, dtype=kind, beside=beside)
    of = "the model" if gguf else "base and adapter"
    drift = "" if saved.difference is None else f"; logits differ from {of} by {saved.difference:.2g} at most"
    base = "" if saved.base is None else f"; its base is {saved.base}"
    say(f"{saved.path}{drift}{base}")
    if saved.thinks:
        say("Togi thinks before each token of it; other tools load it as a model that answers without thoughts.")
    elif gguf and thinks(newest_model(Path(source))):
        say("It answers without thoughts: a GGUF file has no place for the thought head.")


@app.command(sort_key=9)
def chat(
    source: ModelSource,
    *,
    prompt: Annotated[str | None, Parameter(help="Ask this one thing and end.")] = None,
    temperature: Annotated[float, Parameter(help="0 always takes the likeliest token.")] = 0.7,
    max_tokens: Annotated[int, Parameter(help="Longest answer.")] = 256,
    dtype: Arithmetic = "auto",
    device: DeviceName = "auto",
) -> None:
    """Talk to a model or to what a run made of it."""
    from togi.models.model_source import check_source

    check_source(source)
    from togi.run_folder.integrity import refuse_changed_model

    refuse_changed_model(source)
    from togi.terminal_chat import chat as talk
    from togi.types import Sampling

    talk(source, prompt, Sampling(temperature=temperature, max_tokens=max_tokens), dtype=dtype, device=device)


@app.command(sort_key=10)
def serve(
    source: ModelSource,
    *,
    port: Annotated[int, Parameter(help="0 takes a free one.")] = 8000,
    host: Annotated[str, Parameter(help="Address to listen at.")] = "127.0.0.1",
    open_to_network: Annotated[bool, Flag, Parameter(help="Allow a --host that others can reach.")] = False,
    key_env: Annotated[str, Parameter(help="Variable that holds the key; without it one is made and shown.")] = "",
    max_tokens: Annotated[int, Parameter(help="Longest answer; also of requests that do not say.")] = 1024,
    seconds: Annotated[float, Parameter(help="Longest that a request may take, waiting included.")] = 600.0,
    waiting: Annotated[int, Parameter(help="Requests that may wait; others are told to come again (429).")] = 64,
    batch_size: Annotated[int, Parameter(help="Answers drawn at once.")] = 32,
    dtype: Arithmetic = "auto",
    device: DeviceName = "auto",
) -> int:
    """An endpoint that speaks OpenAI's protocol, for other programs of this machine."""
    from togi.models.model_source import check_source
    from togi.serving.address import open_address

    at = open_address(
        host,
        port,
        key_env,
        open_to_network=open_to_network,
        max_tokens=max_tokens,
        seconds=seconds,
        waiting=waiting,
        batch_size=batch_size,
    )
    check_source(source)
    from togi.run_folder.integrity import refuse_changed_model

    refuse_changed_model(source)
    from togi.serving.serve_command import serve as listen

    return listen(source, at, dtype=dtype, device=device)
