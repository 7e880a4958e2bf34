"""The simulated store: one server that all hosts share, and a handle for each incarnation of a host.

The server is the in-memory backend behind links and faults. A commit is applied, visible and durable at one
instant, after its checks were found to hold at that instant; so a crash of the server loses what waits for
that instant and the answers under way, and nothing else. Each applied commit is appended to `history`, and
shown to `observers` before any other step runs, which is how checkers see what really happened.

The contract's promise about CommitUnknown is kept by the server: a request whose client gave up is dropped
on arrival. A request whose client *crashed* is not: it may be applied after its host is dead.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn, TypeVar

from msgspec import Struct

from kelpie.errors import Busy, CommitUnknown, Conflict, KelpieError, StoreDown
from kelpie.storage.memory import MemoryStore
from kelpie.storage.store import Check, Row, Write
from kelpie.world import World
from kelpie_sim.draw import Stream
from kelpie_sim.faults import FaultKind, Faults
from kelpie_sim.host import SimHost
from kelpie_sim.life import Life, LifeState
from kelpie_sim.limits import STORE_FLUSH_US_MAX, STORE_FLUSH_US_MIN, STORE_PATIENCE_MS
from kelpie_sim.loop import SimLoop
from kelpie_sim.network import STORE_HOST, Network

T = TypeVar("T")


class Applied(Struct, frozen=True, kw_only=True, gc=False):
    """One commit that took effect."""

    host: str
    life: int
    version: int
    checks: tuple[Check, ...]
    writes: tuple[Write, ...]
    at_ms: int  # virtual time since the start


class _Request:
    """A verb under way: `serve` runs at the server; `answer` is where its client waits."""

    __slots__ = ("answer", "applied", "abandoned", "checked", "is_commit", "life", "serve")

    def __init__(
        self,
        life: Life,
        answer: asyncio.Future[Any],
        serve: Callable[[], Any],
        *,
        is_commit: bool,
        checked: bool,
    ) -> None:
        self.life = life
        self.answer = answer
        self.serve = serve
        self.is_commit = is_commit
        self.checked = checked
        self.applied = False
        self.abandoned = False


class SimStoreServer:
    """The store itself. The clock in its `world` is the one that leases are measured by."""

    def __init__(self, loop: SimLoop, network: Network, faults: Faults, rng: Stream, *, world: World) -> None:
        self.history: list[Applied] = []
        self.observers: list[Callable[[Applied], None]] = []
        self.is_up = True
        self._loop = loop
        self._network = network
        self._faults = faults
        self._rng = rng
        self._rows = MemoryStore(world)
        self._outages = 0

    def open(self, host: SimHost) -> "SimStore":
        """A handle for the incarnation of `host` that runs now; it dies with it."""
        assert host.life is not None, "open the store after the host has started"
        return SimStore(self._loop, self._network, self, host.life, self._rng)

    def crash(self) -> None:
        """Lose every commit that is not yet durable and every answer under way; be away until `restart`."""
        assert self.is_up
        self._loop.trace.event("store crash")
        self.is_up = False
        self._outages += 1

    def restart(self) -> None:
        """Come back with all that was durable."""
        assert not self.is_up
        self._loop.trace.event("store restart")
        self.is_up = True

    def peek(self, start: bytes, end: bytes, *, limit: int = 1_000) -> list[Row]:
        """The rows in [start, end) as they are now: for checkers, past links and faults."""
        return _at_once(self._rows.scan(start, end, limit=limit))

    def arrive(self, request: _Request) -> None:
        """A request has come in; it is served after the time that takes."""
        if not self.is_up:
            return
        delay_s = self._faults.delay_s(FaultKind.STORE_SLOW)
        if request.is_commit:
            delay_s += self._rng.uniform(STORE_FLUSH_US_MIN, STORE_FLUSH_US_MAX) / 1_000_000
        self._after(delay_s, lambda: self._serve(request))

    def read(self, keys: Sequence[bytes]) -> list[Row | None]:
        """Serve `get`."""
        return _at_once(self._rows.get(keys))

    def scan(self, start: bytes, end: bytes, limit: int, reverse: bool) -> list[Row]:
        """Serve `scan`."""
        return _at_once(self._rows.scan(start, end, limit=limit, reverse=reverse))

    def tell_ms(self) -> int:
        """Serve `now_ms`."""
        return _at_once(self._rows.now_ms())

    def apply(self, life: Life, checks: Sequence[Check], writes: Sequence[Write]) -> int:
        """Serve `commit`: the durable instant. Raises Conflict."""
        version = _at_once(self._rows.commit(checks, writes))
        assert not self.history or version > self.history[-1].version, "versions grow"
        applied = Applied(
            host=life.host,
            life=life.number,
            version=version,
            checks=tuple(checks),
            writes=tuple(writes),
            at_ms=self._loop.virtual_ms,
        )
        self.history.append(applied)
        self._loop.trace.event("commit", life.host, life.number, version)
        for observe in self.observers:
            observe(applied)
        return version

    def _serve(self, request: _Request) -> None:
        if request.abandoned:
            return
        error = self._refusal(request)
        outcome: Any = None
        if error is None or (isinstance(error, CommitUnknown) and self._rng.random() < 0.5):
            try:
                outcome = request.serve()
                request.applied = True
            except KelpieError as refused:
                error = refused
        self._after(self._faults.delay_s(FaultKind.STORE_SLOW), lambda: self._reply(request, outcome, error))

    def _refusal(self, request: _Request) -> KelpieError | None:
        faults = self._faults
        if faults.strike(FaultKind.STORE_DOWN):
            return Busy("simulated: queue full") if self._rng.random() < 0.2 else StoreDown("simulated: failing")
        if request.checked and faults.strike(FaultKind.STORE_CONFLICT):
            return Conflict("simulated: refused although the checks hold")
        if request.is_commit and faults.strike(FaultKind.STORE_UNKNOWN):
            return CommitUnknown("simulated: no word whether it was applied")
        return None

    def _reply(self, request: _Request, outcome: Any, error: KelpieError | None) -> None:
        outages = self._outages

        def deliver() -> None:
            if request.answer.done() or outages != self._outages:
                return
            if error is None:
                request.answer.set_result(outcome)
            else:
                request.answer.set_exception(error)

        self._network.send(STORE_HOST, request.life.host, deliver)

    def _after(self, delay_s: float, go_on: Callable[[], None]) -> None:
        outages = self._outages

        def unless_crashed() -> None:
            if outages == self._outages:
                go_on()

        if delay_s > 0:
            self._loop.call_later(delay_s, unless_crashed, context=self._loop.world)
        else:
            go_on()


class SimStore:
    """A Store as one incarnation of a host holds it: every verb crosses the network, there and back.

    After STORE_PATIENCE_MS without an answer a read raises StoreDown and a commit CommitUnknown, or, if the
    commit was not applied, now and then StoreDown. A verb of a dead incarnation never returns.
    """

    def __init__(self, loop: SimLoop, network: Network, server: SimStoreServer, life: Life, rng: Stream) -> None:
        self._loop = loop
        self._network = network
        self._server = server
        self._life = life
        self._rng = rng
        self._closed = False

    async def get(self, keys: Sequence[bytes]) -> list[Row | None]:
        """As Store.get."""
        wanted = tuple(keys)
        return await self._ask(lambda: self._server.read(wanted))

    async def scan(self, start: bytes, end: bytes, *, limit: int, reverse: bool = False) -> list[Row]:
        """As Store.scan."""
        return await self._ask(lambda: self._server.scan(start, end, limit, reverse))

    async def commit(self, checks: Sequence[Check], writes: Sequence[Write]) -> int:
        """As Store.commit."""
        checks, writes = tuple(checks), tuple(writes)
        return await self._ask(
            lambda: self._server.apply(self._life, checks, writes), is_commit=True, checked=bool(checks)
        )

    async def now_ms(self) -> int:
        """As Store.now_ms: the server's clock, when it was asked."""
        return await self._ask(self._server.tell_ms)

    async def close(self) -> None:
        """No verb may follow."""
        assert not self._closed, "closed once"
        self._closed = True

    async def _ask(self, serve: Callable[[], Any], *, is_commit: bool = False, checked: bool = False) -> Any:
        assert not self._closed, "no verb follows close()"
        answer = self._loop.create_future()
        if self._life.state is LifeState.DEAD:
            await answer
        request = _Request(self._life, answer, serve, is_commit=is_commit, checked=checked)
        server = self._server
        self._network.send(self._life.host, STORE_HOST, lambda: server.arrive(request))
        patience = self._loop.call_later(STORE_PATIENCE_MS / 1_000, self._give_up, request)
        try:
            return await request.answer
        finally:
            patience.cancel()

    def _give_up(self, request: _Request) -> None:
        if request.answer.done():
            return
        request.abandoned = True
        if request.is_commit and (request.applied or self._rng.random() < 0.7):
            request.answer.set_exception(CommitUnknown("simulated: no answer from the store"))
        else:
            request.answer.set_exception(StoreDown("simulated: the store cannot be reached"))


def _at_once(verb: Coroutine[Any, Any, T]) -> T:
    try:
        verb.send(None)
    except StopIteration as end:
        return end.value
    return _waited(verb)


def _waited(verb: Coroutine[Any, Any, Any]) -> NoReturn:
    verb.close()
    raise AssertionError("the memory store answers without waiting")
