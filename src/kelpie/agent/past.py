"""What agents did: runs and their steps, read back one by one, in lists, and from the lists' own indexes."""

from collections.abc import Callable, Iterator, Sequence

import msgspec
from msgspec import Struct

from kelpie.actor.outbox import Outbox
from kelpie.agent import removal
from kelpie.agent.state import AGENT_RUNS, CONVERSATION_RUNS, RUNS, RUNS_BY_TIME, STATES, Run, RunIndex, Turn
from kelpie.agent.steps import STEP_NOTES, STEPS, StepNote, StepRecord
from kelpie.errors import Conflict, LimitExceeded, NotFound
from kelpie.ids import AgentId, ConversationId, RunId, StepId
from kelpie.limits import EDIT_ATTEMPTS_MAX, PAGE_ROWS_MAX, RUNS_SCANNED_MAX
from kelpie.memory.history import History, StoredMessage
from kelpie.storage import keys
from kelpie.storage.paging import Page, rows_to_read
from kelpie.storage.records import Batch, Found, Records, Space, stand_back
from kelpie.world import Entropy

READ_AT_ONCE = 64  # records of possibly RECORD_BYTES_MAX each, though hardly any is
MESSAGES_AT_ONCE = 200
ACTIVE = ("created", "running")


class Whose(Struct, frozen=True, kw_only=True):
    """Whose runs: of one agent, of one conversation, or of all."""

    agent_id: AgentId | None = None
    conversation_id: ConversationId | None = None

    @property
    def index(self) -> tuple[Space[RunIndex], tuple[str, ...]]:
        """The list that has them, and the parts of its keys before the time."""
        if self.conversation_id is not None:
            return CONVERSATION_RUNS, (self.conversation_id,)
        return (RUNS_BY_TIME, ()) if self.agent_id is None else (AGENT_RUNS, (self.agent_id,))


class Step(Struct, frozen=True, kw_only=True):
    """A step as it is told: its record and what people said of it."""

    record: StepRecord
    note: StepNote = StepNote()


EVERYONE = Whose()


