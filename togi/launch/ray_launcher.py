"""Commands on the machines of a Ray cluster, each held by an actor that has room of its own there.

Room for all that a run starts is reserved at once, so that a run either has all of its processes or does not begin.
Nothing but commands, their output and how they end goes through Ray: what processes say to each other they say by HTTP,
and weights are files. Who starts again what has died decides for itself; a name that is started again takes the room
that it had.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from togi.extras import lacking
from togi.launch.needs import Needs
from togi.launch.ray_process import RayProcess, answered, ask_for_answer

_LOOK = 0.5  # seconds between two looks at a command
_GONE = 60.0  # seconds without an answer after which an actor is taken to be lost
_ROOM = 300.0  # seconds that room, and then the first sign of an actor, may be waited for
_LATE = 15.0  # seconds that an actor may need beside those that its command is given to end
_STORE = 100 << 20  # bytes of Ray's object store in a Ray of our own, which holds nothing of a run
_SOME = 0.001  # of a machine's own resource, which says that a place is to be there
_LOOPBACK, _ANYWHERE = "127.0.0.1", "0.0.0.0"


class RayLauncher:
    """Starts commands in a Ray cluster. ``needs`` has what each of them needs, by its name, and ``here`` what this
    process needs itself; ``shared`` is a folder that every machine must reach, since weights are files in it."""

    def __init__(self, address: str, needs: Mapping[str, Needs], shared: Path, *, here: Needs) -> None:
        """``address`` is ``ray``, for the cluster that this machine is part of, or else a new one on this machine
        alone, or ``ray://HOST:PORT``. Raises ValueError where Ray is not installed, does not answer, or has no room.
        """
        self._ray = _connected(address, [*needs.values(), here])
        self._shared = shared.resolve()
        self._needs = needs
        self._places = {name: number for number, name in enumerate(needs)}
        self._running: dict[str, RayLaunched] = {}
        self._room: Any = None
        own = self._cards(here) and not address.startswith("ray://")
        bundles = [self._bundle(each) for each in needs.values()]
        if own:
            bundles.append({**self._bundle(here), f"node:{self._address()}": _SOME})
        if bundles:
            self._room = self._reserved(bundles)
        if own:
            self._keep_to_own_cards(len(bundles) - 1)

    @property
    def listen(self) -> str:
        """This machine alone where the cluster has no other one, else whoever reaches the machine."""
        addresses = {str(node["NodeManagerAddress"]) for node in self._ray.nodes() if node["Alive"]}
        return _LOOPBACK if addresses <= {self._address()} else _ANYWHERE

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> RayLaunched:
        """As ``Launcher.start``. Raises ValueError where the machine does not reach the shared folder."""
        assert name in self._places, f"room for {name} was not reserved"
        before = self._running.pop(name, None)
        if before is not None:
            before.end(0)
        log.parent.mkdir(parents=True, exist_ok=True)
        from ray.exceptions import RayError

        actor = self._placed(RayProcess, self._places[name], self._needs[name])
        try:
            host = self._host(self._ray.get(actor.address.remote(), timeout=_ROOM))
            self._check_shared(actor, host)
            told = (name, list(command), dict(env), sys.executable, str(Path.cwd()))
            self._ray.get(actor.start.remote(*told), timeout=_GONE)
        except RayError as error:
            with suppress(RayError, ValueError):
                self._ray.kill(actor)
            raise ValueError(f"{name} cannot be started by Ray: {_first_line(error)}") from None
        self._running[name] = RayLaunched(self._ray, actor, host, log)
        return self._running[name]

    def close(self) -> None:
        """End all that it started, and leave the cluster; a Ray of our own ends."""
        for launched in self._running.values():
            launched.end(0)
        if self._room is not None:
            self._ray.util.remove_placement_group(self._room)
        self._ray.shutdown()

    def _placed(self, kind: type, place: int, needs: Needs) -> Any:
        """An actor in the room of a place."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        placed = PlacementGroupSchedulingStrategy(self._room, placement_group_bundle_index=place)
        asked = {"num_cpus": needs.cores, "num_gpus": self._cards(needs), "scheduling_strategy": placed}
        return self._ray.remote(kind).options(**asked, max_concurrency=2, max_restarts=0).remote()

    def _cards(self, needs: Needs) -> int:
        return needs.cards if self._ray.cluster_resources().get("GPU") else 0

    def _bundle(self, needs: Needs) -> dict[str, float]:
        cards = self._cards(needs)
        return {"CPU": needs.cores, **({"GPU": cards} if cards else {})}

    def _reserved(self, bundles: Sequence[Mapping[str, float]]) -> Any:
        """Room for all of them, on as few machines as there can be."""
        room = self._ray.util.placement_group(list(bundles), strategy="PACK")
        if not room.wait(timeout_seconds=_ROOM):
            there, free = self._ray.cluster_resources(), self._ray.available_resources()
            self._ray.util.remove_placement_group(room)
            wanted = {name: sum(each.get(name, 0) for each in bundles) for name in ("CPU", "GPU")}
            told = (
                f"{wanted[name]:g} {word} (it has {there.get(name, 0):g}, {free.get(name, 0):g} of them free)"
                for name, word in (("CPU", "cores"), ("GPU", "cards"))
                if wanted[name]
            )
            raise ValueError(
                f"Ray has had no room for {_ROOM:.0f} s: wanted {' and '.join(told)}. Ask for fewer processes "
                "(scale.engines, scale.learners), or wait until others are done"
            )
        return room

    def _keep_to_own_cards(self, place: int) -> None:
        """Have this process see the cards alone that are reserved for it, before it looks at any."""
        actor = self._placed(RayProcess, place, Needs(cores=0, cards=1))
        cards = self._ray.get(actor.cards.remote(), timeout=_ROOM)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(cards)
        self._ray.kill(actor)

    def _address(self) -> str:
        return str(self._ray.util.get_node_ip_address())

    def _host(self, address: str) -> str:
        """Where what listens at a machine of the cluster is reached from here."""
        return _LOOPBACK if address == self._address() else address

    def _check_shared(self, actor: Any, host: str) -> None:
        asked = ask_for_answer(self._shared)
        said = self._ray.get(actor.shares.remote(str(self._shared), asked), timeout=_GONE)
        if not answered(self._shared, asked, said):
            raise ValueError(
                f"the machine {host} does not share the folder {self._shared}, in which weights reach it: take one "
                "that all machines of the cluster have under this name, with --folder"
            )


