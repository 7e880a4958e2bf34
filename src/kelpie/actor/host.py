"""The activations of one node: started on demand, put to sleep when idle, brought back when lost.

Four things run side by side for as long as the node lives: the heartbeat that renews the node's lease, the
sweep that puts idle actors to sleep, the recovery sweep that wakes what must be woken, and the activations
themselves. An idle actor costs an object and a parked task for ACTIVATION_IDLE_MS; asleep it costs nothing.
"""

import asyncio

from msgspec import Struct

from kelpie.actor.activation import Activation, ActorKind, first_error
from kelpie.actor.call import ActorAddress, Call
from kelpie.actor.directory import Directory
from kelpie.actor.mailbox import Letter
from kelpie.actor.recovery import Remind, Resume, disarm, read_due, read_unfinished
from kelpie.cluster.lease import LEASES, belief_ends_ms, renew
from kelpie.errors import (
    ActivationLost,
    Broken,
    Busy,
    Conflict,
    Draining,
    KelpieError,
    NotFound,
    OutcomeUnknown,
    StoreDown,
    Unavailable,
)
from kelpie.ids import NodeId
from kelpie.limits import (
    ACTIVATION_IDLE_MS,
    ACTIVATIONS_MAX,
    ACTIVATIONS_SWEEP_MS,
    COMMIT_ATTEMPTS_MAX,
    HEARTBEAT_MS,
    RECOVERY_PAGE_ROWS,
    RECOVERY_SWEEP_MS,
    RETRY_AFTER_MS,
)
from kelpie.storage.records import Batch, Records
from kelpie.world import World

RECOVERY_CALL_MS = 10_000
LEFT_MS = 3 * RECOVERY_SWEEP_MS  # how long an actor that could not go on here is not woken here: others come first


