"""Asks a user's reward function in a worker, in Togi's or in TRL's signature, and checks what it returns.

A function is anything that can be called: a function, a lambda, a partial, an instance with ``__call__``, or its class
when that needs no arguments. It may be ``async``: what is asked together is then awaited at once. It knows no reward.
"""

from __future__ import annotations

import inspect
import logging
import math
import numbers
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from functools import lru_cache, partial
from itertools import islice
from typing import Any, Literal

from togi.sandbox.workers.worker_call import explain, status
from togi.types import Message, Task

LARGEST = 1e9  # a reward beyond this overflows float32 statistics and is a mistake, not a preference
MOST_PARTS, LONGEST_NAME = 20, 60  # parts of a reward, and characters of the name of one
IN_TIME = 0.9  # of a call's clock that what is awaited may take: the rest is for telling who was late

Reply = Mapping[str, Any]
"""What became of one question: ``{"values": [...]}`` or ``{"status", "note"}``. A value that has parts is
``{"value": number, "parts": {name: number}}``."""


def signature(*, function: Callable[..., Any], name: str) -> dict[str, Any]:
    """``{"kind": "togi" or "trl", "awaited": bool}``, told by the names of the parameters."""
    function = _instance(function, name)
    return {"kind": _kind(function, name), "awaited": _is_async(function)}


def ask(
    *, function: Callable[..., Any], name: str, questions: Sequence[Mapping[str, Any]], jailed: bool, seconds: float
) -> dict[str, Any]:
    """``{"replies": one a question, "reached": the place on the network that was asked for, or ""}``.

    A question holds a ``task``, ``completions`` with their ``completion_ids``, and ``columns``; Togi's signature is
    asked for the first completion, TRL's for all.
    """
    function = _instance(function, name)
    put = _put_togi if _kind(function, name) == "togi" else _put_trl
    _listen()
    _reached.clear()
    with _heard():
        if _is_async(function):
            replies = _together(function, name, put, questions, seconds * IN_TIME)
        else:
            replies = [_reply(function, name, put, question) for question in questions]
    place = _reached[0] if _reached else ""
    if place and jailed:
        replies = [_walled(reply, name, place) for reply in replies]
    return {"replies": replies, "reached": place}


def make_task(plain: Mapping[str, Any]) -> Task:
    return Task(
        id=plain["id"],
        prompt=tuple(Message(**message) for message in plain["prompt"]),
        answer=plain["answer"],
        info=plain["info"],
    )


# The function -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _instance(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    if not inspect.isclass(function):
        return function
    try:
        made = function()
    except TypeError as error:
        raise ValueError(
            f"{name} is a class that is not made without arguments ({error}): name an instance of it"
        ) from error
    if not callable(made):
        raise ValueError(f"{name} is a class without __call__; a function was wanted")
    return made


def _parameters(function: Callable[..., Any], name: str) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError as error:
        raise ValueError(f"{name} does not tell its parameters: wrap it in a function of your own") from error


def _kind(function: Callable[..., Any], name: str) -> Literal["togi", "trl"]:
    parameters = _parameters(function, name)
    names = [parameter.name for parameter in parameters]
    if {"task", "completion"} <= set(names):
        return "togi"
    if {"completions", "completion_ids"} & set(names) or any(each.kind is each.VAR_KEYWORD for each in parameters):
        return "trl"
    raise ValueError(
        f"{name}({', '.join(names)}) is neither Togi's signature (task, completion) -> float "
        "nor TRL's (completions, **columns) -> list of float"
    )


