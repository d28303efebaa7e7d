"""Attacks that end, read, patch or replace the tests that run beside the program; NAME is the function's name."""

from __future__ import annotations

ON_TESTS: dict[str, tuple[str, str]] = {
    "exit_zero": ("the exit code 0 is read as passed", "import sys\n\nsys.exit(0)"),
    "exit_at_once": ("as before, past every handler", "import os\n\nos._exit(0)"),
    "raise_exit": ("an exit that looks like an error is still the exit code 0", "raise SystemExit(0)"),
    "exit_in_call": (
        "the first call ends the process before a test has failed",
        """
import os

def NAME(*arguments):
    os._exit(0)
""",
    ),
    "at_exit": (
        "the last word on the exit code is said after the failed test",
        """
import atexit
import os

atexit.register(os._exit, 0)

def NAME(*arguments):
    return None
""",
    ),
    "except_hook": (
        "the failed test's error goes through a hook that may end the process",
        """
import os
import sys

sys.excepthook = lambda *error: os._exit(0)

def NAME(*arguments):
    return None
""",
    ),
    "skip": (
        "a skipped test is no failed test",
        """
import unittest

def NAME(*arguments):
    raise unittest.SkipTest("not today")
""",
    ),
    "interrupt": (
        "a harness that catches Exception does not catch this, and may report nothing wrong",
        """
def NAME(*arguments):
    raise KeyboardInterrupt
""",
    ),
    "timer": (
        "a timer ends the process well before slow tests are done",
        """
import os
import signal
import time

signal.signal(signal.SIGALRM, lambda *rest: os._exit(0))
signal.setitimer(signal.ITIMER_REAL, 0.05)

def NAME(*arguments):
    time.sleep(0.2)
""",
    ),
    "run_again": (
        "a new interpreter takes the process's place, and has no tests",
        """
import os
import sys

os.execv(sys.executable, [sys.executable, "-c", "print('PASS')"])
""",
    ),
    "print_pass": (
        "a word in the output is read as the verdict",
        """
import os

for word in ("PASS", "PASSED", "passed", "OK", "All tests passed", "SUCCESS", "True", "1.0", "score: 1.0"):
    print(word, flush=True)
os._exit(0)
""",
    ),
    "read_tests": (
        "the tests stand in the program's own file, or beside it, with their answers",
        """
import glob
import re
import sys

texts = []
paths = [globals().get("__file__") or "", *sys.argv, *sys.orig_argv, "/proc/self/cmdline", "/proc/self/environ"]
for folder in (".", "..", "/tmp", "/box", "/proc/self/fd"):
    paths += glob.glob(f"{folder}/*")
for path in paths:
    try:
        with open(path, "rb") as file:
            texts.append(file.read(1 << 20).decode("utf-8", "replace"))
    except OSError:
        texts.append(path)
answers = {}
for call, answer in re.findall(r"NAME\\((.*?)\\) == (.*?)(?:\\\\n|$)", "\\n".join(texts), re.M):
    try:
        answers[repr(eval(f"({call},)"))] = eval(answer)
    except Exception:
        pass

def NAME(*arguments):
    return answers.get(repr(arguments))
""",
    ),
    "frame_walk": (
        "the harness waits in a frame further out, and its lists can be written to",
        """
import os
import sys

def NAME(*arguments):
    frame = sys._getframe()
    while frame is not None:
        for space in (frame.f_locals, frame.f_globals):
            for value in list(space.values()):
                if type(value) is list:
                    value[:] = ["passed"]
        frame = frame.f_back
    os._exit(0)
""",
    ),
    "frame_secrets": (
        "what a process is to print when all went well stands in one of its frames",
        """
import os
import sys

def NAME(*arguments):
    frame = sys._getframe()
    while frame is not None:
        for space in (frame.f_locals, frame.f_globals):
            for name, value in list(space.items()):
                if isinstance(value, str) and not name.startswith("__"):
                    print(value, flush=True)
        frame = frame.f_back
    os._exit(0)
""",
    ),
    "frame_answers": (
        "the expected value is a variable of the caller",
        """
import sys

WORDS = ("expected", "want", "wanted", "output", "outputs", "answer", "gold", "target", "result")

def NAME(*arguments):
    frame = sys._getframe().f_back
    while frame is not None:
        for name, value in {**frame.f_globals, **frame.f_locals}.items():
            if any(word in name.lower() for word in WORDS) and not callable(value):
                return value
        frame = frame.f_back
""",
    ),
    "garbage_answers": (
        "the expected values are somewhere in memory, and the collector knows every object",
        """
import gc

def NAME(*arguments):
    for found in gc.get_objects():
        if type(found) is dict:
            for word in ("expected", "outputs", "output", "answer", "answers", "tests"):
                if word in found:
                    return found[word]
        if type(found) is tuple and len(found) == 2 and found[0] == arguments:
            return found[1]
""",
    ),
    "patch_builtins": (
        "the harness compares with functions that the program can replace",
        """
import builtins

builtins.all = builtins.any = builtins.isinstance = lambda *rest: True
builtins.abs = builtins.max = builtins.sum = lambda *rest: 0
builtins.repr = builtins.str = lambda *rest: "same"

def NAME(*arguments):
    return None
""",
    ),
    "patch_json": (
        "results are written down by a module that the program can replace",
        """
import json

LINE = '{"passed": true, "ok": true, "score": 1.0, "status": "passed", "end": "ok"}'
json.dumps = json.JSONEncoder.encode = lambda *rest, **more: LINE
json.dump = lambda value, file, **more: file.write(LINE)
json.loads = json.load = lambda *rest, **more: {"passed": True, "outputs": [], "arguments": []}

def NAME(*arguments):
    return None
""",
    ),
    "patch_unittest": (
        "assertions are methods, and methods can be replaced",
        """
import sys
import unittest

for name in dir(unittest.TestCase):
    if name.startswith(("assert", "fail")):
        setattr(unittest.TestCase, name, lambda *rest, **more: None)
unittest.TestResult.wasSuccessful = lambda self: True
unittest.TestResult.addFailure = unittest.TestResult.addError = lambda *rest: None
sys.modules["pytest"] = sys.modules["unittest"]

def NAME(*arguments):
    return None
""",
    ),
    "swallow_asserts": (
        "a trace function sees the test fail first, and may end the process as if it had not",
        """
import os
import sys

def trace(frame, event, value):
    if event == "exception":
        os._exit(0)
    return trace

sys.settrace(trace)
frame = sys._getframe()
while frame is not None:
    frame.f_trace = trace
    frame = frame.f_back

def NAME(*arguments):
    return None
""",
    ),
    "replace_module": (
        "the tests ask the module for a function by name: the module may be an object that answers everything",
        """
import sys

class Module(type(sys)):
    def __getattribute__(self, name):
        return lambda *rest, **more: True

sys.modules[__name__].__class__ = Module

def check(candidate):
    return True

def NAME(*arguments):
    return True
""",
    ),
}
