"""Tools: functions told to a model, calls read in every form, and the tools that come along."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import pytest

from togi.sandbox.workers.pool import Pool
from togi.tools.calculator import calculator
from togi.tools.function_tool import describe, function_tool
from togi.tools.named_tools import open_tools
from togi.tools.read_calls import read_calls
from togi.tools.search import search
from togi.tools.tool import Call, Description, Kept

PRICE = Description(
    name="price",
    text="",
    parameters={"type": "object", "properties": {"item": {"type": "string"}, "count": {"type": "integer"}}},
)
APPLE = Call(name="price", arguments={"item": "apple"})


def called(body: str) -> str:
    return f"<tool_call>{body}</tool_call>"


HERMES = called('{"name": "price", "arguments": {"item": "apple"}}')
READ: list[tuple[str, str, list[Call]]] = [
    ("42", "42", []),
    ("", "", []),
    (HERMES, "", [APPLE]),
    (f"Let me look.\n{HERMES}\n", "Let me look.", [APPLE]),
    (HERMES + HERMES, "", [APPLE, APPLE]),
    (called('\n{"name": "price", "arguments": {"item": "apple"}}\n'), "", [APPLE]),
    (called('{"name": "price", "parameters": {"item": "apple"}}'), "", [APPLE]),
    (called('{"name": "price", "arguments": "{\\"item\\": \\"apple\\"}"}'), "", [APPLE]),
    (called('{"name": "price"}'), "", [Call(name="price", arguments={})]),
    (called("\n<function=price>\n<parameter=item>\napple\n</parameter>\n</function>\n"), "", [APPLE]),
    (
        called("<function=price><parameter=item>7</parameter><parameter=count>3</parameter></function>"),
        "",
        [Call(name="price", arguments={"item": "7", "count": 3})],
    ),
    (
        called("<function=price><parameter=count>many</parameter></function>"),
        "",
        [Call(name="price", arguments={"count": "many"})],
    ),
    ('{"name": "price", "parameters": {"item": "apple"}}', "", [APPLE]),
    ('{"name": "price", "item": "apple"}', '{"name": "price", "item": "apple"}', []),
    ('{"answer": 42}', '{"answer": 42}', []),
    (f"<think>I could {HERMES}</think>42", "42", []),
    (f"<think>{HERMES}", "", []),
    (f"hm</think>{HERMES}", "", [APPLE]),
    (f"<think>a</think>b<think>{HERMES}", "", []),
]  # fmt: skip


@pytest.mark.parametrize(("text", "content", "calls"), READ)
def test_calls_are_read_in_the_forms_of_the_families(text: str, content: str, calls: list[Call]) -> None:
    said = read_calls(text, [PRICE])
    assert (said.content, list(said.calls)) == (content, calls)


UNREADABLE = [
    (called("price(apple)"), "not a JSON object"),
    (called("[1, 2]"), "not a JSON object"),
    (called('{"name": "price", "arguments": {'), "not a JSON object"),
    (called("{" * 5000), "not a JSON object"),
    (called('{"x": ' * 5000 + "1" + "}" * 5000), "not a JSON object"),
    (called('{"arguments": {}}'), "names no tool"),
    (called('{"name": 3, "arguments": {}}'), "names no tool"),
    (called('{"name": "price", "arguments": [1]}'), "arguments are not a JSON object"),
    (called('{"name": "price", "arguments": "apple"}'), "arguments are not a JSON object"),
    (called("<function=price>apple</function>"), "between the parameters"),
    (called(f"<function=price>{' ' * 90_000}x"), "between the parameters"),
    (called('{"name": "' + "x" * 100_001 + '"}'), "more than 100,000 characters"),
    ('<tool_call>{"name": "price", "arguments": {}}', "was not ended"),
]


@pytest.mark.parametrize(("text", "why"), UNREADABLE)
def test_what_cannot_be_read_says_why(text: str, why: str) -> None:
    (call,) = read_calls(text, [PRICE]).calls
    assert call.arguments is None
    assert why in call.problem


def price(item: str, count: int = 1, unit: Literal["kg", "g"] = "kg") -> float:
    """The price of an item,
    in euros.

    Args:
        item: What is bought.
        count (int): How many.

    Returns:
        A number.
    """
    return 0.0


def test_a_function_tells_the_model_what_its_signature_and_docstring_say() -> None:
    told = describe(price, "price")
    assert told.text == "The price of an item, in euros."
    properties = told.parameters["properties"]
    assert properties["item"] == {"type": "string", "description": "What is bought."}
    assert properties["count"] == {"type": "integer", "description": "How many."}
    assert properties["unit"]["enum"] == ["kg", "g"]
    assert told.parameters["required"] == ["item"]
    assert told.schema["function"]["name"] == "price"


def untyped(item, count: int):  # type: ignore[no-untyped-def]
    """A tool."""


def bare(item: str) -> str:
    return item


def starred(*items: str) -> str:
    """A tool."""
    return ""


def odd(pool: Pool) -> str:
    """A tool."""
    return ""


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (untyped, "the parameter item of the tool untyped has no type"),
        (bare, "has no docstring"),
        (starred, "name every parameter"),
        (odd, "cannot be told to a model"),
    ],
)
def test_a_function_that_cannot_be_told_is_refused(function: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        describe(function, function.__name__)


SUMS = [
    ("2 + 3 * 4", "14"),
    ("(2+3)*4", "20"),
    ("7/2", "3.5"),
    ("1/3", "0.3333333333"),
    ("-1/3", "-0.3333333333"),
    ("0.1 + 0.2", "0.3"),
    ("2^10", "1024"),
    ("17 × 4 ÷ 2", "34"),
    ("1,000 * 3", "3000"),
    ("1,234,567.5 + 0", "1234567.5"),
    ("7 // 2 + 7 % 2", "4"),
    ("2 ** -2", "0.25"),
    ("-(3 − 5)", "2"),
    ("1e3", "1000"),
]


@pytest.mark.parametrize(("expression", "result"), SUMS)
def test_the_calculator_is_exact(expression: str, result: str) -> None:
    assert calculator(expression) == result


@pytest.mark.parametrize(
    "expression",
    [
        *("", "1/0", "5 % 0", "0 ** -1", "9**9**9", "2 ** 0.5", "x + 1", "__import__('os')", "[1]", "1 if 1 else 2"),
        *("True", "'a'", "(" * 300 + "1" + ")" * 300, "1" * 501, "10 ** 150 * 10 ** 150", "3 +", "1j", "lambda: 1"),
        *("1 < 2", "-'a'", "1,5 * 2", "3,14", "1,0000", "12,34,567", "1,000,00", "2 + 3, 4"),
    ],
)
def test_the_calculator_says_what_is_no_arithmetic(expression: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        calculator(expression)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(workers=1, seconds=1.0, memory_mb=512, tier="process") as made:
        yield made


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tools")
    (folder / "shop.py").write_text(
        "import time\n"
        "def price(item: str, count: int = 1) -> float:\n"
        '    "The price of an item."\n'
        "    if item == 'slow':\n        time.sleep(60)\n"
        "    return {'apple': 2.5}[item] * count\n"
        "async def stock() -> dict[str, int]:\n"
        '    "What there is."\n'
        "    return {'äpple': 3}\n"
    )
    rows = [
        {"title": "Zorb", "text": "The Zorb lake is 42 m deep."},
        {"text": "Cats sleep; cats eat."},
        {"text": "Dogs."},
    ]
    (folder / "facts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "facts.txt").write_text("The Zorb lake\nis deep.\n\nCats sleep.\n")
    return folder


ASKED: list[tuple[str, Mapping[str, Any], str, bool]] = [
    ("price", {"item": "apple", "count": 2}, "5.0", False),
    ("price", {"item": "apple", "count": "2"}, "5.0", False),
    ("price", {"item": "pear"}, "KeyError: 'pear'", True),
    ("price", {"count": 2}, "item is missing", True),
    ("price", {"item": "apple", "many": 2}, "there is no argument 'many'", True),
    ("price", {"item": "apple", "count": "two"}, "count: Input should be a valid integer", True),
    ("price", {"item": "slow"}, "took longer than 1 s", True),
    ("stock", {}, '{"äpple": 3}', False),
    ("calculator", {"expression": "17 * 3"}, "51", False),
    ("calculator", {"expression": "1/0"}, "division by zero", True),
    ("remember", {"name": "a", "text": 3}, "noted", False),
    ("recall", {"name": "a"}, "3", False),
    ("recall", {"name": "b"}, "there is no note 'b'; there are: a", True),
    ("remember", {"name": "a", "text": "x" * 10_000}, "at most 10,000 characters", True),
    ("remember", {"name": "a"}, "text is missing", True),
    ("search", {"query": "How deep is the Zorb lake?"}, "1. Zorb: The Zorb lake is 42 m deep.", False),
    ("search", {"query": "cats' AND ( NOT \" *"}, "1. Cats sleep; cats eat.", False),
    ("search", {"query": "unheard-of"}, "nothing was found", False),
    ("search", {"query": "?!"}, "no word to look for", True),
    ("search", {"query": ["cats"]}, "query should be a text", True),
]


def test_what_tools_say(pool: Pool, place: Path) -> None:
    named = ["shop.py:price", "shop.py:stock", "calculator", "notebook", {"use": "search", "corpus": "facts.jsonl"}]
    tools = {tool.description.name: tool for tool in open_tools(named, place, pool)}
    kept = Kept()
    for name, arguments, text, failed in ASKED:
        result = tools[name].call(arguments, kept)
        assert (text in result.text, result.failed) == (True, failed), (name, arguments, result)
    assert {file.name for tool in tools.values() for file in tool.files} == {"shop.py", "facts.jsonl"}


def test_paragraphs_of_a_text_can_be_searched(place: Path) -> None:
    assert search(place / "facts.txt").call({"query": "lake"}, Kept()).text == "1. The Zorb lake\nis deep."


def test_a_program_runs_in_a_jail_and_shows_what_it_prints(pool: Pool, place: Path) -> None:
    (tool,) = open_tools([{"use": "python", "seconds": 2}], place, pool)
    assert tool.call({"code": "print(sum(range(10)))"}, Kept()).text == "45"
    assert tool.call({"code": "print(1)\n1/0"}, Kept()).text == "1\nZeroDivisionError: division by zero"
    assert tool.call({"code": "x = 1"}, Kept()).text == "the program printed nothing"
    assert tool.call({}, Kept()).failed


REFUSED: list[tuple[Any, str]] = [
    ([], "wanted a list"),
    ("calculator", "wanted a list"),
    (["calculater"], "is no tool: there are calculator, python, shell, notebook, search, mcp"),
    (["calculator", "calculator"], "two tools are called 'calculator'"),
    ([3], "wanted a name"),
    ([{"corpus": "facts.jsonl"}], "wanted a name"),
    ([{"use": "search"}], "takes these settings: corpus, results, about"),
    ([{"use": "search", "corpus": "nowhere.jsonl"}], "cannot be read"),
    ([{"use": "search", "corpus": "shop.py", "results": 0}], "results = 0"),
    ([{"use": "calculator", "digits": 3}], "takes these settings: none"),
    ([{"use": "python", "seconds": 0}], "seconds = 0"),
    ([{"use": "mcp", "command": "server.py"}], "wanted its parts"),
    ([{"use": "mcp", "command": ["server"], "seconds": 0}], "seconds = 0"),
    (["shop.py:cost"], 'has no function "cost"'),
    ([{"use": "shop.py:price", "count": 3}], "takes no settings"),
]


@pytest.mark.parametrize(("named", "why"), REFUSED)
def test_what_is_no_tool_is_refused(place: Path, pool: Pool, named: Any, why: str) -> None:
    with pytest.raises(ValueError) as error:
        open_tools(named, place, pool)
    assert why in str(error.value)


@pytest.mark.parametrize(("text", "why"), [("", "no texts"), ("{}\n", "line 1: wanted"), ("{\n", "line 1: not JSON")])
def test_a_corpus_that_has_no_texts_is_refused(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "corpus.jsonl").write_text(text)
    with pytest.raises(ValueError, match=why):
        search(tmp_path / "corpus.jsonl")


def test_a_function_of_a_file_is_imported_with_its_neighbours(tmp_path: Path, pool: Pool) -> None:
    (tmp_path / "prices.py").write_text("PRICES = {'apple': 2}\n")
    (tmp_path / "shop.py").write_text(
        "from prices import PRICES\ndef price(item: str) -> int:\n    'The price.'\n    return PRICES[item]\n"
    )
    tool = function_tool("shop.py:price", tmp_path, pool)
    assert tool.call({"item": "apple"}, Kept()).text == "2"
    assert [file.name for file in tool.files] == ["shop.py", "prices.py"]


SERVER = """
import os, time
from mcp.server import MCPServer
server = MCPServer("shop")

