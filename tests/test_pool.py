"""The pool under graders that hang, crash, print, eat memory and lie. Limits are short; nothing here is timed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from togi.find_function import absolute, resolve
from togi.sandbox.box import Tier
from togi.sandbox.workers.pool import Pool, Verdict, why_no_jail

GRADERS = """
import os, signal, socket, subprocess, sys, time

def add(a, b=0):
    return a + b
def where():
    place = {"cwd": os.getcwd(), "env": dict(os.environ), "stdin": sys.stdin.read()}
    return place | {"sid": os.getsid(0), "pid": os.getpid()}
def loop():
    while True:
        pass
def tower():
    return 9 ** 9 ** 9
def eat(megabytes):
    return len(bytearray(megabytes * 2**20))
def leave(code):
    os._exit(code)
def stop():
    sys.exit(0)
def segfault():
    os.kill(os.getpid(), signal.SIGSEGV)
def fail():
    raise KeyError("what happened")
def chatter(lines):
    for _ in range(lines):
        print("x" * 79)
    os.write(1, b"{}\\n" * 10)
    os.write(2, b"noise\\n" * 10)
    return "done"
def deep():
    return deep()
def deep_value():
    value = []
    for _ in range(10_000):
        value = [value]
    return value
def odd():
    return {1, 2}
def huge():
    return "x" * (8 * 2**20)
def forge():
    for fd in range(3, 64):
        try:
            os.write(fd, b"not a reply\\n")
        except OSError:
            pass
    time.sleep(30)
def write(path, count):
    try:
        with open(path, "wb") as file:
            file.write(b"x" * count)
    except OSError as error:
        return [type(error).__name__, os.path.exists(path) and os.path.getsize(path)]
    return ["", count]
def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        return type(error).__name__
def connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), 2)
    except OSError:
        return "no"
def forks():
    count = 0
    try:
        while count < 200:
            if not os.fork():
                time.sleep(30)
            count += 1
    except OSError:
        pass
    return count
def child(mark):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", mark])
    time.sleep(30)
def apply(function, value):
    return function(value)
FORGED = b'{"status": "ok", "value": "forged", "output": "", "peak_mb": 1, "last": false}\\n'
def spare():
    for fd in range(3, 64):
        try:
            os.write(fd, FORGED * 3)
        except OSError:
            pass
    return "spared"
def outlive():
    if not os.fork():
        os.setsid()
        if not os.fork():
            while True:
                spare()
        os._exit(0)
    time.sleep(0.05)
    return "outlived"
def patch():
    global add
    add = lambda a, b=0: "patched"
    json = __import__("json")
    json.dumps = lambda value: FORGED.decode()
    return "patched"
def litter():
    for name in ("add.py", "sitecustomize.py", "json.py"):
        open(name, "w").write("raise SystemExit")
    os.makedirs("a/b/c")
    return "littered"
def freeze():
    os.kill(os.getppid(), signal.SIGSTOP)
    return "froze"
def behead():
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(30)
def listed():
    return sorted(os.listdir("."))
def modules():
    return sorted(sys.modules)
def own(task, completion):
    return 1.0
SEEN = []
def recall(key):
    seen = list(SEEN)
    SEEN.append(key)
    if key == "fails":
        raise SystemExit
    return seen
"""


@pytest.fixture(scope="module")
def graders(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("graders") / "graders.py"
    path.write_text(GRADERS)
    return str(path)


ERRORS = ("PermissionError", "FileNotFoundError", "OSError")
START = 5.0  # seconds, on a busy machine, for the worker that is started anew
TIERS: list[Tier] = ["process", "bubblewrap"]


def offered(tier: Tier) -> Tier:
    if tier == "bubblewrap" and why_no_jail():
        pytest.skip(why_no_jail())
    return tier


@pytest.fixture(scope="module", params=TIERS)
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    with Pool(workers=2, seconds=1.0, memory_mb=256, tier=offered(request.param)) as pool:
        yield pool


@pytest.fixture(scope="module")
def jailed() -> Iterator[Pool]:
    with Pool(workers=2, seconds=5, memory_mb=256, tier=offered("bubblewrap")) as pool:
        yield pool


def running(mark: str) -> bool:
    """Whether a process of this machine has ``mark`` among its arguments (Linux)."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if mark.encode() in path.read_bytes().split(b"\0"):
                return True
    return False


def ended(mark: str) -> bool:
    """Whether it is gone, after a while."""
    for _ in range(500):
        if not running(mark):
            return True
        threading.Event().wait(0.01)
    return False