class Past:
    """Reads what was done, and keeps what people say of it."""

    def __init__(self, records: Records, outbox: Outbox, entropy: Entropy) -> None:
        self._records = records
        self._history = History(records)
        self._outbox = outbox
        self._entropy = entropy

    # -- runs ----------------------------------------------------------------------------------------------

    async def run(self, run_id: RunId) -> Run:
        """The run, with what a running one has cost so far. Raises NotFound."""
        found = await self._records.get(RUNS.at(run_id))
        if found is None:
            raise run_not_found(run_id)
        turn = await self._turn_of(found.value)
        return found.value if turn is None else msgspec.structs.replace(found.value, usage=turn.usage, steps=turn.step)

    async def runs(self, whose: Whose, page: Page, is_wanted: Callable[[Run], bool]) -> list[Run]:
        """A page of runs. Raises NotFound for an unknown cursor, LimitExceeded after RUNS_SCANNED_MAX."""
        assert 0 < page.limit <= PAGE_ROWS_MAX
        start, end = await self._bounds(whose, page)
        wanted: list[Run] = []
        scanned = 0
        while scanned < RUNS_SCANNED_MAX:
            at_once = rows_to_read(page.limit, scanned, READ_AT_ONCE)
            runs, start, end = await self._next(whose, start, end, page.newest_first, at_once)
            wanted += [run for run in runs if is_wanted(run)]
            if len(wanted) >= page.limit or start >= end:
                return wanted[: page.limit]
            scanned += at_once
        raise _too_many()

    async def every_run(self, whose: Whose, is_wanted: Callable[[Run], bool]) -> list[Run]:
        """All of them, newest first. LimitExceeded when there are more than RUNS_SCANNED_MAX to look at."""
        start, end = self._whole(whose)
        wanted: list[Run] = []
        for scanned in range(0, RUNS_SCANNED_MAX, READ_AT_ONCE):
            assert scanned >= 0
            runs, start, end = await self._next(whose, start, end, True, READ_AT_ONCE)
            wanted += [run for run in runs if is_wanted(run)]
            if start >= end:
                return wanted
        raise _too_many()

    async def some_runs(self, run_ids: Sequence[RunId]) -> list[Run]:
        """Those of the runs that are there, in this order."""
        found = await self._records.get_all([RUNS.at(run_id) for run_id in run_ids])
        return [run.value for run in found if run is not None]

    async def delete_run(self, run_id: RunId) -> None:
        """Forget a run that has ended, with its events and steps; its messages stay. Raises NotFound, Conflict."""
        found = await self._records.get(RUNS.at(run_id))
        if found is None:
            raise run_not_found(run_id)
        if found.value.status in ACTIVE:
            raise Conflict(f"run '{run_id}' is {found.value.status}: cancel it first")
        batch = Batch()
        batch.check(found)
        removal.remove_run(batch, found.value, self._outbox)
        await self._records.commit(batch)

    async def messages(self, run: Run) -> list[StoredMessage]:
        """The run's messages, oldest first; they stand together in the history of its thread."""
        anchor = await self._anchor(run)
        if anchor is None:
            return await self._messages_from_the_end(run)
        before = await self._neighbours(run, before_seq=anchor)
        return [*before[::-1], *await self._neighbours(run, after_seq=anchor - 1)]

    # -- steps ---------------------------------------------------------------------------------------------

    async def step(self, step_id: StepId) -> Step:
        """The step, if its model has answered. Raises NotFound."""
        record, note = await self._records.get_two(STEPS.at(step_id), STEP_NOTES.at(step_id))
        if record is None:
            raise step_not_found(step_id)
        return Step(record=record.value, note=StepNote() if note is None else note.value)

    async def steps_of(self, run: Run) -> list[Step]:
        """The run's steps in order; one that is being asked is told as pending."""
        turn = await self._turn_of(run)
        ids = run.step_ids if turn is None else (*turn.past_steps, turn.step_id)
        if not ids:
            return []
        records = await self._records.get_all([STEPS.at(step_id) for step_id in ids])
        notes = await self._records.get_all([STEP_NOTES.at(step_id) for step_id in ids])
        return [
            Step(
                record=_pending(run, step_id, at) if record is None else record.value,
                note=StepNote() if note is None else note.value,
            )
            for at, (step_id, record, note) in enumerate(zip(ids, records, notes, strict=True), start=1)
            if record is not None or turn is not None
        ]

    async def steps(
        self, agent_id: AgentId | None, page: Page, may_have: Callable[[Run], bool], is_wanted: Callable[[Step], bool]
    ) -> list[Step]:
        """A page of steps, in the order of their runs and, in each, in that of the turn.

        Only runs that `may_have` some are looked into. Raises NotFound for an unknown cursor, LimitExceeded.
        """
        assert 0 < page.limit <= PAGE_ROWS_MAX
        whose = Whose(agent_id=agent_id)
        first, last = [None if id is None else (await self.step(StepId(id))).record for id in (page.after, page.before)]
        runs = Page(limit=READ_AT_ONCE, newest_first=page.newest_first)
        start, end = await self._bounds(whose, runs)
        for record in (first, last):
            start, end = await self._narrowed(whose, start, end, record, (record is first) == page.newest_first)
        wanted: list[Step] = []
        for scanned in range(0, RUNS_SCANNED_MAX, READ_AT_ONCE):
            assert scanned >= 0
            found, start, end = await self._next(whose, start, end, page.newest_first, READ_AT_ONCE)
            for run in found:
                if may_have(run):
                    steps = await self.steps_of(run)
                    wanted += filter(is_wanted, _between(steps, first, last, page.newest_first))
                if len(wanted) >= page.limit:
                    return wanted[: page.limit]
            if start >= end:
                return wanted
        raise _too_many()

    async def note(self, step_id: StepId, change: Callable[[StepNote], StepNote]) -> Step:
        """Keep what somebody says of a step. Raises NotFound, Conflict."""
        for attempt in range(EDIT_ATTEMPTS_MAX):
            record, note = await self._records.get_two(STEPS.at(step_id), STEP_NOTES.at(step_id))
            if record is None:
                raise step_not_found(step_id)
            assert record.value.id == step_id
            changed = change(StepNote() if note is None else note.value)
            assert isinstance(changed, StepNote)
            batch = Batch()
            batch.check(record)  # a step that goes takes what was said of it with it
            if note is None:
                batch.check_absent(STEP_NOTES.at(step_id))
            else:
                batch.check(note)
            batch.put(STEP_NOTES.at(step_id), changed)
            try:
                await self._records.commit(batch)
            except Conflict:
                await stand_back(attempt, self._entropy)
                continue
            return Step(record=record.value, note=changed)
        raise Conflict(f"step '{step_id}' is being changed by others; {EDIT_ATTEMPTS_MAX} attempts lost")

    # -- inside --------------------------------------------------------------------------------------------

    async def _turn_of(self, run: Run) -> Turn | None:
        """Where a running run stands."""
        if run.status != "running":
            return None
        state = await self._records.get(STATES.at(run.thread_id))
        turn = None if state is None else state.value.turn
        return turn if turn is not None and turn.run_id == run.id else None

    async def _anchor(self, run: Run) -> int | None:
        """The place of one of the run's messages."""
        for step in await self.steps_of(run):
            if step.record.reply_seq is not None:
                return step.record.reply_seq
        return None

    async def _neighbours(
        self, run: Run, *, after_seq: int | None = None, before_seq: int | None = None
    ) -> list[StoredMessage]:
        """The messages of the run behind a place, or before it, newest first, without a gap."""
        backwards = before_seq is not None
        assert backwards != (after_seq is not None), "one way at a time"
        found: list[StoredMessage] = []
        while True:
            page = await self._history.list(
                run.thread_id,
                after_seq=after_seq,
                before_seq=before_seq,
                limit=MESSAGES_AT_ONCE,
                newest_first=backwards,
            )
            own = [message for message in page if message.run_id == run.id]
            found += own
            if len(own) < MESSAGES_AT_ONCE:
                return found
            assert page, "the last page is not full"
            after_seq, before_seq = (None, page[-1].seq) if backwards else (page[-1].seq, None)

    async def _messages_from_the_end(self, run: Run) -> list[StoredMessage]:
        """The messages of a run without replies: looked for from the newest back to when it was accepted."""
        found: list[StoredMessage] = []
        before: int | None = None
        while True:
            page = await self._history.list(run.thread_id, before_seq=before, limit=MESSAGES_AT_ONCE, newest_first=True)
            found += [message for message in page if message.run_id == run.id]
            older = [message for message in page if message.run_id != run.id]
            passed = bool(found) and any(message.seq < found[-1].seq for message in older)
            if len(page) < MESSAGES_AT_ONCE or passed or page[-1].created_at_us < run.created_at_us:
                return found[::-1]
            before = page[-1].seq

    def _whole(self, whose: Whose) -> tuple[bytes, bytes]:
        space, prefix = whose.index
        return keys.below(space.name, *prefix)

    async def _bounds(self, whose: Whose, page: Page) -> tuple[bytes, bytes]:
        """The index keys strictly between the page's cursors."""
        lower, upper = (page.before, page.after) if page.newest_first else (page.after, page.before)
        start, end = self._whole(whose)
        if lower is not None:
            start = max(start, await self._key(whose, RunId(lower)) + b"\0")
        if upper is not None:
            end = min(end, await self._key(whose, RunId(upper)))
        return start, end

    async def _narrowed(
        self, whose: Whose, start: bytes, end: bytes, record: StepRecord | None, is_upper: bool
    ) -> tuple[bytes, bytes]:
        """What is left of the range up to the record's run, which stays in it."""
        if record is None:
            return start, end
        key = await self._key(whose, record.run_id)
        return (start, min(end, key + b"\0")) if is_upper else (max(start, key), end)

    async def _key(self, whose: Whose, run_id: RunId) -> bytes:
        """Where the run stands in the list, or would stand if it were somebody else's."""
        found = await self._records.get(RUNS.at(run_id))
        if found is None:
            raise run_not_found(run_id)
        space, prefix = whose.index
        return space.at(*prefix, found.value.created_at_us, run_id).key

    async def _next(
        self, whose: Whose, start: bytes, end: bytes, newest_first: bool, at_once: int
    ) -> tuple[list[Run], bytes, bytes]:
        """The next runs of the range, and what is left of it; start >= end when nothing is."""
        if start >= end:
            return [], end, end
        space, _ = whose.index
        rows = await self._records.store.scan(start, end, limit=at_once, reverse=newest_first)
        ids = [space.decode(row.key, row.value).id for row in rows]
        founds: list[Found[Run] | None] = await self._records.get_all([RUNS.at(run_id) for run_id in ids])
        runs = [found.value for found in founds if found is not None]
        assert len(runs) <= len(rows) <= at_once
        if len(rows) < at_once:
            return runs, end, end
        return (runs, start, rows[-1].key) if newest_first else (runs, rows[-1].key + b"\0", end)


