"""Goal: an activation lives by its table, and however it ends, whoever waits is told and nothing else is hurt."""

import asyncio
import logging
from itertools import product

import pytest

from kelpie.actor.activation import NEXT, Activation, Happening, Phase, first_error
from kelpie.actor.call import Call
from kelpie.actor.directory import Directory
from kelpie.actor.mailbox import Letter
from kelpie.errors import (
    ActivationLost,
    CommitUnknown,
    DataCorrupt,
    KelpieError,
    LimitExceeded,
    NotFound,
    NotOwner,
    StoreDown,
)
from kelpie.storage.records import Records
from kelpie.world import World
from tests.unit.actor.build import ANN, NODE, Add, Burst, CounterKind, Fail, Peek, Value, a_store, now_ms, virtual

TABLE = {
    ("CLAIMING", "CLAIMED"): "LOADING",
    ("CLAIMING", "OVER"): "ENDED",
    ("LOADING", "LOADED"): "READY",
    ("LOADING", "OVER"): "ENDED",
    ("READY", "ASKED_TO_STOP"): "STOPPING",
    ("READY", "OVER"): "ENDED",
    ("STOPPING", "OVER"): "ENDED",
}


class Life:
    """An activation, and what it takes to live."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.kind = CounterKind(records)
        self.activation = Activation(ANN, self.kind, now_ms=now_ms())

    def post(self, body: Add | Peek | Burst | Fail) -> "asyncio.Future[object]":
        call = Call(target=ANN, lane="turns", body=body, deadline_ms=now_ms() + 60_000)
        reply = asyncio.get_running_loop().create_future()
        self.activation.post(Letter(call, reply), now_ms())
        return reply

    async def live(self, *, blamed: bool = False) -> None:
        directory = Directory(self.records, NODE)
        await self.activation.live(directory, self.records, 1, lambda: True, blamed=blamed, fresh=True)


@pytest.mark.parametrize(("phase", "happening"), list(product(Phase, Happening)))
def test_each_pair_of_the_table(phase: Phase, happening: Happening) -> None:
    """An absent pair raises and names both halves."""

    async def main(world: World) -> None:
        activation = Life(a_store(world)[1]).activation
        activation.phase = phase
        after = TABLE.get((phase.name, happening.name))
        assert NEXT.get((phase, happening)) == (None if after is None else Phase[after])
        if after is not None:
            activation._happen(happening)
            assert activation.phase is Phase[after]
            return
        with pytest.raises(AssertionError, match=f"{happening} cannot happen while {phase}"):
            activation._happen(happening)
        assert activation.phase is phase

    virtual(main)


def test_a_life_from_claim_to_sleep() -> None:
    async def main(world: World) -> None:
        life = Life(a_store(world)[1])
        activation = life.activation
        early = life.post(Add(id="early"))
        assert (activation.phase, activation.idle, activation.busy) == (Phase.CLAIMING, False, True)
        async with asyncio.TaskGroup() as group:
            group.create_task(life.live())
            assert await early == Value(value=1)
            await asyncio.sleep(0.01)
            assert (activation.phase, activation.idle, activation.busy) == (Phase.READY, True, False)
            slow = life.post(Add(id="slow", hold_ms=50))
            await asyncio.sleep(0.01)
            assert (len(activation.mailbox), activation.idle, activation.busy) == (0, False, True)
            with pytest.raises(AssertionError):
                activation.sleep()
            assert await slow == Value(value=2)
            await asyncio.sleep(0.01)
            activation.sleep()
            assert (activation.phase, activation.accepts) == (Phase.STOPPING, False)
        assert (activation.phase, activation.crashed, activation.broken) == (Phase.ENDED, False, None)
        assert life.kind.blamed == [False]

    virtual(main)


@pytest.mark.parametrize(
    ("error", "waiting", "crashed"),
    [
        (StoreDown("away"), StoreDown, False),
        (NotOwner("no belief"), NotOwner, False),
        (CommitUnknown("who knows"), ActivationLost, False),
        (LimitExceeded("too large"), ActivationLost, True),
        (DataCorrupt("torn"), DataCorrupt, False),
    ],
)
def test_how_an_error_of_a_step_ends_it(
    error: KelpieError, waiting: type[KelpieError], crashed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Callers that still wait were not served: they hear why; only a bug is blamed."""
    caplog.set_level(logging.CRITICAL)

    async def main(world: World) -> None:
        life = Life(a_store(world)[1])
        served, waits = life.post(Fail(error=error)), life.post(Add(id="waits"))
        await life.live()
        assert type(waits.exception()) is waiting
        assert isinstance(served.exception(), ActivationLost)
        activation = life.activation
        assert (activation.phase, activation.crashed) == (Phase.ENDED, crashed)
        assert activation.broken is (error if isinstance(error, DataCorrupt) else None)

    virtual(main)


def test_a_bug_ends_the_activation_and_is_blamed(caplog: pytest.LogCaptureFixture) -> None:
    async def main(world: World) -> None:
        life = Life(a_store(world)[1])
        letters = [life.post(Burst()), life.post(Add(id="waits"))]
        await life.live(blamed=True)
        assert [type(letter.exception()) for letter in letters] == [ActivationLost] * 2
        assert (life.activation.crashed, life.kind.blamed) == (True, [True])

    virtual(main)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_a_failed_load_fails_the_activation_and_never_becomes_a_default_state() -> None:
    async def main(world: World) -> None:
        for error in (StoreDown("away"), NotFound("gone")):
            life = Life(a_store(world)[1])
            life.kind.load_errors = [error]
            waits = life.post(Add(id="1"))
            await life.live()
            assert waits.exception() is error
            assert (life.activation.phase, life.activation.crashed) == (Phase.ENDED, False)

    virtual(main)


def test_nothing_is_claimed_for_a_name_that_is_nobody_s() -> None:
    async def main(world: World) -> None:
        faulty, records = a_store(world)
        life = Life(records)
        life.kind.nobody = (ANN,)
        waits = life.post(Add(id="1"))
        await life.live()
        assert isinstance(waits.exception(), NotFound)
        assert (faulty.commits, life.kind.epochs) == (0, [])

    virtual(main)


def test_a_cancelled_life_tells_its_callers_and_stays_cancelled() -> None:
    async def main(world: World) -> None:
        for after_ms in range(0, 8):
            life = Life(a_store(world)[1])
            letters = [life.post(Add(id="1", hold_ms=100)), life.post(Add(id="2"))]
            async with asyncio.TaskGroup() as group:
                task = group.create_task(life.live())
                await asyncio.sleep(after_ms / 1000)
                task.cancel()
            assert task.cancelled()
            life.activation.end(ActivationLost("as the host does"))
            assert [type(letter.exception()) for letter in letters] == [ActivationLost] * 2
            assert life.activation.phase is Phase.ENDED

    virtual(main)


def test_ending_twice_changes_nothing() -> None:
    async def main(world: World) -> None:
        life = Life(a_store(world)[1])
        waits = life.post(Peek())
        first = ActivationLost("first")
        life.activation.end(first)
        life.activation.end(ActivationLost("second"))
        assert waits.exception() is first
        with pytest.raises(AssertionError):
            life.post(Peek())

    virtual(main)


def test_the_first_of_a_nested_group() -> None:
    error = StoreDown("away")
    assert first_error(BaseExceptionGroup("", [BaseExceptionGroup("", [error, NotOwner("x")])])) is error
