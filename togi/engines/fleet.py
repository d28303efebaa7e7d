"""Servers that draw from the same weights: which of them is asked, what is done when one fails, and how new weights
reach all of them. It knows no token, no policy and not what a completion is for.

A server that fails is begun again beside the others and gets the newest weights before it is asked; what it was asked
is asked again elsewhere. Every wait ends: a server that does not begin, or hangs, is given up in the end, and where all
are, that is an error. A long wait says what it waits for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from weakref import WeakMethod

from togi.askers.openai_client import CalledOff
from togi.engines.completions_server import CompletionsServer, Drawn, ServerFault
from togi.engines.fleet_member import EngineOutage, Member, OtherWeights, Published, Seat, State
from togi.engines.server_weights import ServerWeights
from togi.models.load_model import Loaded
from togi.types import Ids

LIVES = 4
"""How often a server is begun without completing anything before it is given up."""
TOLD = 30.0
"""Seconds of waiting after which it is said what is waited for, and again after each doubling."""
_LOOK = 1.0  # seconds between two looks at the servers, and at what is waited for
_TRIES = 5  # of one completion at servers that are well
_PAUSE = 0.5  # seconds before the second of them; then twice as many each time

_GRACE = 2.0  # seconds for a server to end

Tell = Callable[..., Any]
"""Hears of an event by its kind, with its details by name."""
Ask = Callable[[CompletionsServer, str], Drawn]
"""Asks a server for a completion by weights of a name."""
Asking = tuple[ThreadPoolExecutor, CalledOff]
"""Threads that ask, and what is called off where nobody waits for them any more."""
Try = Callable[[CompletionsServer, str], None]
"""Raises OtherWeights where a server draws from something else under a name than it should."""


class Fleet:
    """``weights`` are what reaches the members; ``tell`` hears what happens to them."""

    def __init__(self, members: Sequence[Member], weights: ServerWeights, tell: Tell) -> None:
        self._seats = [Seat(member) for member in members]
        self._weights, self._tell = weights, tell
        self._changed = threading.Condition()
        self._publishing = threading.Lock()
        self._closed = threading.Event()
        self._places: dict[Ids, Seat] = {}
        # Held weakly: with it goes a model, which makes room for the next one.
        self._tried: Callable[[], Try | None] = lambda: None
        self._version = 0
        if any(member.restarts for member in members):
            threading.Thread(target=self._watch, name="watching engines", daemon=True).start()

    def __len__(self) -> int:
        return len(self._seats)

    def draws_for(self, tried: Try) -> bool:
        """Whether what was published last was tried so."""
        return self._tried() == tried

    def publish(self, loaded: Loaded, version: int, tried: Try) -> None:
        """Have all members draw from a model's weights as they are now, and wait for those that begin for the first
        time; ``tried``, a method, is asked of each of them. Where the weights are those that they have, nothing is
        sent.

        Raises EngineOutage where none draws from them then.
        """
        began = time.monotonic()
        with self._publishing:
            other = self._weights.write(loaded, version)  # here, since one that begins may just read what was written
            again = other or not self.draws_for(tried)
            self._tried, self._version = WeakMethod(tried), version
            new = self._in("off")
            self._at_once(partial(self._renew, again=again), self._in("up"))
        for seat in new:
            self._revive(seat)
        with self._changed:
            off = CalledOff()
            self._wait("engines to begin", lambda: not any(seat.state == "begins" for seat in new), off)
            self._wait("new weights", self._settled, off)
            up = self._in("up")
        if not up:
            raise self._outage()
        now = self._weights.now
        self._told(
            "weights_published" if other else "weights_unchanged",
            version=version,
            name=now.name,
            sha256=now.checksum,
            seconds=round(now.seconds * other + time.monotonic() - began, 3),
            engines=[seat.member.called for seat in up],
        )

    def complete(self, ids: Ids, most: int, ask: Ask, off: CalledOff) -> tuple[Drawn, Published]:
        """What ``ask`` gets of a member, unless that is called ``off``, and the weights that drew it. Of about ``most``
        that are asked for side by side, those that go on from the same ``ids`` are asked of one member, as far as it
        then has no more than its share.

        Raises ServerFault with the server's words, and EngineOutage.
        """
        tries = 0
        while True:
            seat, life, has = self._take(ids, most, off)
            try:
                drawn = ask(seat.member.server, has.name)
            except ServerFault as fault:
                if off.called or self._closed.is_set():
                    raise
                if not self._is_gone(seat, life, has):
                    tries += 1
                    if not (seat.member.restarts and fault.again and tries < _TRIES):
                        raise
                    off.wait(_PAUSE * 2 ** (tries - 1))
            else:
                seat.failures = 0
                return drawn, has
            finally:
                with self._changed:
                    seat.under_way -= 1

    @contextmanager
    def side_by_side(self, most: int) -> Iterator[Asking]:
        """Threads that ask. Where the block fails, what is under way is called off, and nothing is asked again."""
        pool, off = ThreadPoolExecutor(most, thread_name_prefix="drawing"), CalledOff()
        try:
            yield pool, off
        except BaseException:
            off.call()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            self._places.clear()

    def waits(self, what: str, seconds: float) -> None:
        """Tell that somebody has waited for so long."""
        stands = [seat.stands() for seat in self._seats]
        self._told("engines_waited_for", what=what, seconds=round(seconds, 1), engines=stands)

    def close(self) -> None:
        """End all members."""
        self._closed.set()
        self._at_once(lambda seat: seat.member.end(_GRACE), self._seats)
        with self._changed:
            self._changed.notify_all()

    def _take(self, ids: Ids, most: int, off: CalledOff) -> tuple[Seat, int, Published]:
        """The member that is to be asked: one that was asked for the same tokens, or the one with least to do."""
        with self._changed:
            self._wait("a completion", self._settled, off)
            up = self._in("up")
            if not up:
                raise self._outage()
            seat = self._places.get(ids)
            if seat not in up or seat.under_way >= -(-most // len(up)):
                seat = min(up, key=lambda each: each.under_way)
            self._places[ids] = seat
            seat.under_way += 1
            assert seat.has is not None
            return seat, seat.life, seat.has

    def _is_gone(self, seat: Seat, life: int, has: Published) -> bool:
        """Whether a member that did not do what it was asked is not what it was when it was asked."""
        with self._publishing:  # which may be what took away the weights that were asked for
            if seat.has is not has or seat.life != life or seat.state != "up":
                return True
        why = seat.member.fault()
        if why:
            self._fail(seat, life, why)
        return bool(why)

    def _settled(self) -> bool:
        """Whether some member draws, or none will."""
        return bool(self._in("up")) or not self._in("begins")

    def _in(self, state: State) -> list[Seat]:
        return [seat for seat in self._seats if seat.state == state]

    def _outage(self) -> EngineOutage:
        whys = [f"{seat.member.called}: {seat.why}" if seat.member.restarts else seat.why for seat in self._seats]
        return EngineOutage("; ".join(whys) if len(whys) == 1 else f"no engine draws any more: {'; '.join(whys)}")

    def _wait(self, what: str, ready: Callable[[], bool], off: CalledOff) -> None:
        """Wait, with the lock held, and say so where it takes long. Raises ServerFault where nobody waits any more."""
        began, told = time.monotonic(), TOLD
        while not ready():
            if off.called or self._closed.is_set():
                raise ServerFault("the run is stopping", again=False)
            self._changed.wait(_LOOK)
            if (waited := time.monotonic() - began) > told:
                told *= 2
                self.waits(what, waited)

    def _turn(self, seat: Seat, state: State, why: str = "") -> None:
        with self._changed:
            seat.state, seat.since, seat.why = state, time.monotonic(), why
            self._changed.notify_all()

    def _revive(self, seat: Seat) -> None:
        """Begin a member beside the others."""
        self._turn(seat, "begins")
        threading.Thread(target=self._begin, args=(seat,), name=seat.member.called, daemon=True).start()

    def _begin(self, seat: Seat) -> None:
        """Begin a member, again where it fails, until it draws from the newest weights or is given up."""
        while seat.state == "begins" and not self._closed.is_set():
            began = time.monotonic()
            try:
                seat.life += 1
                seat.has = None
                seat.member.begin()
                with self._publishing:
                    self._give(seat, again=True)
                    self._turn(seat, "up")
                seconds = round(time.monotonic() - began, 1)
                self._told("engine_began", engine=seat.member.called, life=seat.life, seconds=seconds)
            except Exception as error:
                # Whatever it is, those that wait for this member must hear of it.
                self._failed(seat, error)

    def _renew(self, seat: Seat, *, again: bool) -> None:
        """Give new weights to a member that draws."""
        life = seat.life
        try:
            self._give(seat, again=again)
        except Exception as error:
            # Whatever it is, the member must not be asked by a name that it does not know.
            self._fail(seat, life, error)

    def _give(self, seat: Seat, *, again: bool) -> None:
        """Raises ServerFault where it does not take the newest weights, and OtherWeights where it has others then.
        What it has already is tried ``again`` only, and not sent."""
        tried, now = self._tried(), self._weights.now
        if tried is None:
            return  # nobody draws from them any more: it gets others before it is asked
        if seat.has is None or seat.has.name != now.name:
            self._weights.give(seat.member.server)
            again = True
        if again:
            tried(seat.member.server, now.name)
        seat.has = Published(name=now.name, version=self._version)

    def _fail(self, seat: Seat, life: int, why: Exception | str) -> None:
        """A member that draws has failed: it is begun again, beside the others."""
        with self._changed:
            if seat.state != "up" or seat.life != life or self._closed.is_set():
                return  # somebody else has seen it
            seat.state = "begins"
        self._failed(seat, why)
        if seat.state == "begins":
            self._revive(seat)

    def _failed(self, seat: Seat, why: Exception | str) -> None:
        """Count a failure, and give the member up where it has failed too often, or cannot be helped."""
        if self._closed.is_set():
            return
        seat.failures += 1
        lost = not seat.member.restarts or seat.failures >= LIVES or isinstance(why, OtherWeights)
        told, words = str(why) or type(why).__name__, seat.member.last_words()
        self._turn(seat, "lost" if lost else "begins", f"{told} (it wrote last: {words})" if words else told)
        self._told(
            "engine_failed",
            engine=seat.member.called,
            life=seat.life,
            why=told,
            asked=seat.under_way,
            given_up=lost,
            log=words,
        )
        if lost:
            seat.member.end()

    def _at_once(self, do: Callable[[Seat], None], seats: Sequence[Seat]) -> None:
        """Do something with several members at once, and wait for all."""
        threads = [threading.Thread(target=do, args=(seat,), name=seat.member.called, daemon=True) for seat in seats]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _told(self, kind: str, **details: Any) -> None:
        with suppress(OSError, ValueError):  # a disk that is full ends the run where that writes its own
            self._tell(kind, **details)

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK):
            for seat in self._in("up"):
                life = seat.life
                if why := seat.member.fault():
                    self._fail(seat, life, why)