@server.tool()
def price(item: str, count: int = 1) -> float:
    "The price of an item."
    if item == "die":
        os._exit(3)
    if item == "slow":
        time.sleep(60)
    return {"apple": 2.5}[item] * count

server.run()
"""


@pytest.mark.slow
def test_the_tools_of_an_mcp_server(tmp_path: Path, pool: Pool) -> None:
    pytest.importorskip("mcp", reason="needs the mcp extra")
    (tmp_path / "server.py").write_text(SERVER)
    command = [sys.executable, "server.py"]
    (tool,) = open_tools([{"use": "mcp", "command": command, "seconds": 3}], tmp_path, pool)
    assert (tool.description.name, tool.description.text) == ("price", "The price of an item.")
    assert [file.name for file in tool.files] == ["server.py"]
    said = [
        ({"item": "apple", "count": 2}, "5.0", False),
        ({}, "Field required", True),
        ({"item": "pear"}, "Error", True),
        ({"item": "die"}, "the tool's server failed", True),
        ({"item": "apple"}, "2.5", False),
        ({"item": "slow"}, "took longer than 3 s", True),
        ({"item": "apple"}, "2.5", False),
    ]
    for arguments, text, failed in said:
        result = tool.call(arguments, Kept())
        assert (text in result.text, result.failed) == (True, failed), (arguments, result)
    for wrong, why in (("raise SystemExit('boom')", "boom"), ("pass", "is no server that answers")):
        with pytest.raises(ValueError, match=why):
            open_tools([{"use": "mcp", "command": [sys.executable, "-c", wrong]}], tmp_path, pool)