class RayLaunched:
    """A command held by an actor. A thread of this process looks at it, and adds what it writes to the log."""

    def __init__(self, ray: Any, actor: Any, host: str, log: Path) -> None:
        self.host = host
        self._ray, self._actor, self._log = ray, actor, log
        self._ending, self._read = "", 0
        self._over = threading.Event()
        self._looking = threading.Lock()
        threading.Thread(target=self._watch, name=f"watching {log.stem}", daemon=True).start()

    def alive(self) -> bool:
        return not self._ending

    def ending(self) -> str:
        return self._ending

    def end(self, seconds: float) -> None:
        if self._over.is_set():
            return
        self._over.set()
        from ray.exceptions import RayError

        with suppress(RayError):  # it is gone already
            self._ray.get(self._actor.end.remote(seconds), timeout=seconds + _LATE)
            self._look()
        with suppress(RayError, ValueError):
            self._ray.kill(self._actor)
        self._ending = self._ending or "ended"

    def _watch(self) -> None:
        from ray.exceptions import GetTimeoutError, RayError

        while not self._over.wait(_LOOK) and self.alive():
            try:
                self._look()
            except GetTimeoutError:
                self._ending = f"its machine {self.host} has not answered Ray for {_GONE:.0f} s"
            except RayError as error:
                self._ending = f"lost by Ray: {_first_line(error)}"

    def _look(self) -> None:
        """Take over all that the command wrote since the last look."""
        with self._looking:
            while True:
                ending, said = self._ray.get(self._actor.look.remote(self._read), timeout=_GONE)
                if not said:
                    break
                self._read += len(said)
                with self._log.open("ab") as file:
                    file.write(said)
            self._ending = self._ending or ending


def _connected(address: str, needs: Sequence[Needs]) -> Any:
    """Ray, connected to a cluster. It reports nothing to anybody, and a Ray of our own obeys only who has its token."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise ValueError(lacking("--on ray", "ray")) from None
    if ray.is_initialized():
        return ray
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address != "ray":
        try:
            ray.init(address, **quiet)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ValueError(f"no Ray answers at {address}: {_first_line(error)}") from None
        return ray
    try:
        ray.init("auto", **quiet)
    except ConnectionError:
        os.environ.setdefault("RAY_worker_niceness", "0")  # engines are no lesser work than what they are asked by
        cores = max(os.cpu_count() or 1, sum(each.cores for each in needs))
        own = {"include_dashboard": False, "_node_ip_address": _LOOPBACK, "object_store_memory": _STORE}
        ray.init("local", num_cpus=cores, **own, **quiet)
        with suppress(OSError):  # whoever reads it can have programs run here
            (Path.home() / ".ray" / "auth_token").chmod(0o600)
    return ray


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
