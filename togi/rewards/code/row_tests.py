"""The tests of a code task, as they stand in its row; what is expected stays on this side of the box.

A row's ``answer`` is ``{"function": "f", "inputs": [[1, 2], ...], "outputs": [3, ...]}`` for a function called with
each list of arguments, or ``{"stdin": ["1 2\\n", ...], "stdout": ["3\\n", ...]}`` for a program that reads and writes.
Further keys of the former: ``setup``, source that stands before the program; ``strict`` false, where 1, 1.0 and True
are the same number; ``tolerance``, the largest difference of floats; ``check``, source of a function
``check(arguments, output)`` that says whether an output is right where several are. Further columns: ``reference``,
source of a right program, and ``fresh``, source of a function ``fresh(rng)`` that makes the arguments (or the standard
input) of one more test.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from togi.rewards.code.value_format import read_value
from togi.types import Task

CALL_KEYS = {"function", "inputs", "outputs", "setup", "strict", "tolerance", "check"}
SCRIPT_KEYS = {"stdin", "stdout"}


class BadTests(ValueError):
    """The tests of a task cannot be read, or cannot be made."""


@dataclass(frozen=True, kw_only=True)
class Tests:
    """``inputs`` are argument lists, or texts for standard input when there is no ``function``; ``outputs`` are values
    or texts, and empty where ``check`` decides."""

    function: str
    inputs: tuple[Any, ...]
    outputs: tuple[Any, ...]
    setup: str = ""
    strict: bool = True
    tolerance: float | None = None
    check: str = ""


@dataclass(frozen=True, kw_only=True)
class Maker:
    """How further tests are made: sources of a right program and of a function of a random number generator."""

    reference: str
    fresh: str


def read_tests(task: Task) -> Tests:
    """The tests in ``task.answer``. Raises BadTests."""
    answer = task.answer
    if isinstance(answer, str):  # tables (parquet) often hold tests as text
        try:
            answer = json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise BadTests(f"the answer is text and no JSON: {error}") from error
    if not isinstance(answer, Mapping):
        raise BadTests(f'the answer is an object with "function", "inputs" and "outputs"; got {type(answer).__name__}')
    if "function" in answer:
        return _calls(answer)
    if "stdin" in answer:
        return _scripts(answer)
    raise BadTests(f'the answer has neither "function" nor "stdin"; its keys are {", ".join(answer) or "none"}')


def read_maker(task: Task) -> Maker:
    """The reference and the maker of inputs in ``task.info``. Raises BadTests."""
    texts = {name: task.info.get(name) for name in ("reference", "fresh")}
    for name, text in texts.items():
        if not isinstance(text, str) or not text.strip():
            raise BadTests(f'fresh tests need the column "{name}", source text; this row has none')
    return Maker(reference=str(texts["reference"]), fresh=str(texts["fresh"]))


def _calls(answer: Mapping[str, Any]) -> Tests:
    _known(answer, CALL_KEYS)
    function, inputs, check = answer["function"], answer.get("inputs"), answer.get("check", "")
    if not isinstance(function, str) or not function.isidentifier():
        raise BadTests(f'"function" is the name of a function; got {function!r}')
    if not isinstance(inputs, list) or not inputs or not all(isinstance(each, list) for each in inputs):
        raise BadTests('"inputs" is a list of argument lists that is not empty, such as [[1, 2], [3, 4]]')
    if not isinstance(check, str) or not isinstance(answer.get("setup", ""), str):
        raise BadTests('"check" and "setup" are source text')
    outputs = answer.get("outputs", [])
    if not isinstance(outputs, list) or (len(outputs) != len(inputs) and not (check and not outputs)):
        raise BadTests(f'"outputs" has one value for each of the {len(inputs)} inputs')
    tolerance = answer.get("tolerance")
    if tolerance is not None and not (isinstance(tolerance, int | float) and 0 <= tolerance < math.inf):
        raise BadTests(f'"tolerance" is a number of at least 0; got {tolerance!r}')
    try:
        arguments = tuple(read_value({"tuple": each}) for each in inputs)
        wanted = tuple(read_value(value) for value in outputs)
    except ValueError as error:
        raise BadTests(str(error)) from error
    return Tests(
        function=function,
        inputs=arguments,
        outputs=wanted,
        setup=answer.get("setup", ""),
        strict=bool(answer.get("strict", True)),
        tolerance=tolerance,
        check=check,
    )


def _scripts(answer: Mapping[str, Any]) -> Tests:
    _known(answer, SCRIPT_KEYS)
    stdin, stdout = answer["stdin"], answer.get("stdout")
    for texts in (stdin, stdout):
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise BadTests('"stdin" and "stdout" are lists of texts that are not empty')
    assert isinstance(stdout, list)
    if len(stdin) != len(stdout):
        raise BadTests(f'"stdout" has one text for each of the {len(stdin)} of "stdin"; it has {len(stdout)}')
    return Tests(function="", inputs=tuple(stdin), outputs=tuple(stdout))


def _known(answer: Mapping[str, Any], keys: set[str]) -> None:
    unknown = sorted(answer.keys() - keys)
    if unknown:
        raise BadTests(f'the answer has no "{unknown[0]}"; its keys are {", ".join(sorted(keys))}')
