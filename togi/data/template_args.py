"""Variables of the chat template that a row sets for itself. It knows no template, so not which of them are read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from togi.data.errors import RowError
from togi.template_data import is_argument

ARGS, THINKING = "chat_template_kwargs", "enable_thinking"
"""The column of an object, or of its JSON text, as TRL has it; and that of one truth value, as verl has it."""


def read_template_args(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the row sets, by name. What has no value (``null``) is not set: tables fill it in. Raises RowError."""
    given = row.get(ARGS)
    if isinstance(given, str):
        try:
            given = json.loads(given) if given.strip() else None
        except (ValueError, RecursionError) as error:
            raise RowError(f'"{ARGS}" is text that is not JSON: {given!r:.80}') from error
    if not isinstance(given, Mapping | None):
        raise RowError(f'"{ARGS}" is an object such as {{"enable_thinking": false}}; this is {given!r:.80}')
    args = {name: value for name, value in (given or {}).items() if value is not None}
    if isinstance(thinks := row.get(THINKING), bool) and args.setdefault(THINKING, thinks) is not thinks:
        raise RowError(f'"{THINKING}" is {thinks}, and in "{ARGS}" it is {args[THINKING]!r:.80}: leave one of them out')
    for name in args:
        if not is_argument(name):
            raise RowError(f"{name!r:.80} is no argument of a chat template: wanted a name such as {THINKING}")
    try:
        json.dumps(args, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RowError(f'"{ARGS}" holds what is no JSON: {args!r:.80}') from error
    return args