def run_not_found(run_id: RunId) -> NotFound:
    """The error for a run that is not there."""
    return NotFound(f"Run with id '{run_id[:80]}' not found", run_id=run_id[:80])


def step_not_found(step_id: StepId) -> NotFound:
    """The error for a step that is not there."""
    return NotFound(f"Step with id '{step_id[:80]}' not found", step_id=step_id[:80])


def _between(
    steps: Sequence[Step], after: StepRecord | None, before: StepRecord | None, newest_first: bool
) -> Iterator[Step]:
    """One run's steps in the order asked for, those outside the cursors left out."""
    sign = -1 if newest_first else 1
    for step in steps[::sign]:
        record = step.record
        behind = after is None or record.run_id != after.run_id or sign * record.number > sign * after.number
        ahead = before is None or record.run_id != before.run_id or sign * record.number < sign * before.number
        if behind and ahead:
            yield step


def _pending(run: Run, step_id: StepId, number: int) -> StepRecord:
    return StepRecord(
        id=step_id,
        run_id=run.id,
        agent_id=run.agent_id,
        conversation_id=run.conversation_id,
        number=number,
        begun_at_us=run.created_at_us,
    )


def _too_many() -> LimitExceeded:
    return LimitExceeded(
        f"more than {RUNS_SCANNED_MAX} runs would have to be looked at; narrow the question",
        limit="RUNS_SCANNED_MAX",
        maximum=RUNS_SCANNED_MAX,
    )
