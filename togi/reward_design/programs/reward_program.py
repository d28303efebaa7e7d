"""Runs a reward program that was checked, with nothing in reach but what is offered to it. Only the jail imports this.

What it gives back is read strictly: a finite number, and finite parts by name.
"""

from __future__ import annotations

import builtins
import math
import traceback
import typing
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from togi.reward_design.programs.dialects import LINALG, MATH, NUMPY, STEPS, TYPING
from togi.reward_design.programs.static_check import LONGEST_NAME

FILE = "reward.py"
MOST_PARTS, LARGEST = 20, 1e9


class ProgramFault(Exception):
    """What is wrong with what a program did, in words."""


class RewardProgram:
    """A program, ready to be called. It is made anew for every call, so that nothing it names can keep what another
    call did. Raises ProgramFault, also for whatever the program raises."""

    def __init__(self, source: str) -> None:
        self._builtins = _builtins()
        try:
            self._code = compile(source, FILE, "exec")
            self._made()
        except Exception as error:
            raise ProgramFault(_told(error)) from None

    def __call__(
        self, obs: Any, action: Any, next_obs: Any, info: Mapping[str, float]
    ) -> tuple[float, dict[str, float]]:
        try:
            paid = self._made()(np.array(obs), _own(action), np.array(next_obs), dict(info))
        except Exception as error:
            raise ProgramFault(_told(error)) from None
        if not isinstance(paid, tuple) or len(paid) != 2 or not isinstance(paid[1], dict):
            raise ProgramFault(f"it returned {type(paid).__name__}, and (float, {{name: float}}) is wanted")
        total, parts = paid
        if len(parts) > MOST_PARTS:
            raise ProgramFault(f"it returned {len(parts)} parts: at most {MOST_PARTS}")
        return _number(total, "the reward"), {
            _name(name): _number(value, f"part {name}") for name, value in parts.items()
        }

    def _made(self) -> Callable[..., Any]:
        names: dict[str, Any] = {"__builtins__": self._builtins, "__name__": "reward"}
        names |= {name: _MODULES[module] for name, module in STEPS.at_hand.items()}
        exec(self._code, names)
        return cast("Callable[..., Any]", names[STEPS.function])


def _own(action: Any) -> Any:
    """The action as the program's own: a number stays one."""
    return np.array(action) if isinstance(action, np.ndarray) and action.ndim else int(action)


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise ProgramFault(f"a part is named by a text of 1 to {LONGEST_NAME} characters; got {name!r:.80}")
    return name


def _number(value: Any, what: str) -> float:
    """One finite number, which may stand in an array."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(-1)[0]
    if not isinstance(value, bool | int | float | np.number | np.bool_):
        shape = f" of shape {value.shape}" if isinstance(value, np.ndarray) else ""
        raise ProgramFault(f"{what} is {type(value).__name__}{shape}, and one number is wanted")
    try:
        number = float(value)
    except (OverflowError, TypeError) as error:
        raise ProgramFault(f"{what} is no float: {error}") from None
    if not abs(number) <= LARGEST:
        raise ProgramFault(f"{what} is {number:g}, and a finite number up to {LARGEST:g} is wanted")
    return number


def _told(error: Exception) -> str:
    """An exception with the program's line that it came from."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == FILE]
    try:
        said = f"{type(error).__name__}: {error}"[:300]
    except Exception:
        said = type(error).__name__
    return f"line {lines[-1]}: {said}" if lines else said


def _builtins() -> dict[str, Any]:
    offered = {name: getattr(builtins, name) for name in STEPS.builtins}
    return offered | {"__import__": _offered_module}


def _offered_module(name: str, *_: Any) -> Any:
    return _MODULES[name.partition(".")[0]] if name != "numpy.linalg" or not (_ and _[2:3] and _[2]) else _LINALG


class _OfArrays(type):
    """That of ``np.ndarray`` as a program has it: arrays are of it, and none is made by it. numpy's own makes arrays of
    whatever lies in memory, and pointers of numbers."""

    def __instancecheck__(cls, it: object) -> bool:
        return isinstance(it, np.ndarray)

    def __call__(cls, *_: object, **__: object) -> Any:
        raise TypeError("np.ndarray says what is an array: make one with np.array or np.zeros")


class _AnArray(metaclass=_OfArrays):
    __class_getitem__ = np.ndarray.__class_getitem__


_LINALG = SimpleNamespace(**{name: getattr(np.linalg, name) for name in LINALG})
_MODULES = {
    "math": SimpleNamespace(**{name: getattr(math, name) for name in MATH}),
    "numpy": SimpleNamespace(**{name: getattr(np, name) for name in NUMPY}, linalg=_LINALG, ndarray=_AnArray),
    "typing": SimpleNamespace(**{name: getattr(typing, name) for name in TYPING}),
}