def gone(pid: int) -> bool:
    """Whether a process has ended, after a while (Linux)."""
    for _ in range(1000):
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                threading.Event().wait(0.01)
                continue
        return True
    return False


def test_verdicts_come_in_order(pool: Pool, graders: str) -> None:
    verdicts = pool.call_many(f"{graders}:add", [{"a": index, "b": 1} for index in range(50)])
    assert verdicts == [Verdict(value=index + 1) for index in range(50)]
    assert pool.call_many(f"{graders}:add", []) == []


def test_functions_are_given_by_reference(pool: Pool, graders: str) -> None:
    assert pool.call(f"{graders}:apply", {"value": -3}, {"function": "builtins:abs"}).value == 3


@pytest.mark.parametrize("hang", ["loop", "tower"])
def test_a_hang_is_a_time_out_and_harms_no_sibling(pool: Pool, graders: str, hang: str) -> None:
    verdicts = pool.call_many(f"{graders}:apply", [{"value": 0}], {"function": f"{graders}:{hang}"})
    assert verdicts[0].status == "error"  # called with a value it does not take: the worker lives on
    assert pool.call(f"{graders}:{hang}", {}).status == "timeout"
    assert pool.alive == 2
    assert pool.call(f"{graders}:add", {"a": 1}).value == 1


def test_a_hundred_calls_with_hangs_among_them_all_get_verdicts(graders: str) -> None:
    with Pool(workers=4, seconds=0.1, memory_mb=256) as pool:
        path = Path(graders).parent / "some_hang.py"
        path.write_text("import time\ndef grade(n):\n    return n if n % 10 else time.sleep(30)\n")
        verdicts = pool.call_many(f"{path}:grade", [{"n": n} for n in range(100)])
        assert [verdict.status for verdict in verdicts] == ["ok" if n % 10 else "timeout" for n in range(100)]
        assert pool.alive == 4


@pytest.mark.parametrize(
    ("function", "arguments", "status", "note"),
    [
        ("leave", {"code": 0}, "error", "ended with exit code 0"),
        ("leave", {"code": 3}, "error", "ended with exit code 3"),
        ("segfault", {}, "error", "killed by SIGSEGV"),
        ("stop", {}, "error", "SystemExit"),
        ("fail", {}, "error", "KeyError: 'what happened' (graders.py:"),
        ("eat", {"megabytes": 1024}, "memory", "out of memory"),
        ("deep", {}, "depth", "RecursionError"),
        ("deep_value", {}, "depth", "RecursionError"),
        ("odd", {}, "error", "not JSON serializable"),
        ("huge", {}, "error", "larger than"),
        ("forge", {}, "error", "something other than the worker"),
        ("absent", {}, "error", "no function"),
        ("add", {"c": 1}, "error", "unexpected keyword"),
    ],
)
def test_failures_have_a_status_and_a_reason(
    pool: Pool, graders: str, function: str, arguments: dict[str, int], status: str, note: str
) -> None:
    verdict = pool.call(f"{graders}:{function}", arguments)
    assert verdict.status == status
    assert note in verdict.note
    assert pool.call(f"{graders}:add", {"a": 1}).value == 1
    assert pool.alive == 2


@pytest.mark.parametrize("fresh", [True, False])
def test_memory_of_all_that_a_call_started_is_limited(pool: Pool, fresh: bool) -> None:
    memory = {"memory": 384 * 2**20, "processes": 4}
    with Pool(workers=1, seconds=10.0, memory_mb=128, tier=pool.tier) as one:
        verdict = one.call("togi.sandbox.confine.escape_attempts:swells_together", memory, fresh=fresh)
        assert (verdict.status, verdict.note) == ("memory", "its processes held more than 256 MB together")
        assert one.call("builtins:abs", {}, fresh=fresh).note.startswith("TypeError")


def test_what_a_call_prints_is_kept_apart_and_cut(pool: Pool, graders: str) -> None:
    verdict = pool.call(f"{graders}:chatter", {"lines": 10_000})
    assert (verdict.status, verdict.value) == ("ok", "done")
    assert verdict.output.startswith("x" * 79)
    assert len(verdict.output) == 4096


