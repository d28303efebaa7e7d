"""docs/recipes.md lists every key with its type, default and meaning, exactly as the schema has them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from togi.recipe.schema import Recipe

DOCS = (Path(__file__).parent.parent / "docs" / "recipes.md").read_text(encoding="utf-8")
SCHEMA = Recipe.model_json_schema()
TABLES: dict[str, dict[str, Any]] = {
    name: table for name, table in {"Recipe": SCHEMA, **SCHEMA["$defs"]}.items() if "properties" in table
}
KINDS = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true/false", "object": "table"}
BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}


def kind(field: dict[str, Any]) -> str:
    for option in field.get("anyOf", []):
        if option.get("type") != "null":
            return kind(option)
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return " \\| ".join(f"`{word}`" for word in field["enum"])
    if "$ref" in field:
        return "table"
    if field["type"] == "array":
        return "tables" if "$ref" in field.get("items", {}) else "list"
    bounds = [text.format(f"{field[name]:,}".removesuffix(".0")) for name, text in BOUNDS.items() if name in field]
    return " ".join([KINDS[field["type"]], *bounds])


def default(name: str, field: dict[str, Any], required: list[str]) -> str:
    if name in required:
        return "**needed**"
    value = field.get("default")
    if value is None or isinstance(value, dict) or "table" in kind(field):
        return ""
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


def rows(table: str, tables: dict[str, dict[str, Any]] = TABLES) -> Iterator[str]:
    schema = tables[table]
    required = schema.get("required", [])
    for name, field in schema["properties"].items():
        yield f"| `{name}` | {kind(field)} | {default(name, field, required)} | {field['description']} |"


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_documented(table: str) -> None:
    expected = list(rows(table))
    assert "\n".join(expected) in DOCS, "docs/recipes.md should hold these lines:\n" + "\n".join(expected)


def test_nothing_else_is_documented() -> None:
    listed = re.findall(r"^\| `[a-z_]+` \|.*\|$", DOCS, re.MULTILINE)
    assert sorted(listed) == sorted({row for table in TABLES for row in rows(table)})
