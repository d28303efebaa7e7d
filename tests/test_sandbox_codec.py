"""Values through the codec keep their type and value; what is no value, and what no codec wrote, is refused."""

from __future__ import annotations

import json
import math
from collections import OrderedDict, namedtuple
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given, strategies as some

from togi.sandbox.codec import DEPTH, HASHED, VALUES, NoValue, decode, encode

scalars = (
    some.none()
    | some.booleans()
    | some.integers()
    | some.floats(allow_nan=False)
    | some.complex_numbers(allow_nan=False)
    | some.text()
    | some.binary()
)
hashable = scalars | some.tuples(scalars, scalars) | some.frozensets(scalars, max_size=3)
values = some.recursive(
    hashable | some.sets(hashable, max_size=3),
    lambda inner: (
        some.lists(inner, max_size=3) | some.tuples(inner, inner) | some.dictionaries(hashable, inner, max_size=3)
    ),
    max_leaves=8,
)


def through(value: Any) -> Any:
    return decode(json.loads(json.dumps(encode(value))))


@given(values)
def test_values_come_back_as_they_were(value: Any) -> None:
    assert repr(through(value)) == repr(value) or through(value) == value
    assert type(through(value)) is type(value)


@pytest.mark.parametrize("value", [1, 1.0, True, -0.0, 2**63, -(2**63), "\ud800", bytearray(b"\x00"), (), {}])
def test_values_keep_their_exact_type(value: Any) -> None:
    assert through(value) == value
    assert type(through(value)) is type(value)


def test_numbers_that_json_lacks() -> None:
    assert math.isnan(through(math.nan))
    assert through([math.inf, -math.inf]) == [math.inf, -math.inf]
    assert math.copysign(1, through(-0.0)) == -1
    assert through(-(2**40_000)) == -(2**40_000)


class Always(int):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class Choice(IntEnum):
    ONE = 1


@pytest.mark.parametrize(
    "value", [Always(), Choice.ONE, OrderedDict(), namedtuple("Pair", "a b")(1, 2), object(), int, print, iter([1])]
)
def test_only_plain_types_are_values(value: Any) -> None:
    with pytest.raises(NoValue, match="a value of type"):
        encode(value)
    with pytest.raises(NoValue):
        encode([{"key": value}])


def test_what_is_too_deep_or_too_large_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    deep: Any = 0
    for _ in range(DEPTH + 1):
        deep = [deep]
    shared: Any = [0]
    for _ in range(40):
        shared = [shared, shared]
    for value in (loop, deep, shared, [0] * VALUES, set(range(HASHED + 1)), dict.fromkeys(range(HASHED + 1))):
        with pytest.raises(NoValue, match="deeper than"):
            encode(value)
    for tree in (deep, [0] * VALUES, {"set": list(range(HASHED + 1))}, {"dict": [[0, 0]] * (HASHED + 1)}):
        with pytest.raises(NoValue, match="deeper than"):
            decode(tree)
    assert through(deep[0]) == deep[0]


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"tuple": [], "set": []}',
        '{"tuple": 1}',
        '{"tuple": "ab"}',
        '{"object": []}',
        '{"set": [[1]]}',
        '{"dict": [1]}',
        '{"dict": [[1, 2, 3]]}',
        '{"dict": [[[], 1]]}',
        '{"dict": "ab"}',
        '{"int": "12"}',
        '{"int": "0xg"}',
        '{"int": [1]}',
        '{"float": "1.5"}',
        '{"float": "NaN"}',
        '{"complex": [1, 2]}',
        '{"complex": [1.0]}',
        '{"bytes": "0"}',
        '{"bytes": null}',
        "1e999",
        "NaN",
        "99999999999999999999",
    ],
)
def test_what_no_codec_wrote_is_refused(text: str) -> None:
    with pytest.raises(NoValue):
        decode(json.loads(text))
