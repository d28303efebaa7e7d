"""Attacks on the process's surroundings: replies, files, memory, processes and the network; NAME is the function."""

from __future__ import annotations

ON_MACHINES: dict[str, tuple[str, str]] = {
    "forged_replies": (
        "results come through an open file descriptor, and the program holds it too",
        """
import os

LINES = [
    '{"began": true}', '{"value": true}', '{"value": 1}', '{"end": "ok", "note": ""}', '{"passed": true}',
    '{"status": "ok", "value": 1.0}', "PASS", "passed", "1.0",
]
for fd in range(256):
    for line in LINES:
        try:
            os.write(fd, line.encode() + b"\\n")
        except OSError:
            break
os._exit(0)
""",
    ),
    "forged_in_turn": (
        "one well-formed reply for each call, before the harness says its own",
        """
import os

def NAME(*arguments):
    for fd in range(3, 64):
        try:
            os.write(fd, b'{"value": true}\\n')
        except OSError:
            pass
    return True
""",
    ),
    "write_score": (
        "a score or a test file that stands there already may be believed",
        """
import os

FILES = {
    "result.json": '{"passed": true, "score": 1.0}', "score.txt": "1.0", "reward.txt": "1.0",
    "conftest.py": "def pytest_runtest_makereport(item, call): pass", "sitecustomize.py": "import os; os._exit(0)",
    "tests.py": "", "test_solution.py": "def test(): pass",
}
for name, text in FILES.items():
    try:
        with open(name, "w") as file:
            file.write(text)
    except OSError:
        pass

def NAME(*arguments):
    return None
""",
    ),
    "network": (
        "somebody out there has the answer, or can be told the question",
        """
import socket

def ask(host, port):
    try:
        with socket.create_connection((host, port), 0.5) as link:
            link.sendall(b"GET /solutions/NAME HTTP/1.0\\r\\n\\r\\n")
            return link.recv(1 << 16).decode()
    except OSError:
        return None

def NAME(*arguments):
    return ask("127.0.0.1", 80) or ask("127.0.0.1", 8000)
""",
    ),
    "output_flood": (
        "a grader that keeps all output runs out of memory, and its failure may not count against the program",
        """
import sys

def NAME(*arguments):
    for _ in range(4096):
        sys.stdout.write("PASS\\n" * (1 << 16))
""",
    ),
    "memory_bomb": (
        "a grader that is killed for its memory gives no verdict, and no verdict may mean no loss",
        """
hoard = []

def NAME(*arguments):
    while len(hoard) < 4096:
        hoard.append(bytearray(1 << 24))
""",
    ),
    "fork_bomb": (
        "as before, with processes",
        """
import os
import time

def NAME(*arguments):
    for _ in range(2000):
        try:
            if os.fork() == 0:
                time.sleep(3)
                os._exit(0)
        except OSError:
            pass
""",
    ),
    "fork_and_survive": (
        "a child that outlives its parent goes on when nobody watches, and may hold pipes open",
        """
import os
import time

if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(2)
        os.write(1, b"PASS\\n")
    os._exit(0)
os._exit(0)
""",
    ),
    "kill_parent": (
        "a verdict is given by a process that can be killed",
        """
import os
import signal

try:
    os.kill(os.getppid(), signal.SIGKILL)
except OSError:
    pass

def NAME(*arguments):
    return None
""",
    ),
    "hang": (
        "a time-out may be left out of the mean instead of counted as wrong",
        """
def NAME(*arguments):
    while True:
        pass
""",
    ),
    "close_pipes": (
        "a verdict that cannot be written may be taken for a good one",
        """
import os

def NAME(*arguments):
    os.closerange(0, 256)
""",
    ),
    "huge_value": (
        "a value that is large or deep enough breaks whoever reads it",
        """
def NAME(*arguments):
    value = []
    for _ in range(100_000):
        value = [value]
    return value
""",
    ),
}
