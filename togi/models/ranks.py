"""The processes that learn together, each with its rank: what one tells the others, and what they say together.

It knows bytes and numbers; it does not know weights, samples' meaning or losses. Rank 0 leads: what it is asked to do
with the weights it tells the others first, and they do the same. What is told is safetensors and JSON, never code.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import Store  # type: ignore[attr-defined]

from togi.models.sample_bytes import packed_samples, unpacked_samples
from togi.types import Sample

DEADLINE = 600.0
"""Seconds that one learner waits for another within a step; the longest wait is for one pass over a micro-batch."""
_BETWEEN_STEPS = timedelta(days=30)  # rank 0 samples then, as long as that takes


@dataclass(frozen=True, kw_only=True)
class Order:
    """What rank 0 has the others do: ``verb`` with these samples and words."""

    verb: str
    samples: Sequence[Sample] = ()
    words: Mapping[str, Any] = field(default_factory=dict)


class Ranks(Protocol):
    """The processes that learn together. ``rank`` is this one's number of ``count``."""

    @property
    def rank(self) -> int: ...

    @property
    def count(self) -> int: ...

    def lead(self, verb: str, samples: Sequence[Sample] = (), **words: Any) -> None:
        """Have the others do what this process is about to do; nothing where another one leads."""
        ...

    def gather(self, own: bytes) -> list[bytes]:
        """What each process says, in the order of their ranks."""
        ...

    def most(self, number: int) -> int:
        """The largest of the numbers that the processes have."""
        ...

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Put in the place of each tensor the sum over all processes."""
        ...

    def note(self, what: str) -> None:
        """Say what this process is at."""
        ...

    def side_by_side(self) -> AbstractContextManager[None]:
        """While open, all processes compute at once, each on its part of the machine's cores."""
        ...


class Alone:
    """One process that learns by itself."""

    rank, count = 0, 1

    def lead(self, verb: str, samples: Sequence[Sample] = (), **words: Any) -> None: ...

    def gather(self, own: bytes) -> list[bytes]:
        return [own]

    def most(self, number: int) -> int:
        return number

    def add(self, tensors: Sequence[Tensor]) -> None: ...

    def note(self, what: str) -> None: ...

    def side_by_side(self) -> AbstractContextManager[None]:
        return nullcontext()


ALONE = Alone()

IN_VAIN = "waited for another learner in vain"


class Together:
    """Several processes under torch.distributed, of which this is one. ``store`` is what all of them reach; there each
    says what it is at, so that who is waited for has a name. ``threads`` is its part of the cores."""

    def __init__(
        self, store: Store, rank: int, count: int, *, cards: bool, threads: int, deadline: float = DEADLINE
    ) -> None:
        self.rank, self.count = rank, count
        self._threads = threads
        self._store = store
        backend = "cpu:gloo,cuda:nccl" if cards else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=timedelta(seconds=deadline))
        self._orders = dist.new_group(backend="gloo", timeout=_BETWEEN_STEPS)

    def lead(self, verb: str, samples: Sequence[Sample] = (), **words: Any) -> None:
        if self.rank == 0:
            data = packed_samples(samples, {"verb": verb, **words})
            dist.broadcast(torch.tensor([len(data)]), 0, group=self._orders)
            dist.broadcast(_bytes(data), 0, group=self._orders)
        self.note(verb)

    def hear(self) -> Order:
        """The next order of rank 0, however long it takes."""
        self.note("waiting for an order")
        length = torch.zeros(1, dtype=torch.int64)
        dist.broadcast(length, 0, group=self._orders)
        data = torch.empty(int(length), dtype=torch.uint8)
        dist.broadcast(data, 0, group=self._orders)
        samples, words = unpacked_samples(data.numpy().tobytes())
        return Order(verb=words.pop("verb"), samples=samples, words=words)

    def gather(self, own: bytes) -> list[bytes]:
        lengths = [torch.zeros(1, dtype=torch.int64) for _ in range(self.count)]
        dist.all_gather(lengths, torch.tensor([len(own)]))
        longest = max(1, *(int(length) for length in lengths))
        # All send equally much: what is shorter is filled up.
        pieces = [torch.empty(longest, dtype=torch.uint8) for _ in lengths]
        dist.all_gather(pieces, _bytes(own.ljust(longest, b"\0")))
        return [piece.numpy().tobytes()[: int(length)] for piece, length in zip(pieces, lengths, strict=True)]

    def most(self, number: int) -> int:
        largest = torch.tensor([number])
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest)

    def add(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            dist.all_reduce(tensor)

    @contextmanager
    def side_by_side(self) -> Iterator[None]:
        cores = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            yield
        finally:
            torch.set_num_threads(cores)

    def note(self, what: str) -> None:
        self._store.set(f"at/{self.rank}", json.dumps([what, time.time()]))

    def notes(self) -> list[tuple[str, float]]:
        """What each process was last at, and since when, in seconds since 1970."""
        return [(str(what), float(since)) for what, since in map(self._noted, range(self.count))]

    def _noted(self, rank: int) -> list[Any]:
        key = f"at/{rank}"
        return list(json.loads(self._store.get(key))) if self._store.check([key]) else ["starting", 0.0]

    def part(self) -> None:
        """Leave the group."""
        dist.destroy_process_group()


def of_talk(error: RuntimeError) -> bool:
    """Whether it is the talk between processes that failed."""
    said = str(error).lower()
    return isinstance(error, dist.DistError) or any(word in said for word in ("timed out", "gloo", "connection"))


def _bytes(data: bytes) -> Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)
