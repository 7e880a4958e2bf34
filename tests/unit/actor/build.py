"""One builder per thing of floor 3: virtual time, a store with faults, a counting actor, nodes over one store."""

import asyncio
import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
from msgspec import Struct

from kelpie.actor.call import ActorAddress, Call, Lane
from kelpie.actor.host import Host
from kelpie.actor.mailbox import Letter, Mailbox
from kelpie.actor.recovery import Done, Remind, Resume, begin_work, disarm, end_work
from kelpie.actor.router import Router
from kelpie.actor.tenure import Tenure
from kelpie.errors import ActivationLost, CommitUnknown, Conflict, KelpieError, NotFound, StorageFull, StoreDown
from kelpie.ids import NodeId
from kelpie.storage.checked import CheckedStore
from kelpie.storage.memory import MemoryStore
from kelpie.storage.records import Batch, Found, Records, Space
from kelpie.storage.store import Check, Row, Store, Write
from kelpie.world import World
from kelpie_sim.loop import FIFO, StepOrder
from kelpie_sim.simulation import Simulation, run_simulation
from kelpie_sim.world import SimClock, SimEntropy, SimMarks

T = TypeVar("T")
NODE = NodeId("one")
OTHER = NodeId("two")
ANN = ActorAddress("ann")
BOB = ActorAddress("bob")
STORE_MS = 1  # that each verb of the store takes


def virtual(main: Callable[[World], Awaitable[T]], *, seed: int = 1, order: StepOrder | None = FIFO) -> T:
    """Run `main` in virtual time; an error that nobody caught anywhere fails. `order` None: the seed's."""

    async def run(sim: Simulation) -> object:
        marks = SimMarks(seed, forced=False)
        return await main(World(wall=SimClock(sim.loop), entropy=SimEntropy(seed, "test"), marks=marks))

    outcome = run_simulation(run, seed, order=order, marks_forced=False)
    outcome.demand()
    assert outcome.left == (), "every task has a parent"
    return outcome.result  # type: ignore[return-value]


def marks_of(world: World) -> SimMarks:
    assert isinstance(world.marks, SimMarks)
    return world.marks


def now_ms() -> int:
    return int(asyncio.get_running_loop().time() * 1000)


class Fault(enum.Enum):
    """What happens to a commit."""

    CONFLICT = "conflict"
    DOWN = "down"
    FULL = "full"
    APPLIED = "unknown, applied"
    LOST = "unknown, not applied"


