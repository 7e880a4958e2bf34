"""What may be asked of an agent that lives in the cluster: the last stop of every door above.

A request becomes durable when `send` returns its run. Whoever wants the answer follows the run, from here or
from any other connection, now or after a restart: the run's events are committed and numbered, and following
is reading them. So a client that loses its connection loses nothing but the connection.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import msgspec
from msgspec import Raw, Struct

from kelpie.actor.call import ActorAddress, Call, Lane
from kelpie.actor.outbox import Numbered, Outbox, Stalled, StoredEvent, Subscription
from kelpie.actor.recovery import Resume
from kelpie.actor.router import Router
from kelpie.agent import inbox, removal
from kelpie.agent.calls import (
    Accepted,
    Cancel,
    CancelledRuns,
    Delete,
    PutSummary,
    Recompile,
    Recompiled,
    Reset,
    Send,
    SetWindow,
)
from kelpie.agent.events import DeltaEvent, FinishedEvent, MessageEvent, NumberedEvent, PiecesEvent, RunEvent
from kelpie.agent.journal import EventBody, Finished, MessageRef, Pieces, finished_event
from kelpie.agent.state import AGENT_RUNS, CONVERSATION_RUNS, RUN_LOGPROBS, RUNS, STATES, InputMessage, Run, RunOptions
from kelpie.agent.thread import Thread, thread_not_found
from kelpie.errors import CallTimedOut, NotFound, OutcomeUnknown, RunStalled, Unavailable
from kelpie.ids import AgentId, AnyThreadId, MessageId, RunId, ThreadId, new_run_id
from kelpie.limits import EVENTS_PAGE_ROWS, FOLLOW_FAILURES_MAX, FOLLOW_POLL_MS, NUDGE_MS, REQUEST_DEADLINE_MS
from kelpie.llm.messages import NO_JSON
from kelpie.memory.history import History
from kelpie.storage.records import Records
from kelpie.world import World

RUNS_SEARCHED_MAX = 100
_BODIES = msgspec.json.Decoder(EventBody)


class _Page(Struct, frozen=True, kw_only=True):
    """What a reader is told next. `over`: the run had ended before the events were read, so no others will come."""

    events: Sequence[RunEvent]
    over: bool = False


class AgentDoor:
    """Asks agents, wherever they are."""

    def __init__(self, world: World, records: Records, router: Router, outbox: Outbox) -> None:
        self._world = world
        self._records = records
        self._router = router
        self._outbox = outbox
        self._history = History(records)

    async def send(
        self, thread_id: AnyThreadId, messages: tuple[InputMessage, ...], options: RunOptions, *, key: str | None
    ) -> RunId:
        """Accept messages as one run, durably. The same `key` again answers the first run.

        Raises NotFound, Busy (queue full), InvalidInput (the key was used for another request), Draining.
        """
        assert messages, "a run has input"
        body = Send(
            run_id=new_run_id(self._world.entropy),
            messages=messages,
            options=options,
            key_hash=None if key is None else inbox.hash_key(key),
            digest="" if key is None else inbox.hash_request(messages, options),
        )
        accepted = await self._call(thread_id, "turns", body)
        assert isinstance(accepted, Accepted)
        return accepted.run_id

    async def follow(self, run_id: RunId, *, after: int, deltas: bool) -> AsyncGenerator[RunEvent, None]:
        """The run's events with numbers > after, then live ones until FinishedEvent. Raises NotFound.

        With `deltas` provisional DeltaEvents come between them. A run that has ended and has no event after `after`
        yields nothing. A store that is away is waited for, then it is CallTimedOut: whoever began the run must not be
        told that nothing happened. To be closed by the reader (`aclosing`).
        """
        assert after >= 0
        reading = self._outbox.subscribe(run_id, previews=deltas)
        try:
            last, failures = after, 0
            behind = True
            while True:
                try:
                    page = await (self._read(run_id, after=last) if behind else self._next(reading, last))
                except Unavailable as error:
                    failures, behind = failures + 1, True
                    await _bear(run_id, failures, error)
                    continue
                failures = 0
                behind = len(page.events) == EVENTS_PAGE_ROWS
                if page.over and not page.events:
                    return
                for event in page.events:
                    if not isinstance(event, DeltaEvent):
                        assert event.number == last + 1, "each event once, in order"
                        last = event.number
                    yield event
                    if isinstance(event, FinishedEvent):
                        return
        finally:
            self._outbox.leave(reading)

    async def finish(self, run_id: RunId) -> tuple[list[MessageEvent], FinishedEvent]:
        """Wait for the run's end; all its events. Raises NotFound."""
        said: list[MessageEvent] = []
        async with aclosing(self.follow(run_id, after=0, deltas=False)) as events:
            async for event in events:
                match event:
                    case MessageEvent():
                        said.append(event)
                    case PiecesEvent():
                        pass  # the message that they are of says it all
                    case FinishedEvent():
                        return said, event
                    case DeltaEvent():
                        raise AssertionError("previews were not asked for")
        raise AssertionError("a run's last event is FinishedEvent")

    async def get_accepted(self, run_id: RunId) -> Run:
        """As get_run, of a run that was accepted just now: a store that is away is waited for, as by `follow`."""
        failures = 0
        while True:
            try:
                return await self.get_run(run_id)
            except Unavailable as error:
                failures += 1
                await _bear(run_id, failures, error)

    async def get_run(self, run_id: RunId) -> Run:
        """The run's record. Raises NotFound."""
        found = await self._records.get(RUNS.at(run_id))
        if found is None:
            raise NotFound(f"Run with id '{run_id}' not found", id=run_id)
        return found.value

    async def get_logprobs(self, run_id: RunId) -> Raw:
        """The probabilities of the tokens of a run's last reply, as the provider told them; null when it told none."""
        found = await self._records.get(RUN_LOGPROBS.at(run_id))
        return NO_JSON if found is None else found.value.tokens

    async def list_runs(self, agent_id: AgentId, *, limit: int) -> list[Run]:
        """The agent's newest runs, newest first."""
        index = await self._records.scan(AGENT_RUNS, agent_id, limit=limit, reverse=True)
        found = await self._records.get_all([RUNS.at(each.value.id) for each in index])
        return [each.value for each in found if each is not None]

    async def cancel(self, thread_id: AnyThreadId, run_ids: Sequence[RunId] | None) -> dict[RunId, str]:
        """Cancel these runs of a thread, or all that are unfinished; the status of each, once it is committed."""
        body = Cancel(run_ids=None if run_ids is None else tuple(run_ids))
        done = await self._call(thread_id, "control", body)
        assert isinstance(done, CancelledRuns)
        named = {run_id: "cancelled" for run_id in done.run_ids}
        for run_id in run_ids or ():
            if run_id not in named:
                named[run_id] = (await self.get_run(run_id)).status
        return named

    async def reset(self, thread_id: AnyThreadId, messages: tuple[InputMessage, ...] = ()) -> None:
        """Empty the window down to the system message and begin it anew with `messages`; the history is kept.

        Refused with Busy while a turn runs.
        """
        await self._call(thread_id, "control", Reset(messages=messages))

    async def set_window(self, thread_id: AnyThreadId, message_ids: Sequence[MessageId]) -> None:
        """Let the model see exactly these messages of the history from now on; refused with Busy while a turn runs.

        Raises NotFound, InvalidInput (the first is not the system message), LimitExceeded.
        """
        await self._call(thread_id, "control", SetWindow(message_ids=tuple(message_ids)))

    async def put_summary(self, thread_id: AnyThreadId, summary: PutSummary) -> None:
        """Put a summary into the window in the place of what it summarises; refused with Busy while a turn runs.

        Raises NotFound, Conflict (the window is no longer the one that was summarised).
        """
        await self._call(thread_id, "control", summary)

    async def recompile(self, thread_id: AnyThreadId) -> str:
        """Make the thread's system message anew and keep it; its text. Raises NotFound, LimitExceeded."""
        done = await self._call(thread_id, "control", Recompile())
        assert isinstance(done, Recompiled)
        return done.system

    async def find_run(self, thread: Thread, otid: str) -> Run | None:
        """The newest run of the thread, among the last RUNS_SEARCHED_MAX, that was sent a message under that otid."""
        for run in await self._newest_runs(thread):
            if any(message.otid == otid for message in run.input):
                return run
        return None

    async def find_active_run(self, thread: Thread) -> RunId | None:
        """The run that the thread is busy with, or that it will begin next. Raises NotFound."""
        found = await self._records.get(STATES.at(thread.id))
        if found is None or found.value.deleting:
            raise thread_not_found(thread.id)
        if found.value.turn is not None:
            return found.value.turn.run_id
        return found.value.queue[0] if found.value.queue else None

    async def delete(self, thread_id: AnyThreadId) -> None:
        """Cancel what runs and remove the conversation, or the agent with all its threads. Raises NotFound."""
        if await removal.without_waking(self._records, ThreadId(thread_id), self._outbox):
            return
        await self._call(thread_id, "control", Delete())

    async def _newest_runs(self, thread: Thread) -> list[Run]:
        if thread.conversation_id is None:
            index = await self._records.scan(AGENT_RUNS, thread.agent_id, limit=RUNS_SEARCHED_MAX, reverse=True)
        else:
            below = CONVERSATION_RUNS, thread.conversation_id
            index = await self._records.scan(*below, limit=RUNS_SEARCHED_MAX, reverse=True)
        found = await self._records.get_all([RUNS.at(each.value.id) for each in index])
        return [each.value for each in found if each is not None and each.value.thread_id == thread.id]

    async def nudge(self, address: str) -> None:
        """Have an actor look whether it has work now rather than at the next sweep, which finds it in any case."""
        now_ms = int(asyncio.get_running_loop().time() * 1000)
        call = Call(target=ActorAddress(address), lane="control", body=Resume(), deadline_ms=now_ms + NUDGE_MS)
        try:
            await self._router.call(call)
        except (Unavailable, OutcomeUnknown, NotFound):
            pass

    async def _call(self, thread_id: AnyThreadId, lane: Lane, body: msgspec.Struct) -> msgspec.Struct:
        now_ms = int(asyncio.get_running_loop().time() * 1000)
        call = Call(target=ActorAddress(thread_id), lane=lane, body=body, deadline_ms=now_ms + REQUEST_DEADLINE_MS)
        return await self._router.call(call)

    async def _next(self, reading: Subscription, last: int) -> _Page:
        """What comes after `last`: what was announced on this node, or what the store has."""
        item = reading.take()
        if item is None:
            await reading.wait(FOLLOW_POLL_MS)
            item = reading.take()
        match item:
            case DeltaEvent():
                return _Page(events=[item])
            case Numbered(number=number) if number <= last:
                return _Page(events=[])
            case Numbered(number=number, event=event) if number == last + 1:
                assert number >= 1
                assert isinstance(event, NumberedEvent)
                return _Page(events=[event])
            case Stalled():
                raise RunStalled(f"run_id={reading.stream} was accepted and goes on by itself later: {item.sentence}")
            case _:
                return await self._read(RunId(reading.stream), after=last)

    async def _read(self, run_id: RunId, *, after: int) -> _Page:
        """Committed events from the store, the messages of a page in one read."""
        run = await self.get_run(run_id)
        stored = await self._outbox.read(run_id, after=after, limit=EVENTS_PAGE_ROWS)
        return _Page(events=await self._resolve(run, stored), over=run.stop_reason is not None)

    async def _resolve(self, run: Run, stored: Sequence[StoredEvent]) -> list[NumberedEvent]:
        bodies = [(event.number, _BODIES.decode(event.body)) for event in stored]
        seqs = [body.seq for _, body in bodies if isinstance(body, MessageRef)]
        messages = iter(await self._history.get_many(run.thread_id, seqs))
        events: list[NumberedEvent] = []
        for number, body in bodies:
            match body:
                case MessageRef():
                    events.append(MessageEvent(number=number, message=next(messages)))
                case Pieces():
                    events.append(PiecesEvent(number=number, **msgspec.structs.asdict(body)))
                case Finished():
                    if run.stop_reason is None:  # it ended between the two reads
                        run = await self.get_run(run.id)
                    events.append(finished_event(run))
        return events


async def _bear(run_id: RunId, failures: int, error: Unavailable) -> None:
    """Wait after a read that failed; CallTimedOut when there were too many of them."""
    assert failures >= 1
    if failures >= FOLLOW_FAILURES_MAX:
        sentence = f"run '{run_id}' was accepted and goes on, but cannot be read now: {error.sentence}"
        raise CallTimedOut(sentence, run_id=run_id) from error
    await asyncio.sleep(FOLLOW_POLL_MS / 1000)
