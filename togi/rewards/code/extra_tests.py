"""More tests for a task, whose outputs a right program gives in a box of its own; it sees no completion.

A program that learned the tests of its rows by heart fails tests that stand in no row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from togi.rewards.code.row_tests import BadTests, Maker, Tests
from togi.sandbox.box import Box, Calls, Limits, Ran, Script

MADE = """

def togi_fresh_inputs(seed, count):
    import random

    rng = random.Random(seed)
    return [fresh(rng) for _ in range(count)]
"""


def with_fresh(tests: Tests, maker: Maker, count: int, name: str, box: Box, limits: Limits) -> Tests:
    """The tests and ``count`` more, the same for the same ``name``. Raises BadTests when they cannot be made."""
    seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest(), "big")
    making = Calls(source=maker.fresh + MADE, function="togi_fresh_inputs", arguments=((seed, count),))
    made = _values(box.run([making], limits)[0], 1, '"fresh"')[0]
    inputs = _inputs(made, bool(tests.function))
    if tests.check:  # no outputs are wanted
        return replace(tests, inputs=(*tests.inputs, *inputs), outputs=())
    outputs = run_reference(tests, maker.reference, inputs, box, limits)
    return replace(tests, inputs=(*tests.inputs, *inputs), outputs=(*tests.outputs, *outputs))


def run_reference(tests: Tests, reference: str, inputs: Sequence[Any], box: Box, limits: Limits) -> list[Any]:
    """What a right program gives for the inputs. Raises BadTests when it fails."""
    if tests.function:
        source = f"{tests.setup}\n{reference}"
        program = Calls(source=source, function=tests.function, arguments=tuple(inputs))
        return _values(box.run([program], limits)[0], len(inputs), '"reference"')
    ran = box.run([Script(source=reference, stdin=text) for text in inputs], limits)
    for each in ran:
        if each.status != "ok":
            raise BadTests(f'"reference" failed on a fresh input: {each.status} {each.note}'.strip())
    return [each.stdout for each in ran]


def _inputs(made: Any, calls: bool) -> list[Any]:
    kinds = (list, tuple) if calls else (str,)
    if not all(isinstance(each, kinds) for each in made):
        wanted = "a list of arguments" if calls else "the text of standard input"
        raise BadTests(f'"fresh" gives {wanted}; it gave {next(e for e in made if not isinstance(e, kinds))!r}')
    return [tuple(each) for each in made] if calls else list(made)


def _values(ran: Ran, count: int, who: str) -> list[Any]:
    failed = next((outcome for outcome in ran.outcomes if outcome.status != "ok"), None)
    if ran.status != "ok" or failed is not None or len(ran.outcomes) != count:
        said = f"{ran.status}: {ran.note}" if failed is None else f"{failed.status}: {failed.note}"
        raise BadTests(f"{who} failed ({said})")
    return [outcome.value for outcome in ran.outcomes]
