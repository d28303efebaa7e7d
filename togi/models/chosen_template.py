"""What a run changes about its model's chat template: another text, and values of its variables. It renders nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from togi.models.weight_files import ModelError
from togi.template_data import is_argument, reads

LARGEST = 1 << 20
"""Bytes of a template's file; the longest of real models have some ten thousand."""

_JINJA = {True: "true", False: "false", None: "none"}


@dataclass(frozen=True, kw_only=True)
class ChosenTemplate:
    """``text`` stands in for the model's own template. ``args`` are what its variables are unless whoever renders it
    says otherwise, so that the trained model speaks with them in any tool."""

    text: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.args:
            if not is_argument(name):
                raise ModelError(f"{name!r} is no argument of a chat template: wanted a name such as enable_thinking")

    def over(self, own: str | None) -> str | None:
        """The template of a model whose own is ``own``. Raises ModelError for an argument that it does not read."""
        template = own if self.text is None else self.text
        if not self.args:
            return template
        for name in self.args:
            if template is None or not reads(template, name):
                what = "the model has no chat template" if template is None else "the chat template never reads it"
                raise ModelError(f"template_args has {name!r}, but {what}: remove it, or correct its name")
        # The last writes nothing: without it a line break at the template's start would be lost.
        defaults = "".join(
            f"{{% set {name} = {name} if {name} is defined else {_literal(value)} %}}"
            for name, value in self.args.items()
        )
        defaults += "{{ '' }}"
        return template if template is None or template.startswith(defaults) else defaults + template


OWN = ChosenTemplate()
"""The model's own template, as it is."""


def read_template(path: Path) -> str:
    """The text of a template's file. Raises ModelError."""
    if not path.is_file():
        raise ModelError(f"there is no file {path}: wanted a chat template in Jinja")
    if path.stat().st_size > LARGEST:
        raise ModelError(f"{path} has {path.stat().st_size >> 10:,} kB; a chat template has at most {LARGEST >> 10:,}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} is no UTF-8 text: wanted a chat template in Jinja") from error
    if not text.strip():
        raise ModelError(f"{path} is empty: wanted a chat template in Jinja")
    return text


def _literal(value: Any) -> str:
    """A value as Jinja writes it."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{json.dumps(str(key))}: {_literal(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    if value is None or isinstance(value, bool):
        return _JINJA[value]
    return json.dumps(value)
