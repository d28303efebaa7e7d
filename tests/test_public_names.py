"""`from togi import NAME`: every public name is there, and asking for the package alone costs next to nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import togi

STUB = Path(togi.__file__).with_suffix(".pyi")


def test_every_public_name_is_there_and_stands_once() -> None:
    named = [alias.name for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ImportFrom)
             for alias in node.names]  # fmt: skip
    assert len(named) == len(set(named))
    assert sorted(named) == sorted(togi.__all__)
    for name in named:
        assert getattr(togi, name) is not None


def test_no_public_name_hides_a_module() -> None:
    modules = {path.stem for path in STUB.parent.iterdir()}
    assert not modules & set(togi.__all__)


def test_the_package_alone_does_not_load_torch() -> None:
    code = "import sys, togi; from togi import Task; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