def _is_async(function: Callable[..., Any]) -> bool:
    while isinstance(function, partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


# Asking -------------------------------------------------------------------------------------------------------------

Put = Callable[[Callable[..., Any], str, Mapping[str, Any]], tuple[Any, int]]
"""Calls a function with a question; gives what it returned, and how many numbers that should be (0: one by itself)."""


def _put_togi(function: Callable[..., Any], name: str, question: Mapping[str, Any]) -> tuple[Any, int]:
    given = {"task": make_task(question["task"]), "completion": question["completions"][0]}
    parameters = _parameters(function, name)
    _refuse_missing(parameters, given, name, "a task and a completion are given")
    first = [given[each.name] for each in parameters if each.kind is each.POSITIONAL_ONLY and each.name in given]
    rest = {each.name: given[each.name] for each in parameters[len(first) :] if each.name in given}
    return function(*first, **rest), 0


def _put_trl(function: Callable[..., Any], name: str, question: Mapping[str, Any]) -> tuple[Any, int]:
    """Every column is repeated and passed by keyword where it is accepted. Messages where the prompt is a chat."""
    task, texts = question["task"], question["completions"]
    count = len(texts)
    prompt, completions = task["prompt"], [[{"role": "assistant", "content": text}] for text in texts]
    if all(message["role"] == "text" for message in prompt):
        prompt, completions = "".join(message["content"] for message in prompt), texts
    given: dict[str, Any] = {column: [value] * count for column, value in question["columns"].items()}
    given |= {"prompts": [prompt] * count, "completions": completions, "completion_ids": question["completion_ids"]}
    given |= {"log_extra": _log_extra, "log_metric": _log_metric}
    parameters = _parameters(function, name)
    columns = sorted(given.keys() - {"log_extra", "log_metric"})
    _refuse_missing(parameters, given, name, f"the data has the columns {columns}")
    if not any(each.kind is each.VAR_KEYWORD for each in parameters):
        given = {each.name: given[each.name] for each in parameters if each.name in given}
    return function(**given), count


def _refuse_missing(parameters: Sequence[inspect.Parameter], given: Mapping[str, Any], name: str, what: str) -> None:
    open_ended = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    missing = [
        each.name
        for each in parameters
        if each.default is each.empty and each.kind not in open_ended and each.name not in given
    ]
    if missing:
        raise ValueError(f"{name} wants {missing}, and {what}: give it a default, or take it away")


def _log_extra(column: str, values: Iterable[Any]) -> None:
    print(f"{column}: {list(values)}")


def _log_metric(metric: str, value: Any) -> None:
    print(f"{metric}: {value}")


def _reply(function: Callable[..., Any], name: str, put: Put, question: Mapping[str, Any]) -> Reply:
    try:
        result, count = put(function, name, question)
        if inspect.isawaitable(result):
            from togi.graders import awaiting  # asyncio, which most functions need not wait for

            result = awaiting.one(result)
        return {"values": _values(result, count, name)}
    except MemoryError:
        raise  # the worker that ran out of memory is not used again
    except Exception as error:
        return _failure(error)


def _together(
    function: Callable[..., Any], name: str, put: Put, questions: Sequence[Mapping[str, Any]], seconds: float
) -> list[Reply]:
    """Await all questions at once; one that is late or raises costs its neighbours nothing."""
    from togi.graders import awaiting

    async def ask_one(question: Mapping[str, Any]) -> Reply:
        result, count = put(function, name, question)
        return {"values": _values(await result, count, name)}

    ended = awaiting.together([ask_one(question) for question in questions], seconds)
    late: Reply = {"status": "timeout", "note": f"did not answer in {seconds:g} s"}
    return [late if each is None else _failure(each) if isinstance(each, BaseException) else each for each in ended]


def _failure(error: BaseException) -> Reply:
    return {"status": status(error), "note": explain(error)}


# What it returned ---------------------------------------------------------------------------------------------------


def _values(result: Any, count: int, name: str) -> list[Any]:
    """Numbers from a list, a tuple, an array or a tensor; one by itself, perhaps with its parts, where ``count`` is 0.

    None says that the function does not apply, and in TRL's signature so does nan, as there.
    """
    if not count and isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], Mapping):
        return [_with_parts(*result, name)]
    if not count:
        return [_number(result, name)]
    listed = result.tolist() if hasattr(result, "tolist") else result
    if isinstance(listed, str | bytes | Mapping | Set) or not isinstance(listed, Iterable):
        if count > 1 or not isinstance(listed, numbers.Real):
            raise ValueError(f"{name} returned {_show(result)}; a list of {count} numbers was wanted")
        listed = [listed]
    values = list(islice(listed, count + 1))
    if len(values) != count:
        got = f"{len(values)}" if len(values) < count else "more"
        raise ValueError(f"{name} returned {got} numbers for {count} completion{'s' * (count > 1)}")
    plain = [_single(value) for value in values]
    return [None if isinstance(each, float) and math.isnan(each) else _number(each, name) for each in plain]


