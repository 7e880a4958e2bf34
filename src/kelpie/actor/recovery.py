"""What must be woken: actors with unfinished work whose owner is gone, and reminders that are due.

An actor that begins something that must be finished keeps a row here, in the same commit, until it is
finished. After a crash the row is what brings the actor back. A reminder is a row ordered by its due time;
it fires at least once, and the actor that it wakes removes it in the commit that has its effect.
"""

from msgspec import Struct

from kelpie.actor.call import ActorAddress
from kelpie.limits import RECOVERY_PAGE_ROWS
from kelpie.storage.records import Batch, Records, Space


class Unfinished(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """That the actor has work which must be resumed if its owner is lost."""

    address: ActorAddress


class Reminder(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """That the actor wants to be called with Remind at `due_ms` on the store's clock."""

    address: ActorAddress
    name: str
    due_ms: int


UNFINISHED = Space("unfinished", Unfinished)  # at(address)
REMINDERS = Space("reminder", Reminder)  # at(due_ms, address, name)


class Resume(Struct, frozen=True, kw_only=True):
    """The body of the call that wakes an actor to go on with what it left unfinished."""


class Remind(Struct, frozen=True, kw_only=True):
    """The body of the call that a due reminder makes."""

    name: str
    due_ms: int


class Done(Struct, frozen=True, kw_only=True):
    """The reply that says only that the call was served."""


def begin_work(batch: Batch, address: ActorAddress) -> None:
    """From this commit on the actor is brought back if its owner is lost."""
    batch.put(UNFINISHED.at(address), Unfinished(address=address))


def end_work(batch: Batch, address: ActorAddress) -> None:
    """Nothing is left to resume."""
    batch.delete(UNFINISHED.at(address))


def arm(batch: Batch, address: ActorAddress, name: str, due_ms: int) -> None:
    """Fire the reminder at `due_ms` (store clock) or soon after."""
    assert due_ms >= 0
    batch.put(REMINDERS.at(due_ms, address, name), Reminder(address=address, name=name, due_ms=due_ms))


def disarm(batch: Batch, address: ActorAddress, name: str, due_ms: int) -> None:
    """Forget the reminder."""
    batch.delete(REMINDERS.at(due_ms, address, name))


async def take_reminder(records: Records, batch: Batch, address: ActorAddress, remind: Remind) -> bool:
    """Whether the reminder still stands; then the commit removes it.

    A sweep calls for as long as the row is there, so an actor that is slow is called again for what it has served.
    """
    found = await records.get(REMINDERS.at(remind.due_ms, address, remind.name))
    if found is not None:
        batch.check(found)
        disarm(batch, address, remind.name, remind.due_ms)
    return found is not None


async def read_unfinished(records: Records, after: ActorAddress | None) -> list[ActorAddress]:
    """A page of the addresses with unfinished work, in order, from behind `after`."""
    found = await records.scan(UNFINISHED, after=after, limit=RECOVERY_PAGE_ROWS)
    return [each.value.address for each in found]


async def read_due(records: Records, now_ms: int, after_ms: int | None = None) -> list[Reminder]:
    """A page of the reminders due at `now_ms`, the oldest first, of those due later than `after_ms`."""
    found = await records.scan(REMINDERS, after=after_ms, before=now_ms + 1, limit=RECOVERY_PAGE_ROWS)
    reminders = [each.value for each in found]
    assert all(reminder.due_ms <= now_ms for reminder in reminders)
    return reminders
