"""A template and its values -> one HTML page with its style sheet inside. It knows no run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from togi.harmless_text import visible

HERE = Path(__file__).parent


def page_of(template: str, values: Mapping[str, Any], *, pictures: bool = False) -> str:
    """The page as text. Every value is escaped, and what could act on a reader's screen is shown instead. With
    ``pictures`` it may hold some, each within the page."""
    style = (HERE / "page.css").read_text(encoding="utf-8")
    # The policy allows this one style sheet by its hash and nothing else, so text that escaped would still be inert.
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    images = "; img-src data:" if pictures else ""
    policy = f"default-src 'none'; style-src 'sha256-{digest}'{images}; base-uri 'none'; form-action 'none'"
    page = templates().get_template(template).render(style=Markup(style), policy=policy, **values)
    return page + "\n"


def templates() -> Environment:
    """The templates of this folder; whatever they are given is escaped."""
    return Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        finalize=_harmless,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _harmless(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
