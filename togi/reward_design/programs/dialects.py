"""The kinds of reward program: what each defines, and the words that it may use. It reads and runs no program.

``STEPS`` pays the steps of an agent, ``TEXTS`` what a language model writes, in the form of a recipe's own function.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """``function`` takes ``arguments``. ``builtins`` are names that are there, ``modules`` what may be imported with
    what they offer, ``at_hand`` names that stand for modules also where a program forgot to import them, ``attributes``
    whatever may follow a dot. ``as_module`` says that a program is loaded once and called by the names of its
    arguments, so that nothing but constants may stand outside its functions."""

    function: str
    arguments: tuple[str, ...]
    builtins: frozenset[str]
    modules: Mapping[str, frozenset[str]]
    at_hand: Mapping[str, str]
    attributes: frozenset[str]
    as_module: bool


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


BUILTINS = _words(
    """
    abs all any bool dict enumerate filter float frozenset int isinstance len list map max min pow range reversed
    round set sorted str sum tuple zip True False None Exception ValueError ZeroDivisionError
    """
)
MATH = frozenset(name for name in vars(math) if not name.startswith("_"))
NUMPY = _words(
    """
    abs absolute add all allclose any arange arccos arcsin arctan arctan2 argmax argmin argsort array array_equal
    asarray atleast_1d average bool_ cbrt ceil clip concatenate copysign cos cosh cross cumsum deg2rad degrees
    diff divide dot e equal exp expm1 fabs flatnonzero float32 float64 floor full greater greater_equal heaviside
    hypot inf inner int32 int64 interp isclose isfinite isinf isnan less less_equal linspace log log10 log1p log2
    logical_and logical_not logical_or max maximum mean median min minimum mod multiply nan nan_to_num negative
    newaxis not_equal ones ones_like outer pi power prod rad2deg radians ravel reshape round sign sin sinc sinh
    sort sqrt square squeeze stack std subtract sum tan tanh trunc var vstack where zeros zeros_like
    """
)
LINALG = frozenset({"norm"})
TYPING = _words(
    """
    Any Dict List Mapping Optional Sequence Tuple Union
    """
)
_ARRAYS = _words(
    """
    all any append argmax argmin astype clip copy cumsum dot dtype extend flatten get index insert item items keys
    max mean min ndim pop prod ravel reshape round setdefault shape size sort squeeze std sum T tolist update
    values var
    """
)
STEPS = Dialect(
    function="compute_reward",
    arguments=("obs", "action", "next_obs", "info"),
    builtins=BUILTINS,
    modules=MappingProxyType(
        {"math": MATH, "numpy": NUMPY | {"linalg", "ndarray"}, "numpy.linalg": LINALG, "typing": TYPING}
    ),
    at_hand=MappingProxyType({"math": "math", "np": "numpy"}),
    attributes=_ARRAYS | MATH | NUMPY | LINALG | TYPING | {"linalg", "ndarray"},
    as_module=False,
)

RE = frozenset(name for name in re.__all__ if name not in ("template", "purge"))
STRING = _words("ascii_letters ascii_lowercase ascii_uppercase digits hexdigits punctuation whitespace")
COLLECTIONS = _words("Counter defaultdict")
_TEXTS = _words(
    """
    add append capitalize casefold clear content copy count difference discard elements end endswith extend find
    get group groupdict groups index insert intersection isalnum isalpha isdecimal isdigit islower isnumeric isspace
    issubset issuperset isupper items join keys ljust lower lstrip most_common partition pop remove removeprefix
    removesuffix replace reverse rfind rindex rjust role rpartition rsplit rstrip setdefault sort span split splitlines
    start startswith strip swapcase title total union update upper values zfill
    """
)
TEXTS = Dialect(
    function="score",
    arguments=("task", "completion"),
    builtins=BUILTINS | _words("chr divmod ord AttributeError IndexError KeyError TypeError"),
    modules=MappingProxyType({"re": RE, "math": MATH, "string": STRING, "collections": COLLECTIONS, "typing": TYPING}),
    at_hand=MappingProxyType({"re": "re", "math": "math", "string": "string"}),
    attributes=_TEXTS | RE | MATH | STRING | COLLECTIONS | TYPING | {"id", "prompt", "answer", "info"},
    as_module=True,
)
