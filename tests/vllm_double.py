"""A program in the place of an environment's Python that has vLLM: started as vLLM is, it answers as vLLM does.

Run as ``python vllm_double.py`` with vLLM's own command line, it serves the model in the folder named there, to who has
the key, at the port named there.
"""

from __future__ import annotations

import os
import stat
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from completions_server import Drawing
from judge_server import Fake, Handler

from togi.models.load_model import load_model


def pretended_python(folder: Path) -> Path:
    """A Python that says it has vLLM, and whose vLLM is this program."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "python"
    program.write_text(
        f'#!/bin/sh\nif [ "$1" = -I ]; then echo 0.32.0; else exec "{sys.executable}" "{__file__}" "$@"; fi\n',
        encoding="utf-8",
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


def main(arguments: list[str]) -> None:
    said = dict(pairwise(arguments))
    served = Drawing(
        load_model(said["--model"], dtype=getattr(torch, said["--dtype"])), name=said["--served-model-name"]
    )

    def guarded(handler: Handler, body: dict[str, Any]) -> None:
        if handler.headers["Authorization"] != f"Bearer {os.environ['VLLM_API_KEY']}":
            handler.send(401, b"{}")
            return
        served(handler, body)

    Fake(guarded, port=int(said["--port"])).serve_forever()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1:])
