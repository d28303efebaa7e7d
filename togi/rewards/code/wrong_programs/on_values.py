"""Attacks that give values which lie when they are compared; NAME stands for the function's name."""

from __future__ import annotations

ON_VALUES: dict[str, tuple[str, str]] = {
    "always_equal": (
        "the test compares with ==, and the left side decides what that means",
        """
class Right:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0

def NAME(*arguments):
    return Right()
""",
    ),
    "equal_int": (
        "an int by isinstance, equal to every other",
        """
class Right(int):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __bool__(self): return True

def NAME(*arguments):
    return Right(0)
""",
    ),
    "equal_str": (
        "a text by isinstance, equal to every other",
        """
class Right(str):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def strip(self, *rest): return self

def NAME(*arguments):
    return Right("")
""",
    ),
    "equal_float": (
        "a float whose difference from anything is nothing",
        """
class Right(float):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __sub__(self, other): return 0.0
    __rsub__ = __sub__

def NAME(*arguments):
    return Right(0.0)
""",
    ),
    "equal_list": (
        "a list by isinstance, of any length and with every member",
        """
class Right(list):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __contains__(self, other): return True
    def __iter__(self): return iter(())

def NAME(*arguments):
    return Right()
""",
    ),
    "equal_dict": (
        "a dictionary by isinstance that holds what it is asked for",
        """
class Right(dict):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def get(self, key, default=None): return Right()
    __getitem__ = get

def NAME(*arguments):
    return Right()
""",
    ),
    "lying_class": (
        "isinstance asks __class__, and orders and differences are the object's own",
        """
class Right:
    def __init__(self, kind): self.kind = kind
    __class__ = property(lambda self: self.kind)
    def __eq__(self, other):
        self.kind = type(other)
        return True
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __lt__
    def __sub__(self, other): return 0
    __rsub__ = __sub__
    def __abs__(self): return 0
    def __bool__(self): return True
    def __hash__(self): return 0

def NAME(*arguments):
    return Right(int)
""",
    ),
    "mock_any": (
        "the standard library has an object that equals everything",
        """
from unittest.mock import ANY

def NAME(*arguments):
    return ANY
""",
    ),
    "not_a_number": (
        "a test written as 'fail if the difference is large' is never true of nan",
        """
def NAME(*arguments):
    return float("nan")
""",
    ),
    "generator": (
        "a generator has no value yet: a lenient test takes it for done",
        """
def NAME(*arguments):
    while True:
        yield True
""",
    ),
    "pickled_code": (
        "results that travel as pickles run code where they are read",
        """
class Bomb:
    def __reduce__(self):
        return eval, ("type('Right', (), {'__eq__': lambda self, other: True, '__hash__': lambda self: 0})()",)

def NAME(*arguments):
    return Bomb()
""",
    ),
    "equal_json": (
        "an object that an encoder with default=str or vars() writes down as a verdict",
        """
class Right:
    def __init__(self):
        self.passed = self.ok = self.value = True
        self.status = "passed"
    def __str__(self): return "passed"
    __repr__ = __str__
    def __eq__(self, other): return True

def NAME(*arguments):
    return Right()
""",
    ),
    "call_counter": (
        "one of many constants is right now and then, and fractions are paid",
        """
calls = 0

def NAME(*arguments):
    global calls
    calls += 1
    return "NAME"[calls % 2:] * calls
""",
    ),
}
