"""Goal: what must be woken is found in the store, in order, a page at a time, and is gone when it is done."""

import pytest

from kelpie.actor.call import ActorAddress
from kelpie.actor.recovery import Reminder, arm, begin_work, disarm, end_work, read_due, read_unfinished
from kelpie.limits import RECOVERY_PAGE_ROWS
from kelpie.storage.records import Batch
from kelpie.world import World
from tests.unit.actor.build import ANN, BOB, a_store, leave_unfinished, virtual


def test_unfinished_work_is_found_once_per_actor_until_it_ends() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        await leave_unfinished(records, BOB, ANN, BOB)
        assert await read_unfinished(records, None) == [ANN, BOB]
        assert await read_unfinished(records, ANN) == [BOB]
        batch = Batch()
        end_work(batch, ANN)
        begin_work(batch, ANN)
        end_work(batch, ANN)
        await records.commit(batch)
        assert await read_unfinished(records, None) == [BOB]

    virtual(main)


def test_unfinished_work_comes_in_pages_that_leave_nothing_out() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        names = [ActorAddress(f"actor-{at:04}") for at in range(RECOVERY_PAGE_ROWS + 3)]
        await leave_unfinished(records, *names)
        first = await read_unfinished(records, None)
        assert len(first) == RECOVERY_PAGE_ROWS
        assert first + await read_unfinished(records, first[-1]) == names

    virtual(main)


def test_reminders_come_due_in_order_of_time_and_not_before() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        batch = Batch()
        for address, name, due_ms in ((ANN, "b", 20), (BOB, "a", 10), (ANN, "a", 20), (ANN, "c", 300)):
            arm(batch, address, name, due_ms)
        await records.commit(batch)
        due = [
            Reminder(address=BOB, name="a", due_ms=10),
            Reminder(address=ANN, name="a", due_ms=20),
            Reminder(address=ANN, name="b", due_ms=20),
            Reminder(address=ANN, name="c", due_ms=300),
        ]
        for now, count in ((0, 0), (9, 0), (10, 1), (19, 1), (20, 3), (299, 3), (300, 4), (2**40, 4)):
            assert await read_due(records, now) == due[:count]
        batch = Batch()
        disarm(batch, ANN, "a", 20)
        disarm(batch, ANN, "a", 10)  # never armed: nothing happens
        await records.commit(batch)
        assert await read_due(records, 100) == [due[0], due[2]]

    virtual(main)


def test_due_reminders_come_in_pages_and_a_full_page_does_not_hide_the_next() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        batch = Batch()
        for due_ms in range(RECOVERY_PAGE_ROWS + 3):
            arm(batch, ANN, "a", due_ms)
        await records.commit(batch)
        first = await read_due(records, 10_000)
        rest = await read_due(records, 10_000, first[-1].due_ms)
        assert [reminder.due_ms for reminder in first + rest] == list(range(RECOVERY_PAGE_ROWS + 3))
        assert len(first) == RECOVERY_PAGE_ROWS

    virtual(main)


def test_a_reminder_before_the_beginning_of_time_is_a_bug() -> None:
    with pytest.raises(AssertionError):
        arm(Batch(), ANN, "a", -1)