def _number(value: Any, name: str) -> float | None:
    value = _single(value)
    if value is None:
        return None
    if isinstance(value, str | bytes) or not (isinstance(value, numbers.Real) or hasattr(type(value), "__float__")):
        raise ValueError(f"{name} returned {_show(value)}; a number was wanted")
    number = float(value)
    if not math.isfinite(number) or abs(number) > LARGEST:
        raise ValueError(f"{name} returned {number}; a finite number of at most {LARGEST:g} was wanted")
    return number


def _with_parts(value: Any, parts: Mapping[Any, Any], name: str) -> dict[str, Any] | None:
    number = _number(value, name)
    if len(parts) > MOST_PARTS:
        raise ValueError(f"{name} returned {len(parts)} parts: at most {MOST_PARTS}")
    if unnamed := [part for part in parts if not is_part_name(part)]:
        raise ValueError(
            f"{name}: a part is named by a text of 1 to {LONGEST_NAME} characters; got {_show(unnamed[0])}"
        )
    read = {part: _number(each, f"{name}, part {part}") for part, each in parts.items()}
    if number is None:
        return None
    return {"value": number, "parts": {part: each for part, each in read.items() if each is not None}}


def is_part_name(name: Any) -> bool:
    return isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable()


def _single(value: Any) -> Any:
    """What an array, a tensor or a list of one element holds."""
    value = value.tolist() if hasattr(value, "tolist") else value
    while isinstance(value, list | tuple) and len(value) == 1:
        value = value[0].tolist() if hasattr(value[0], "tolist") else value[0]
    return value


def _show(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"[:200]


# What it says and where it reaches ----------------------------------------------------------------------------------

_reached: list[str] = []
PLACES = ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto", "socket.__new__")


@contextmanager
def _heard() -> Iterator[None]:
    """Let what is logged go where prints go now: handlers made at import still write to where they went then."""
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, [logging.StreamHandler(sys.stdout)]
    root.handlers[0].setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    try:
        yield
    finally:
        root.handlers = handlers


@lru_cache(maxsize=1)
def _listen() -> None:
    """From now on ``_reached`` notes what is asked of the network, even where the function hides that it failed."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in PLACES and len(_reached) < 1 and (place := _place(event, arguments)):
            _reached.append(place)

    sys.addaudithook(hook)


def _place(event: str, arguments: tuple[Any, ...]) -> str:
    """The place that an event of a socket names; empty for one that stays on this machine's own files."""
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        return str(arguments[0])
    family = arguments[1] if event == "socket.__new__" else arguments[0].family
    if family not in (socket.AF_INET, socket.AF_INET6):
        return ""
    return "a server" if event == "socket.__new__" else str(arguments[1][0])


def _walled(reply: Reply, name: str, place: str) -> Reply:
    """A failure that is no wonder in a jail; a success that is one stays, and is told of."""
    why = f"{name} asked for the network ({place}), which graders in the jail do not have"
    why += ': to allow it, write tier = "process" under [grading]'
    if "values" in reply:
        print(why)
        return reply
    return {"status": "error", "note": f"{why}. It said {reply['note']}"}
