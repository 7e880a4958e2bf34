"""Links delay, lose, double and are cut; pipes keep the order; a paused host's mail waits at its door."""

import asyncio

import pytest

from kelpie_sim.faults import Fault, FaultKind, FaultPlan
from kelpie_sim.network import LinkBroken, Pipe
from kelpie_sim.simulation import Simulation
from tests.sim.test_loop import outcome_of, results


def always(kind: FaultKind, ms_max: int = 0) -> FaultPlan:
    """That fault strikes each message."""
    return FaultPlan(faults=(Fault(kind=kind, percent=100.0, ms_max=ms_max),))


async def count_arrivals(sim: Simulation) -> int:
    """How often one message is delivered within a minute."""
    arrivals: list[float] = []
    sim.network.send("a", "b", lambda: arrivals.append(sim.loop.time()))
    await asyncio.sleep(60)
    return len(arrivals)


def test_a_message_arrives_once_never_or_twice() -> None:
    plans = (FaultPlan(), always(FaultKind.MESSAGE_LOST), always(FaultKind.MESSAGE_TWICE))
    assert [outcome_of(count_arrivals, plan=plan).result for plan in plans] == [1, 0, 2]


def test_faults_stop_when_healed() -> None:
    async def main(sim: Simulation) -> object:
        sim.heal()
        return await count_arrivals(sim)

    assert outcome_of(main, plan=always(FaultKind.MESSAGE_LOST)).result == 1


def test_messages_overtake_each_other_when_some_are_slow() -> None:
    async def main(sim: Simulation) -> object:
        arrived: list[int] = []
        for number in range(20):
            sim.network.send("a", "b", lambda number=number: arrived.append(number))
        await asyncio.sleep(60)
        return arrived

    arrived = outcome_of(main, plan=always(FaultKind.MESSAGE_SLOW, ms_max=5_000)).result
    assert isinstance(arrived, list) and sorted(arrived) == list(range(20)) != arrived


def test_a_cut_is_one_way_and_stops_what_is_under_way() -> None:
    async def main(sim: Simulation) -> object:
        arrived: list[str] = []
        sim.network.send("a", "b", lambda: arrived.append("under way"))
        sim.network.cut("a", "b")
        sim.network.send("a", "b", lambda: arrived.append("sent into the cut"))
        sim.network.send("b", "a", lambda: arrived.append("other way"))
        await asyncio.sleep(1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await sim.network.pass_through("a", "b")
        sim.network.mend_all()
        await sim.network.pass_through("a", "b")
        return arrived, sim.network.is_cut("a", "b")

    assert outcome_of(main).result == (["other way"], False)


def test_a_pipe_keeps_the_order_whatever_the_delays() -> None:
    async def main(sim: Simulation) -> object:
        pipe: Pipe[int] = Pipe(sim.loop, sim.network, "a", "b")
        for number in range(30):
            pipe.send(number)
        return [await pipe.receive() for _ in range(30)]

    plan = always(FaultKind.MESSAGE_SLOW, ms_max=5_000)
    assert [outcome_of(main, seed, plan=plan).result for seed in range(5)] == [list(range(30))] * 5


def test_a_cut_pipe_gives_out_what_arrived_and_then_breaks_for_good() -> None:
    async def main(sim: Simulation) -> object:
        pipe: Pipe[str] = Pipe(sim.loop, sim.network, "a", "b")
        pipe.send("arrives")
        await asyncio.sleep(1)
        sim.network.cut("a", "b")
        pipe.send("meets the cut")
        sim.network.mend_all()
        pipe.send("arrives too")
        await asyncio.sleep(1)
        sim.network.cut("a", "b")
        pipe.send("breaks it")
        first, second = await pipe.receive(), "none"
        with pytest.raises(LinkBroken):
            while True:
                second = await pipe.receive()
        return first, second

    assert results(main) == [("arrives", "arrives too")] * 12


def test_mail_for_a_paused_host_waits_at_its_door() -> None:
    async def main(sim: Simulation) -> object:
        host = sim.host("b")
        host.start()
        log: list[int] = []

        async def serve() -> None:
            await sim.network.pass_through("a", "b")
            log.append(sim.loop.virtual_ms)

        host.spawn(serve(), name="serve")
        await asyncio.sleep(0)
        host.pause()
        await asyncio.sleep(30)
        host.resume()
        await asyncio.sleep(1)
        return log

    assert outcome_of(main).result == [30_000]
