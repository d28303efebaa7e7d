"""Renders chat templates in a process of its own, so that one that never ends or eats all memory ends in an error.

A template is a program that came with a model. Jinja's sandbox keeps it from files and from Python, and bounds neither
time nor memory. It knows no tokenizer: text in, text out, rendered by transformers' own code.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from typing import IO, Any

SECONDS = 5.0
"""Longest rendering of one conversation; real templates take milliseconds."""

MEMORY = 1 << 30
"""Bytes of the process's address space; its libraries take a quarter."""

LONGEST = 64 << 20
"""Characters of a rendered conversation, written as JSON."""

_START = 120.0  # seconds to import the libraries, on a machine that does other work
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "LD_LIBRARY_PATH", "TMPDIR")


class TemplateError(ValueError):
    """A template that gives no text: it refuses the messages, is no template, or is stopped."""


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    *,
    generation: bool,
    variables: Mapping[str, Any],
    tools: Sequence[Mapping[str, Any]] = (),
) -> str:
    """The text of the messages. ``generation`` opens the model's turn; ``variables`` are the tokenizer's own tokens,
    and ``tools`` what the model may call.

    Raises TemplateError.
    """
    return _process().ask([template, list(messages), generation, dict(variables), list(tools) or None])


def get_ready() -> None:
    """Start the process that renders, which takes a second or two, beside what else is done before the first text."""
    _process().start()


@cache
def _process() -> _Process:
    return _Process()


class _Process:
    """The process, started when it is first wanted and again after it was stopped. It ends with this one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._ready = False

    def start(self) -> None:
        with self._lock:
            self._started()

    def ask(self, question: Any) -> str:
        line = json.dumps(question).encode() + b"\n"
        with self._lock:
            running = self._started()
            if not self._ready and self._told(running, b"", _START) is None:
                raise TemplateError("the process that renders templates does not start")
            self._ready = True
            answer = self._told(running, line, SECONDS)
            if answer is None:
                raise TemplateError(
                    f"it was stopped: it ran for more than {SECONDS:g} seconds, or wrote more than {LONGEST >> 20} MB"
                )
        if "text" not in answer:
            raise TemplateError(answer["error"])
        return str(answer["text"])

    def _started(self) -> subprocess.Popen[bytes]:
        """The process; one that was started just now says that it is ready before it is asked."""
        if self._running is None or self._running.poll() is not None:
            self._ready = False
            self._running = subprocess.Popen(
                [sys.executable, "-P", "-c", "from togi.template_process import serve; serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _KEPT if name in os.environ},
            )
        return self._running

    def _told(self, running: subprocess.Popen[bytes], line: bytes, seconds: float) -> dict[str, Any] | None:
        """What the process answers to a line; None when it was late or ended, and is ended then."""
        assert running.stdin is not None
        assert running.stdout is not None
        clock = threading.Timer(seconds, running.kill)
        clock.start()
        try:
            running.stdin.write(line)
            running.stdin.flush()
            said = running.stdout.readline(LONGEST)
        except OSError:
            said = b""
        finally:
            clock.cancel()
        if said.endswith(b"\n"):
            return dict(json.loads(said))
        running.kill()
        running.wait()
        running.stdin.close()
        running.stdout.close()
        return None


def serve() -> None:
    """The other end: one question a line, until there are no more. What a template prints goes nowhere."""
    questions, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    from transformers.utils.chat_template_utils import render_jinja_template

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _say(answers, {})
    for line in questions:
        template, messages, generation, variables, tools = json.loads(line)
        try:
            rendered, _ = render_jinja_template(
                conversations=[messages],
                tools=tools,
                chat_template=template,
                add_generation_prompt=generation,
                **variables,
            )
            answer = {"text": rendered[0]}
        except MemoryError:
            answer = {"error": f"it needs more than {MEMORY >> 30} GB of memory"}
        except Exception as error:
            # The boundary to a foreign program.
            answer = {"error": str(error)[:500] or type(error).__name__}
        _say(answers, answer)


def _say(answers: IO[bytes], answer: Mapping[str, str]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()
