"""The faults that come at times of their own: crashes, pauses, cuts, clock jumps; one task for each kind.

storm = simulation.storm(boot=start_node)
async with asyncio.TaskGroup() as group:
    group.create_task(storm.rage())
    await load()
    storm.heal()  # hosts are up, links whole, operations no longer struck
    await demand_progress()
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from kelpie_sim.draw import between_log
from kelpie_sim.faults import Fault, FaultKind, Faults
from kelpie_sim.host import SimHost
from kelpie_sim.network import STORE_HOST, Network
from kelpie_sim.store import SimStoreServer
from kelpie_sim.world import SimClock

T = TypeVar("T")
Undo = Callable[[], None]


class Storm:
    """Strikes hosts, links, clocks and the store by the plan in `faults`, until `heal`.

    `boot` starts what runs on a host that is down (start, then spawn). `clocks` are those of the hosts and
    may jump; the store's own clock never does. `clients` are names of the links' other ends.
    """

    def __init__(
        self,
        faults: Faults,
        network: Network,
        server: SimStoreServer,
        *,
        hosts: Sequence[SimHost],
        clients: Sequence[str],
        clocks: Sequence[SimClock],
        boot: Callable[[SimHost], None],
    ) -> None:
        assert hosts, "a storm needs something to strike"
        self._faults = faults
        self._network = network
        self._server = server
        self._hosts = list(hosts)
        self._clients = list(clients)
        self._clocks = list(clocks)
        self._boot = boot
        self._raging: list[asyncio.Task[None]] = []

    async def rage(self) -> None:
        """Strike until `heal`, which ends it at once."""
        strikes: dict[FaultKind, Callable[[Fault], Undo | None]] = {
            FaultKind.STORE_CRASH: self._crash_store,
            FaultKind.STORE_CUT: self._cut_store,
            FaultKind.NODE_CRASH: self._crash_host,
            FaultKind.NODE_PAUSE: self._pause_host,
            FaultKind.NODE_CUT: self._cut_hosts,
            FaultKind.CLIENT_CUT: self._cut_client,
            FaultKind.CLOCK_JUMP: self._jump_clock,
        }
        async with asyncio.TaskGroup() as group:
            for fault in self._faults.plan.faults:
                if fault.kind in strikes:
                    strike = strikes[fault.kind]
                    self._raging.append(group.create_task(self._repeat(fault, strike), name=f"storm/{fault.kind}"))

    def heal(self) -> None:
        """Undo everything at once, and strike no more."""
        self._faults.heal()
        for task in self._raging:
            task.cancel()
        self._network.mend_all()
        if not self._server.is_up:
            self._server.restart()
        for host in self._hosts:
            self._revive(host)
        for clock in self._clocks:
            clock.drift(0)

    async def _repeat(self, fault: Fault, strike: Callable[[Fault], Undo | None]) -> None:
        rng = self._faults.stream_of(fault.kind)
        while not self._faults.healed:
            await asyncio.sleep(between_log(rng, fault.every_ms / 4, fault.every_ms * 2) / 1_000)
            undo = strike(fault)
            if undo is not None:
                self._faults.count(fault.kind)
                await asyncio.sleep(self._faults.duration_s(fault.kind))
                undo()

    def _crash_store(self, fault: Fault) -> Undo | None:
        if not self._server.is_up:
            return None
        self._server.crash()
        return lambda: None if self._server.is_up else self._server.restart()

    def _crash_host(self, fault: Fault) -> Undo | None:
        host = self._one_of(self._hosts, fault)
        if not host.is_up:
            return None
        host.crash()
        return lambda: self._revive(host)

    def _pause_host(self, fault: Fault) -> Undo | None:
        host = self._one_of(self._hosts, fault)
        if not host.is_up or host.is_paused:
            return None
        host.pause()
        life = host.life
        return lambda: host.resume() if host.life is life and host.is_paused else None

    def _cut_store(self, fault: Fault) -> Undo | None:
        return self._cut(self._one_of(self._hosts, fault).name, STORE_HOST, fault)

    def _cut_hosts(self, fault: Fault) -> Undo | None:
        one = self._one_of(self._hosts, fault)
        other = self._one_of(self._hosts, fault)
        return None if one is other else self._cut(one.name, other.name, fault)

    def _cut_client(self, fault: Fault) -> Undo | None:
        if not self._clients:
            return None
        return self._cut(self._one_of(self._clients, fault), self._one_of(self._hosts, fault).name, fault)

    def _cut(self, one: str, other: str, fault: Fault) -> Undo:
        both = [(one, other), (other, one)]
        ways = self._one_of([both, both, both[:1], both[1:]], fault)
        for source, target in ways:
            self._network.cut(source, target)

        def undo() -> None:
            for source, target in ways:
                self._network.mend(source, target)

        return undo

    def _jump_clock(self, fault: Fault) -> Undo | None:
        if not self._clocks:
            return None
        rng = self._faults.stream_of(fault.kind)
        by_ms = round(between_log(rng, 1, max(1, fault.ms_max)))
        self._one_of(self._clocks, fault).jump(by_ms if rng.random() < 0.5 else -by_ms)
        return lambda: None

    def _revive(self, host: SimHost) -> None:
        if not host.is_up:
            self._boot(host)
        elif host.is_paused:
            host.resume()

    def _one_of(self, choices: Sequence[T], fault: Fault) -> T:
        assert choices
        return self._faults.stream_of(fault.kind).choice(choices)
