"""Finds keys and passwords in text, so that they are refused where they were written and never repeated.

It knows how keys look and where addresses hide them; it does not know what a text is for.
"""

from __future__ import annotations

import re

VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,63}")
"""The name of an environment variable that may hold a key. Keys themselves hold small letters, or are longer."""

ADVICE = 'put it into an environment variable, and name that: key_env = "JUDGE_KEY"'

# Repetitions are bounded, so that looking through a long text takes time in proportion to its length.
_ADDRESS = r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{0,20}://"
_NAMES = r"(?i:(?:api|access|auth|client)?[_-]?(?:key|token|secret)|auth|passw(?:or)?d|pwd|sig|signature)"
_HANDED_OUT = (  # the beginnings that services chose so that their keys can be found
    r"(?:sk|pk|rk)[-_](?=[A-Za-z0-9_-]{0,100}[0-9])[A-Za-z0-9_-]{16,200}",
    r"(?:hf|ghp|gho|ghs|ghu|gsk|nvapi|pplx|xai|r8|glpat|dapi|npm)[-_](?=[A-Za-z0-9_-]{0,100}[0-9])[A-Za-z0-9_-]{20,200}",
    r"(?:github_pat_|pypi-|AIza)[A-Za-z0-9_-]{20,200}",
    r"xox[abprs]-[A-Za-z0-9-]{10,200}",
    r"(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])",
    r"eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,2000}",
    r"Bearer\s{1,9}[A-Za-z0-9._~+/=-]{12,2000}",
)
_PATTERNS = {
    "a key": rf"(?<![A-Za-z0-9])(?:{'|'.join(_HANDED_OUT)})|-----BEGIN [A-Z ]{{0,30}}PRIVATE KEY-----",
    "a password": rf"{_ADDRESS}[^\s/?#@\"']{{0,300}}@",
    "a key in an address": (
        rf"{_ADDRESS}[^\s\"'?#]{{0,500}}[?#](?:[^\s\"'&]{{0,300}}&){{0,9}}{_NAMES}=[^\s&\"']{{1,500}}"
    ),
    "a key in place of the name of a variable": (
        rf"key_env\s{{0,9}}=\s{{0,9}}([\"'])(?!(?:{VARIABLE.pattern})?\1).{{0,500}}?\1"
    ),
    "a key in plain text": (
        r"(?i)(?:api_?key|(?:access|auth)_?token|client_?secret|password)\s{0,9}=\s{0,9}[\"'][^\"']{1,500}[\"']"
    ),
}
_SECRETS = {kind: re.compile(pattern) for kind, pattern in _PATTERNS.items()}


def secret_in(text: str) -> str | None:
    """What kind of secret a text holds, if any; the secret itself is not given."""
    return next((kind for kind, pattern in _SECRETS.items() if pattern.search(text)), None)


def without_secrets(text: str) -> str:
    """The text with everything that looks like a secret taken out."""
    for pattern in _SECRETS.values():
        text = pattern.sub("[hidden]", text)
    return text