class FaultyStore:
    """A store of which chosen commits fail; every verb takes a moment, so that others run meanwhile."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.faults: dict[int, Fault] = {}  # by the number of the commit, counted from 1
        self.commits = 0
        self.down = False
        self.versions: list[int] = []  # of what was applied

    async def get(self, keys: Sequence[bytes]) -> list[Row | None]:
        await self._pass()
        return await self._store.get(keys)

    async def scan(self, start: bytes, end: bytes, *, limit: int, reverse: bool = False) -> list[Row]:
        await self._pass()
        return await self._store.scan(start, end, limit=limit, reverse=reverse)

    async def commit(self, checks: Sequence[Check], writes: Sequence[Write]) -> int:
        await self._pass()
        self.commits += 1
        match self.faults.pop(self.commits, None):
            case Fault.CONFLICT:
                raise Conflict("injected")
            case Fault.DOWN:
                raise StoreDown("injected")
            case Fault.FULL:
                raise StorageFull("injected")
            case Fault.LOST:
                raise CommitUnknown("injected, not applied")
            case Fault.APPLIED:
                self.versions.append(await self._store.commit(checks, writes))
                raise CommitUnknown("injected, applied")
            case None:
                version = await self._store.commit(checks, writes)
                self.versions.append(version)
                await asyncio.sleep(0)  # the answer is on its way
                return version

    async def now_ms(self) -> int:
        return await self._store.now_ms()

    async def close(self) -> None:
        await self._store.close()

    async def _pass(self) -> None:
        if self.down:
            raise StoreDown("injected")
        await asyncio.sleep(STORE_MS / 1000)


def a_store(world: World) -> tuple[FaultyStore, Records]:
    """An empty store, its faults, and the records in it."""
    faulty = FaultyStore(CheckedStore(MemoryStore(world)))
    return faulty, Records(CheckedStore(faulty))


# -- the counting actor -------------------------------------------------------------------------------------


class Counter(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """What it keeps: the sum, and the ids that it has seen."""

    value: int
    seen: tuple[str, ...] = ()


COUNTERS = Space("counter", Counter, large=True)


class Add(Struct, frozen=True, kw_only=True):
    """Add one, once per id. `hold_ms`: be busy for so long before the commit."""

    id: str
    hold_ms: int = 0


class Peek(Struct, frozen=True, kw_only=True):
    """Say the sum."""


class Burst(Struct, frozen=True, kw_only=True):
    """Break a promise: an AssertionError."""


class Fail(Struct, frozen=True, kw_only=True):
    """End the activation with this error."""

    error: object


class Value(Struct, frozen=True, kw_only=True):
    """The sum."""

    value: int


class CounterActor:
    """Implements `Actor`."""

    def __init__(self, tenure: Tenure, kind: "CounterKind") -> None:
        self._tenure = tenure
        self._kind = kind
        self._found: Found[Counter] | None = None
        self._awake = asyncio.Event()
        self._stopping = False
        self.busy = False

    async def load(self) -> None:
        self._kind.loads.append(self._tenure.address)
        if self._kind.load_errors:
            raise self._kind.load_errors.pop(0)
        self._found = await self._kind.records.get(COUNTERS.at(self._tenure.address))

    async def run(self, mailbox: Mailbox) -> None:
        alive = self._kind.alive
        alive[self._tenure.address] = alive.get(self._tenure.address, 0) + 1
        assert alive[self._tenure.address] == 1, "one activation of an actor at a time"
        try:
            await self._loop(mailbox)
            await asyncio.sleep(self._kind.ending_ms / 1000)
        finally:
            alive[self._tenure.address] -= 1

    async def _loop(self, mailbox: Mailbox) -> None:
        while True:
            letter = mailbox.take(now_ms())
            if letter is not None:
                self.busy = True
                try:
                    await self._serve(letter)
                except BaseException:
                    letter.fail(ActivationLost("lost while it served the call"))
                    raise
                finally:
                    self.busy = False
            elif self._stopping:
                return
            else:
                self._awake.clear()
                await self._awake.wait()

    def wake(self) -> None:
        self._awake.set()

    def stop(self) -> None:
        self._stopping = True
        self._awake.set()

    async def _serve(self, letter: Letter) -> None:
        match letter.call.body:
            case Add() as add:
                letter.answer(Value(value=await self._add(add)))
            case Peek():
                letter.answer(Value(value=self._value().value))
            case Resume():
                batch = Batch()
                end_work(batch, self._tenure.address)
                await self._tenure.commit(batch)
                self._kind.resumed.append(self._tenure.address)
                letter.answer(Done())
            case Remind() as remind:
                batch = Batch()
                disarm(batch, self._tenure.address, remind.name, remind.due_ms)
                await self._tenure.commit(batch)
                self._kind.reminded.append((self._tenure.address, remind.name))
                letter.answer(Done())
            case Burst():
                raise AssertionError("burst")
            case Fail(error=error):
                assert isinstance(error, KelpieError)
                raise error
            case other:
                raise AssertionError(other)

    def _value(self) -> Counter:
        return Counter(value=0) if self._found is None else self._found.value

    async def _add(self, add: Add) -> int:
        now = self._value()
        if add.id in now.seen:
            return now.value
        await asyncio.sleep(add.hold_ms / 1000)
        self._tenure.check_may_act()
        after = msgspec.structs.replace(now, value=now.value + 1, seen=(*now.seen, add.id))
        ref = COUNTERS.at(self._tenure.address)
        batch = Batch()
        if self._found is None:
            batch.check_absent(ref)
        else:
            batch.check(self._found)
        batch.put(ref, after)
        self._found = Found(ref.key, after, await self._tenure.commit(batch))
        return after.value


class CounterKind:
    """Implements `ActorKind`; `nobody` are addresses of no actor."""

    def __init__(self, records: Records, *, nobody: tuple[ActorAddress, ...] = ()) -> None:
        self.records = records
        self.nobody = nobody
        self.alive: dict[ActorAddress, int] = {}
        self.ending_ms = 0  # how long an actor takes to end when it is asked to
        self.load_errors: list[Exception] = []
        self.loads: list[ActorAddress] = []
        self.blamed: list[bool] = []
        self.epochs: list[int] = []
        self.resumed: list[ActorAddress] = []
        self.reminded: list[tuple[ActorAddress, str]] = []

    async def check(self, address: ActorAddress) -> None:
        if address in self.nobody:
            raise NotFound("nobody", id=address)

    def make(self, tenure: Tenure, *, blamed: bool) -> CounterActor:
        self.blamed.append(blamed)
        self.epochs.append(tenure.epoch)
        return CounterActor(tenure, self)


class Place:
    """A node of counting actors."""

    def __init__(self, world: World, records: Records, node: NodeId = NODE) -> None:
        self.kind = CounterKind(records)
        self.host = Host(world, records, self.kind, node)
        self.router = Router(self.host)
        self.task: asyncio.Task[None] | None = None

    async def ask(
        self, body: Struct, target: ActorAddress = ANN, *, lane: Lane = "turns", wait_ms: int = 60_000
    ) -> Struct:
        return await self.router.call(Call(target=target, lane=lane, body=body, deadline_ms=now_ms() + wait_ms))


@asynccontextmanager
async def running(host: Host) -> AsyncIterator["asyncio.Task[None]"]:
    """The host runs inside; on the way out it is stopped as by a cancelled process."""
    started = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(host.run(started), name="host")
        await started.wait()
        try:
            yield task
        finally:
            task.cancel()


async def count_of(records: Records, address: ActorAddress = ANN) -> int:
    found = await records.get(COUNTERS.at(address))
    return 0 if found is None else found.value.value


async def leave_unfinished(records: Records, *addresses: ActorAddress) -> None:
    """As after a crash in the middle of work."""
    batch = Batch()
    for address in addresses:
        begin_work(batch, address)
    await records.commit(batch)
