"""A learner beside the first: it does with its part of the weights what the first tells it. It knows runs and
policies; it samples nothing and writes nothing but its part of checkpoints."""

from __future__ import annotations

import gc
import os
import signal
from datetime import timedelta
from pathlib import Path

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from togi.models.policy import LocalPolicy
from togi.models.ranks import IN_VAIN, Order, Together, of_talk
from togi.protocols import Algorithm
from togi.run import Run, open_model, seed_of, start_of
from togi.stage_policy import open_policy

# torchrun's environment variables
RANK, COUNT, LOCAL_RANK, LOCAL_COUNT = "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"
STORE_WAIT = timedelta(minutes=10)


def follows(run: Run) -> bool:
    """Whether this process is one of several learners of a run, and not the first."""
    return run.scale.learners > 1 and int(os.environ.get(RANK, "0")) > 0


def follow(run: Run) -> None:
    """Do what the first learner says, until it says that the run is over."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first, which says when it is over
    rank, count = int(os.environ[RANK]), int(os.environ[COUNT])
    store = TCPStore(
        os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), count, is_master=False, timeout=STORE_WAIT
    )
    store.set(f"here/{rank}", "")
    ranks = Together(store, rank, count, cards=own_card(), threads=torch.get_num_threads())
    try:
        _follow(run, ranks)
    except RuntimeError as error:
        if of_talk(error):
            ranks.note(IN_VAIN)  # so that nobody takes this one for the one that is lost
        raise
    ranks.part()


def _follow(run: Run, ranks: Together) -> None:
    policy: LocalPolicy | None = None
    algorithm: Algorithm | None = None
    while (order := ranks.hear()).verb != "end":
        if order.verb == "open":
            policy = None
            gc.collect()
            number = int(order.words["stage"])
            torch.manual_seed(seed_of(run, "init"))
            loaded = open_model(run, start_of(run, number), sampled=False)
            algorithm = run.stages[number].algorithm
            opened = open_policy(run, number, loaded, getattr(torch, order.words["dtype"]), ranks).policy
            assert isinstance(opened, LocalPolicy), "a cluster has processes of its own"
            policy = opened
        else:
            assert policy is not None, "a stage is opened first"
            assert algorithm is not None
            obey(policy, order, algorithm)


def obey(policy: LocalPolicy, order: Order, algorithm: Algorithm) -> None:
    """Do with this process's part of a policy what the first does with its own."""
    match order.verb:
        case "annotate":
            policy.annotate(order.samples, frozenset(order.words["needs"]))
        case "learn":
            policy.learn(order.samples, algorithm)
        case "renew_reference":
            policy.renew_reference()
        case "save":
            policy.save(Path(order.words["path"]))
        case "load":
            policy.load(Path(order.words["path"]))
        case "full_precision":
            with policy.full_precision():
                pass
        case _:
            raise AssertionError(f"no learner knows how to {order.verb}")


def own_card() -> bool:
    """Take the card of this process's number on its machine; whether there is one."""
    if not torch.cuda.is_available():
        return False
    torch.cuda.set_device(int(os.environ.get(LOCAL_RANK, "0")) % torch.cuda.device_count())
    return True