def test_the_environment_holds_no_secrets(pool: Pool, graders: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_API_KEY", "secret")
    with Pool(workers=1, seconds=5, tier=pool.tier) as fresh:
        seen = fresh.call(f"{graders}:where", {}).value
    assert "secret" not in seen["env"].values()
    assert seen["cwd"] not in (str(Path.cwd()), str(Path.home()))
    assert seen["env"]["HOME"] == seen["cwd"]
    assert seen["stdin"] == ""
    assert seen["sid"] != os.getsid(0)


def test_files_are_limited(pool: Pool, graders: str) -> None:
    kind, size = pool.call(f"{graders}:write", {"path": "big", "count": 20 * 2**20}).value
    assert kind == "OSError"
    assert size <= 16 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_children_of_a_worker_are_killed_with_it(pool: Pool, graders: str) -> None:
    mark = f"child-{os.getpid()}-{pool.tier}"
    assert pool.call(f"{graders}:child", {"mark": mark}).status == "timeout"
    assert ended(mark)


def test_workers_that_died_idle_are_replaced(graders: str) -> None:
    with Pool(workers=2, seconds=5, tier="process") as pool:
        pids = {verdict.value["pid"] for _ in range(5) for verdict in pool.call_many(f"{graders}:where", [{}] * 4)}
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert [verdict.value for verdict in pool.call_many(f"{graders}:add", [{"a": 1}] * 4)] == [1] * 4


@pytest.mark.parametrize("fault", ["bytearray(2**30)", "f = lambda: f(); f()", "raise TimeoutError"])
def test_what_fails_while_loading_is_an_error(pool: Pool, tmp_path: Path, fault: str) -> None:
    (tmp_path / "loads.py").write_text(f"{fault.replace('; ', chr(10))}\ndef grade():\n    return 1\n")
    verdict = pool.call(f"{tmp_path / 'loads.py'}:grade", {})
    assert verdict.status == "error"
    assert "cannot load" in verdict.note


@pytest.mark.parametrize(
    "attack",
    [
        *("spare", "outlive", "patch", "litter", "behead", "leave", "forks"),
        pytest.param("freeze", marks=pytest.mark.slow),  # waits for clocks
    ],
)
@pytest.mark.parametrize("fresh", [True, False])
def test_one_call_does_not_touch_the_next(pool: Pool, graders: str, attack: str, fresh: bool) -> None:
    with Pool(workers=1, seconds=1.0, memory_mb=256, tier=pool.tier) as one:
        assert one.call(f"{graders}:add", {"a": 1}, fresh=fresh).value == 1
        one.call(f"{graders}:{attack}", {"code": 0} if attack == "leave" else {}, fresh=True)
        verdicts = one.call_many(f"{graders}:add", [{"a": number} for number in range(5)], fresh=fresh)
        assert verdicts == [Verdict(value=number) for number in range(5)]
        assert one.call(f"{graders}:listed", {}).value == []


def test_calls_that_need_none_have_no_fresh_process(pool: Pool, graders: str) -> None:
    with Pool(workers=1, seconds=5.0, memory_mb=256, tier=pool.tier) as one:
        kept = {one.call(f"{graders}:where", {}).value["pid"] for _ in range(3)}
        fresh = {one.call(f"{graders}:where", {}, fresh=True).value["pid"] for _ in range(3)}
    assert (len(kept), len(fresh)) == (1, 3)


@pytest.mark.parametrize("first", ["w", "fails"])
def test_fresh_calls_find_what_a_call_without_foreign_arguments_left_and_nothing_else(
    pool: Pool, graders: str, first: str
) -> None:
    with Pool(workers=1, seconds=5.0, memory_mb=256, tier=pool.tier) as one:
        asked = [{"key": key} for key in "abc"]
        seen = one.call_many(f"{graders}:recall", asked, fresh=True, warm=[{"key": first}] * 3)
        assert [verdict.value for verdict in seen] == [[first]] * 3
        assert one.call(f"{graders}:recall", {"key": "d"}, fresh=True).value == [first]


def test_a_call_that_goes_elsewhere_takes_no_file_with_it(pool: Pool, graders: str, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("x")
    folder = str(tmp_path) if pool.tier == "process" else "/"
    with Pool(workers=1, seconds=5.0, memory_mb=256, tier=pool.tier) as one:
        one.call("os:chdir", {"path": folder})
        assert one.call(f"{graders}:listed", {}).value == []
    assert (tmp_path / "kept").exists()


def test_a_worker_that_spoke_before_its_call_is_not_believed(graders: str) -> None:
    with Pool(workers=1, seconds=5.0, memory_mb=256, tier="process") as one:
        one.call(f"{graders}:add", {"a": 1})
        (worker,) = one._workers
        worker.received += b'0 {"status": "ok", "value": "forged"}\n'
        assert one.call(f"{graders}:add", {"a": 2}).value == 2
        (fresh,) = one._workers
        assert fresh is not worker
        assert fresh.reply(b'0 {"status": "ok", "value": "forged"}')["status"] == "error"


def test_threads_share_a_pool(pool: Pool, graders: str) -> None:
    results: dict[int, list[int]] = {}

    def work(thread: int) -> None:
        verdicts = pool.call_many(f"{graders}:add", [{"a": thread, "b": index} for index in range(20)])
        results[thread] = [verdict.value for verdict in verdicts]

    threads = [threading.Thread(target=work, args=(number * 100,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {start: [start + index for index in range(20)] for start in (0, 100, 200, 300)}


def test_closing_ends_the_workers_and_a_later_call_starts_them(graders: str) -> None:
    pool = Pool(workers=1, seconds=5, tier="process")
    assert pool.alive == 0
    seen = pool.call(f"{graders}:where", {}).value
    pool.close()
    assert pool.alive == 0
    assert not Path(seen["cwd"]).exists()
    assert gone(seen["pid"])
    assert pool.call(f"{graders}:add", {"a": 2}).value == 2
    pool.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends orphans on Linux only")
def test_a_worker_ends_with_a_parent_that_is_killed_in_the_middle_of_a_call(graders: str, tmp_path: Path) -> None:
    path = tmp_path / "hang.py"
    path.write_text(
        f"import os\ndef hang():\n    open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n    9**9**9\n"
    )
    code = f"from togi.sandbox.workers.pool import Pool; Pool(1, 60, tier='process').call({f'{path}:hang'!r}, {{}})"
    parent = subprocess.Popen([sys.executable, "-c", code])
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert parent.poll() is None
    pid = int((tmp_path / "pid").read_text())
    parent.kill()
    parent.wait()
    assert gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_nothing_of_a_jailed_worker_outlives_a_parent_that_is_killed(graders: str) -> None:
    mark = f"orphan-{os.getpid()}"
    tier = offered("bubblewrap")
    call = f"call({f'{graders}:child'!r}, {{'mark': {mark!r}}})"
    code = f"from togi.sandbox.workers.pool import Pool; Pool(1, 60, tier={tier!r}).{call}"
    parent = subprocess.Popen([sys.executable, "-c", code])
    while not running(mark):
        assert parent.poll() is None
    parent.kill()
    parent.wait()
    assert ended(mark)


def hang_many(count: int, tier: Tier, graders: str) -> None:
    """Each of ``count`` hangs ends at its limit and at most a second later, and the pool is full again."""
    with Pool(workers=2, seconds=0.1, memory_mb=256, tier=tier) as pool:
        pool.call(f"{graders}:add", {"a": 1})
        for _ in range(count):
            began = time.monotonic()
            assert pool.call(f"{graders}:loop", {}).status == "timeout"
            assert pool.alive == 2
            assert time.monotonic() - began < 0.1 + 1.0 + START
        assert pool.call_many(f"{graders}:add", [{"a": 1}] * 4) == [Verdict(value=1)] * 4


@pytest.mark.parametrize("tier", TIERS)
def test_hangs_in_a_row_leave_the_pool_full(graders: str, tier: Tier) -> None:
    hang_many(10, offered(tier), graders)


@pytest.mark.slow
@pytest.mark.parametrize("tier", TIERS)
def test_a_hundred_hangs_in_a_row_leave_the_pool_full(graders: str, tier: Tier) -> None:
    hang_many(100, offered(tier), graders)


FORM = {"text": "", "think": "think", "answer": "", "min_think": 1}
NUMBER = {"text": "42", "gold": "42", "tag": "", "marker": "", "tolerance": 0.0, "percent": "drop"}


@pytest.mark.parametrize(
    ("grader", "arguments", "wanted"),
    [
        ("togi.graders.marks:form", FORM, {"marks"}),
        ("togi.graders.number:number", NUMBER, {"marks", "number", "lexemes"}),
        ("togi.graders.call_user_function:signature", {"name": "own"}, {"call_user_function"}),
    ],
)
def test_a_worker_loads_what_its_grader_needs_and_no_more(
    graders: str, grader: str, arguments: dict[str, object], wanted: set[str]
) -> None:
    functions = {"function": f"{graders}:own"} if "name" in arguments else {}
    with Pool(workers=1, seconds=5, tier="process") as pool:
        verdict = pool.call(grader, arguments, functions)
        loaded = set(pool.call(f"{graders}:modules", {}).value)
    assert verdict.status == "ok", verdict.note
    ours = {name.split(".")[1] for name in loaded if name.startswith("togi.")}
    assert ours <= {"find_function", "graders", "sandbox", "types", "unicode_words"}
    assert {f"togi.graders.{name}" for name in wanted} <= loaded
    assert len([name for name in loaded if name.startswith("togi.graders.")]) < 12
    assert not loaded & {"torch", "transformers", "pydantic", "rich", "sympy", "numpy", "asyncio"}


def test_a_jailed_worker_reads_and_writes_what_it_must(jailed: Pool, graders: str, tmp_path: Path) -> None:
    near = Path(graders).parent / "words.txt"
    near.write_text("near")
    near.chmod(0o600)
    far = tmp_path / "secret.txt"
    far.write_text("far")
    assert jailed.call(f"{graders}:read", {"path": str(near)}).value == "near"
    for path in (far, Path(__file__), Path("/etc/passwd"), Path("/etc/shadow")):
        assert jailed.call(f"{graders}:read", {"path": str(path)}).value == "FileNotFoundError"
    for path in (tmp_path / "new", near, near.parent / "new", Path("/usr/lib/new"), Path("/new"), Path("/proc/new")):
        assert jailed.call(f"{graders}:write", {"path": str(path), "count": 1}).value[0] in ERRORS
    verdict = jailed.call(f"{graders}:write", {"path": "mark", "count": 1})
    assert verdict.value == ["", 1]
    assert "mark" in jailed.traces.left
    assert jailed.call(f"{graders}:read", {"path": "mark"}).value == "FileNotFoundError"
    assert jailed.call("json:dumps", {"obj": 1}).value == "1"  # and the next call finds it alive


def test_a_jailed_worker_has_no_network_and_few_children(jailed: Pool, graders: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert jailed.call(f"{graders}:connect", {"port": server.getsockname()[1]}).value == "no"
    assert jailed.call(f"{graders}:forks", {}).value < 64
    assert jailed.call(f"{graders}:add", {"a": 1}).value == 1
    assert jailed.call("os:getuid", {}).value != 0
    assert jailed.call("os:chmod", {"path": "/dev/null", "mode": 0o666}).note.startswith("PermissionError")


def test_foreign_code_is_refused_where_nothing_keeps_it_in(monkeypatch: pytest.MonkeyPatch) -> None:
    Pool(tier="process").refuse_foreign_code("x")  # asked for
    monkeypatch.setenv("PATH", "")
    why_no_jail.cache_clear()
    try:
        assert Pool().tier == "process"
        with pytest.raises(ValueError, match=r"x runs code that a model wrote.*install bubblewrap.*tier = .process"):
            Pool().refuse_foreign_code("x")
        with pytest.raises(ValueError, match="install bubblewrap"):
            Pool(tier="bubblewrap").call("builtins:abs", {"x": 1})
    finally:
        why_no_jail.cache_clear()
    with pytest.raises(ValueError, match="x runs code that a model wrote"):
        Pool(tier="landlock").refuse_foreign_code("x")


def test_impossible_pools_are_refused() -> None:
    with pytest.raises(ValueError, match="workers=0"):
        Pool(workers=0)
    with pytest.raises(ValueError, match="seconds=0"):
        Pool(seconds=0)


# References ----------------------------------------------------------------------------------------------------------


def test_references_to_files_and_modules(tmp_path: Path) -> None:
    (tmp_path / "near.py").write_text("VALUE = 5\n")
    (tmp_path / "mine.py").write_text("from near import VALUE\ndef f():\n    return VALUE\nnumber = 3\n")
    assert resolve("mine.py:f", tmp_path)() == 5
    assert resolve("mine.py:f", tmp_path) is resolve(str(tmp_path / "mine.py") + ":f", Path())
    assert absolute("mine.py:f", tmp_path) == f"{tmp_path / 'mine.py'}:f"
    assert resolve("math:gcd", tmp_path)(4, 6) == 2
    (tmp_path / "mine.py").write_text("def f():\n    return 6\n")
    assert resolve("mine.py:f", tmp_path)() == 6


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("mine.py", "names no function"),
        ("absent.py:f", "there is no file"),
        ("mine.py:scor", 'did you mean "score"'),
        ("bad.py:f", "not valid Python"),
        ("mine.py:LIMIT", "a function was wanted"),
        ("no_such_module:f", "no installed module"),
        ("math:gdc", 'did you mean "gcd"'),
    ],
)
def test_references_that_name_nothing(tmp_path: Path, reference: str, message: str) -> None:
    (tmp_path / "mine.py").write_text("def score():\n    return 1\nLIMIT = 3\n")
    (tmp_path / "bad.py").write_text("def f(:\n")
    with pytest.raises(ValueError, match=message):
        resolve(reference, tmp_path)