class Host:
    """Runs actors of one kind on this node."""

    def __init__(self, world: World, records: Records, kind: ActorKind, node: NodeId) -> None:
        self._world = world
        self._records = records
        self._kind = kind
        self._node = node
        self._directory = Directory(records, node)
        self._activations: dict[ActorAddress, Activation] = {}
        self._tasks: dict[ActorAddress, asyncio.Task[None]] = {}
        self._blamed: dict[ActorAddress, bool] = {}  # whose last activation here was ended by a bug
        self._unclean: dict[ActorAddress, None] = {}  # whose last activation here may have left a commit on its way
        self._all_afresh = False  # there were more of these than are remembered
        self._group: asyncio.TaskGroup | None = None
        self._epoch = self._belief_ends_ms = 0
        self._draining = False
        self._orphans: list[tuple[ActorAddress, Remind]] = []
        self._left: dict[ActorAddress, int] = {}  # to other nodes, until when

    @property
    def active(self) -> int:
        """How many actors are in memory."""
        return len(self._activations)

    @property
    def believes(self) -> bool:
        """Whether this node may start side effects now."""
        return self._now_ms() < self._belief_ends_ms

    async def run(self, started: asyncio.Event) -> None:
        """Live until cancelled; `started` is set once the node holds a lease. Raises Broken."""
        await self._first_heartbeat()
        broken: KelpieError | None = None  # raised outside of the group's handler, which would wrap it again
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(self._keep_lease(), name="host.lease")
                group.create_task(self._recover(), name="host.recover")
                group.create_task(self._put_to_sleep(), name="host.sleep")
                started.set()
        except* Broken as group:
            broken = first_error(group)
        finally:
            self._group = None
        if broken is not None:
            raise broken

    async def drain(self, drain_ms_max: int) -> bool:
        """Take no new turns and wait for the running ones; whether all of them ended in time."""
        self._draining = True
        deadline_ms = self._now_ms() + drain_ms_max
        while self._now_ms() < deadline_ms:
            if not any(activation.busy for activation in self._activations.values()):
                return True
            await asyncio.sleep(0.02)
        return False

    def deliver(self, call: Call) -> "asyncio.Future[Struct]":
        """Put the call into its actor's mailbox, activating it if need be. Raises Busy, Draining, ActivationLost."""
        if self._draining and call.lane == "turns":
            raise Draining("the server is shutting down and takes no new turns", retry_after_ms=RETRY_AFTER_MS)
        now_ms = self._now_ms()
        activation = self._activations.get(call.target)
        if activation is None or not activation.accepts:
            activation = self._activate(call.target, now_ms)
        letter = Letter(call, asyncio.get_running_loop().create_future())
        activation.post(letter, now_ms)
        return letter.reply

    def _activate(self, address: ActorAddress, now_ms: int) -> Activation:
        if self._group is None:
            raise Draining("the node is not running", retry_after_ms=RETRY_AFTER_MS)
        if len(self._activations) >= ACTIVATIONS_MAX:
            self._make_room()
        activation = Activation(address, self._kind, now_ms=now_ms)
        living = self._live(activation, self._tasks.get(address))
        try:
            task = self._group.create_task(living, name=f"actor {address}")
        except RuntimeError:  # the group is ending already, and with it the node
            living.close()
            raise Draining("the node is stopping", retry_after_ms=RETRY_AFTER_MS) from None
        task.add_done_callback(lambda _: self._ended(activation))
        self._activations[address] = activation
        self._tasks[address] = task
        return activation

    async def _live(self, activation: Activation, ending: "asyncio.Task[None] | None") -> None:
        """One activation, from behind the end of the one before it to its own."""
        if ending is not None:
            await asyncio.wait([ending])
        epoch = self._epoch
        assert epoch >= 1
        await activation.live(
            self._directory,
            self._records,
            epoch,
            lambda: self.believes and self._epoch == epoch,  # a lease issued anew is not the one it claimed under
            blamed=self._blamed.pop(activation.address, False),
            fresh=self._all_afresh or activation.address in self._unclean,
        )
        if activation.broken is not None:
            raise activation.broken

    def _ended(self, activation: Activation) -> None:
        """Forget it. This runs even when the activation's task was cancelled before its first step."""
        activation.end(ActivationLost(f"the activation of '{activation.address}' was ended"))
        assert not activation.accepts
        assert not activation.busy
        if activation.clean:
            self._unclean.pop(activation.address, None)
        elif len(self._unclean) < ACTIVATIONS_MAX:
            self._unclean[activation.address] = None
        else:
            self._all_afresh = True
        if activation.elsewhere and len(self._left) < ACTIVATIONS_MAX:
            self._left[activation.address] = self._now_ms() + LEFT_MS
        if activation.crashed:
            while len(self._blamed) >= ACTIVATIONS_MAX:
                del self._blamed[next(iter(self._blamed))]
            self._blamed[activation.address] = True
        if self._activations.get(activation.address) is activation:
            del self._activations[activation.address]
            del self._tasks[activation.address]

    def _make_room(self) -> None:
        """Put the idle actors to sleep that were used longest ago. Raises Busy if none is idle."""
        idle = [each for each in self._activations.values() if each.idle]
        if not idle:
            raise Busy(
                f"{ACTIVATIONS_MAX} actors are at work on this node",
                limit="ACTIVATIONS_MAX",
                maximum=ACTIVATIONS_MAX,
                retry_after_ms=RETRY_AFTER_MS,
            )
        idle.sort(key=lambda each: each.used_at_ms)
        for activation in idle[: max(1, ACTIVATIONS_MAX // 20)]:  # some at once, so that this is not done each time
            activation.sleep()

    async def _put_to_sleep(self) -> None:
        while True:
            await asyncio.sleep(ACTIVATIONS_SWEEP_MS / 1000)
            now_ms = self._now_ms()
            for activation in list(self._activations.values()):
                forced = self._world.marks.sometimes("an idle actor is put to sleep at once")
                if activation.idle and (forced or now_ms - activation.used_at_ms >= ACTIVATION_IDLE_MS):
                    activation.sleep()

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_MS / 1000)
            try:
                await self._heartbeat()
            except (Unavailable, OutcomeUnknown):
                continue  # belief runs out by itself when this goes on

    async def _first_heartbeat(self) -> None:
        for attempt in range(COMMIT_ATTEMPTS_MAX):
            try:
                return await self._heartbeat()
            except (Unavailable, OutcomeUnknown):
                await asyncio.sleep(0.1 * 2**attempt)
        raise StoreDown(f"no lease could be had in {COMMIT_ATTEMPTS_MAX} attempts")

    async def _heartbeat(self) -> None:
        """Renew the lease once. A changed epoch means that everything claimed under the old one is lost."""
        sent_ms = self._now_ms()
        held = await self._records.get(LEASES.at(self._node))
        now_ms = await self._records.store.now_ms()
        lease = renew(None if held is None else held.value, self._node, self._epoch, now_ms)
        assert lease.node == self._node
        assert lease.epoch >= self._epoch, "an epoch never goes back"
        batch = Batch()
        if held is None:
            batch.check_absent(LEASES.at(self._node))
        else:
            batch.check(held)
        batch.put(LEASES.at(self._node), lease)
        await self._records.commit(batch)
        if lease.epoch != self._epoch:
            if self._epoch:
                self._world.marks.reached("a node's lease lapsed and was issued anew")
            self._epoch = lease.epoch
            for task in list(self._tasks.values()):
                task.cancel()
        self._belief_ends_ms = belief_ends_ms(sent_ms)

    async def _recover(self) -> None:
        while True:
            try:
                if self.believes and not self._draining:
                    await self._wake_unfinished()
                    await self._fire_reminders()
            except (Unavailable, OutcomeUnknown):
                pass  # the store is away; the next sweep finds the same rows
            await asyncio.sleep(RECOVERY_SWEEP_MS / 1000)

    async def _wake_unfinished(self) -> None:
        after: ActorAddress | None = None
        self._left = {address: until_ms for address, until_ms in self._left.items() if until_ms > self._now_ms()}
        while True:
            page = await read_unfinished(self._records, after)
            for address in page:
                await self._wake(address, Resume())
            if len(page) < RECOVERY_PAGE_ROWS:
                return
            after = page[-1]

    async def _fire_reminders(self) -> None:
        await self._drop_orphans()
        now_ms = await self._records.store.now_ms()
        after_ms: int | None = None
        while True:
            page = await read_due(self._records, now_ms, after_ms)
            for reminder in page:
                await self._wake(reminder.address, Remind(name=reminder.name, due_ms=reminder.due_ms))
            if len(page) < RECOVERY_PAGE_ROWS:
                return
            after_ms = page[-1].due_ms  # others of the same millisecond wait for the next sweep

    async def _wake(self, address: ActorAddress, body: Resume | Remind) -> None:
        """Call an actor that nobody alive owns elsewhere. Its answer is not waited for: the row stays until done.

        One that is at work here knows what it has to finish; one that is idle was given work by somebody else.
        """
        activation = self._activations.get(address)
        if isinstance(body, Resume) and activation is not None and not activation.idle:
            return
        if activation is None and self._left.get(address, 0) > self._now_ms():
            return
        if activation is None and not await self._directory.is_orphan(address, self._epoch):
            return
        deadline_ms = self._now_ms() + RECOVERY_CALL_MS
        try:
            reply = self.deliver(Call(target=address, lane="control", body=body, deadline_ms=deadline_ms))
        except (Unavailable, OutcomeUnknown, Conflict):
            return
        reply.add_done_callback(lambda done: self._heed(address, body, done))

    def _heed(self, address: ActorAddress, body: Resume | Remind, reply: "asyncio.Future[Struct]") -> None:
        """Look at the outcome; a reminder of an actor that is no more goes with the next sweep."""
        if reply.cancelled():
            return
        error = reply.exception()
        assert error is None or isinstance(error, KelpieError)
        if isinstance(error, NotFound) and isinstance(body, Remind) and len(self._orphans) < RECOVERY_PAGE_ROWS:
            self._orphans.append((address, body))

    async def _drop_orphans(self) -> None:
        orphans, self._orphans = self._orphans, []
        if orphans:
            batch = Batch()
            for address, body in orphans:
                disarm(batch, address, body.name, body.due_ms)
            await self._records.commit(batch)

    def _now_ms(self) -> int:
        return int(asyncio.get_running_loop().time() * 1000)
