"""Starts the learners beside the first, ends them with it, and says which one is lost. It knows runs and processes; it
does not know what is learned."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.distributed import Store, TCPStore, rendezvous  # type: ignore[attr-defined]

from togi.launch.launcher import Launched, Launcher
from togi.launch.local import LocalLauncher
from togi.launch.log_end import end_of
from togi.learners.following import COUNT, LOCAL_COUNT, LOCAL_RANK, RANK, STORE_WAIT, own_card
from togi.models.ranks import ALONE, DEADLINE, IN_VAIN, Ranks, Together, of_talk
from togi.run import Run
from togi.run_folder.files import RunFolder

_LOOPBACK = "127.0.0.1"
_LOOK = 0.05  # seconds between two looks at processes that start
_SETTLE = 3.0  # seconds in which a process whose connection broke is seen to be gone


class LearnerLost(ValueError):
    """A learner beside the first has died, or did not answer in time: the run can go on from its last checkpoint."""


@contextmanager
def together(
    run: Run, folder: RunFolder, launcher: Launcher | None = None, *, deadline: float = DEADLINE
) -> Iterator[Ranks]:
    """The processes that learn a run, of which this is the first; the others are started, unless torchrun has started
    all of them. Raises LearnerLost where one of them dies or hangs."""
    count = run.scale.learners
    if count == 1:
        yield ALONE
        return
    others = Others(run.folder / "learners")
    cores = torch.get_num_threads()
    threads = max(1, cores // int(os.environ.get(LOCAL_COUNT, str(count))))
    if RANK in os.environ:
        check_world(count, os.environ)
        store, _, _ = next(rendezvous("env://", timeout=STORE_WAIT))
    else:
        store = others.start(run, count, launcher or LocalLauncher(), threads)
    over = False
    try:
        others.wait_for(store, count, deadline)
        ranks = Together(store, 0, count, cards=own_card(), threads=threads, deadline=deadline)
        others.ranks = ranks
        folder.event("learners", count=count)
        yield ranks
        ranks.lead("end")
        over = True
    except RuntimeError as error:
        why = others.blame(error)
        if why is None:
            raise
        folder.event("learner_lost", why=why)
        raise LearnerLost(f"{why}\nThe same command goes on from the last checkpoint.") from error
    finally:
        others.end(5.0 if over else 1.0)
        torch.set_num_threads(cores)
        if over:
            ranks.part()


def check_world(count: int, env: Mapping[str, str]) -> None:
    """Raises ValueError where torchrun has started another number of processes than the recipe wants."""
    if int(env.get(COUNT, "1")) != count:
        raise ValueError(
            f"scale.learners is {count}, and torchrun has started {env.get(COUNT, '1')} processes: give it the same "
            "number (--nproc-per-node times --nnodes), or start togi without torchrun, and it starts the others itself"
        )


class Others:
    """The learners beside the first, by rank."""

    def __init__(self, logs: Path) -> None:
        self.ranks: Together | None = None
        self._logs = logs
        self.started: dict[int, Launched] = {}

    def start(self, run: Run, count: int, launcher: Launcher, threads: int) -> Store:
        if not (run.folder / "recipe.toml").is_file() or not run.recipe:
            raise ValueError(
                "a run made in Python cannot be started again by the other learners: write it as a recipe, or start "
                f"the program with torchrun --nproc-per-node {run.scale.learners}"
            )
        listening = socket.create_server((_LOOPBACK, 0))
        port = int(listening.getsockname()[1])
        store = TCPStore(
            _LOOPBACK, port, count, is_master=True, wait_for_workers=False, master_listen_fd=listening.detach()
        )
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        for rank in range(1, count):
            env = {
                RANK: str(rank),
                LOCAL_RANK: str(rank),
                COUNT: str(count),
                "MASTER_ADDR": _LOOPBACK,
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": str(threads),
            }
            self.started[rank] = launcher.start(
                f"learner {rank}",
                # What the folder's recipe says of these two may be older.
                [
                    sys.executable,
                    "-m",
                    "togi",
                    "train",
                    str(run.folder),
                    f"scale.learners={count}",
                    f"model.device={run.model.device}",
                ],
                env=env,
                log=self._log(rank),
            )
        return store

    def wait_for(self, store: Store, count: int, deadline: float) -> None:
        """Until all are here."""
        begun = time.monotonic()
        while missing := [rank for rank in range(1, count) if not store.check([f"here/{rank}"])]:
            if dead := self._dead():
                raise LearnerLost(dead)
            if time.monotonic() - begun > deadline:
                raise LearnerLost(
                    f"learner {', '.join(map(str, missing))} did not start within {deadline:g} s{self._said(missing)}"
                )
            time.sleep(_LOOK)

    def blame(self, error: RuntimeError) -> str | None:
        """Who is lost, in words, after a talk among the learners has failed; None where nobody is."""
        settled = time.monotonic() + _SETTLE
        while not (dead := self._dead()) and time.monotonic() < settled:
            time.sleep(_LOOK)
        if dead or self.ranks is None or not of_talk(error):
            return dead or None
        now = time.time()
        late = {rank: at for rank, at in enumerate(self.ranks.notes()) if rank and at[0] != IN_VAIN}
        told = [f"learner {rank} does not answer ({what}, for {now - at:.0f} s)" for rank, (what, at) in late.items()]
        return "; ".join(told) + self._said(list(late)) if told else f"the learners lost each other: {error}"

    def _dead(self) -> str:
        """Who has died, but for those that were left alone by one who has."""
        noted = {} if self.ranks is None else dict(enumerate(self.ranks.notes()))
        dead = [
            rank
            for rank, process in self.started.items()
            if not process.alive() and noted.get(rank, ("",))[0] != IN_VAIN
        ]
        return "; ".join(f"learner {rank} died ({self.started[rank].ending()}){self._said([rank])}" for rank in dead)

    def _said(self, ranks: list[int]) -> str:
        """The ends of the logs of these learners."""
        ends = {rank: end_of(self._log(rank)) for rank in ranks}
        return "".join(f"\nThe end of {self._log(rank)}:\n{said}" for rank, said in ends.items() if said)

    def _log(self, rank: int) -> Path:
        return self._logs / f"{rank}.log"

    def end(self, seconds: float) -> None:
        for process in self.started.values():
            process.end(seconds)
