"""Chat templates of strangers: rendered as transformers renders them, and stopped when they do not end."""

from __future__ import annotations

import pytest

from togi import template_process as template
from togi.template_process import TemplateError, render

ASKED = [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% for m in messages %}[{{ m.role }}] {{ m['content'] | trim }}{{ eos_token }}{% endfor %}", "[user] x</s>"),
        ("{{ messages | tojson }}{% if add_generation_prompt %}>{% endif %}", '[{"role": "user", "content": "x"}]>'),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}", "x"),
        ("{% for i in range(9) %}{% if i > 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "012"),
        ("\u3042\n{{ 'é\\ud800' | length }}", "\u3042\n2"),
    ],
)
def test_templates_are_rendered(source: str, expected: str) -> None:
    assert render(source, ASKED, generation=True, variables={"eos_token": "</s>"}) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{% for i in range(10**9) %}x{% endfor %}", "Range too big"),
        ("{{ raise_exception('no \x1b system role') }}", "no \x1b system role"),
        ("{% for %}", "Expected"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ 'x' | center(10**10) }}", "GB of memory"),
        ("{{ 'x' * 10**10 }}", "GB of memory"),
        ("{{ '%9999999999d' % 1 }}", "GB of memory"),
        (
            "{% set n = namespace(a='a') %}{% for i in range(60) %}{% set n.a = n.a~n.a %}{% endfor %}",
            "GB of memory",
        ),
        ("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", "recursion"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "it was stopped"),
        ("{{ 9**(9**9) }}", "it was stopped"),
        ("{{ 'x' * 10**8 }}", "it was stopped"),
    ],
    ids=range(13),
)
def test_templates_that_misbehave_end_in_an_error(source: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "SECONDS", 1.0 if "stopped" in expected else 60.0)
    with pytest.raises(TemplateError, match=expected):
        render(source, ASKED, generation=True, variables={})
