"""The owner of a thread: what it knows of it, and the only way in which it changes it.

What is known is what was committed: read once when the activation begins, and taken over from each commit behind its
success. So whoever reads a field here between two awaits reads what the store has.
"""

import asyncio
import logging
from collections.abc import Awaitable

from msgspec import Struct

from kelpie.actor.outbox import Outbox
from kelpie.actor.tenure import Tenure
from kelpie.agent import inbox, removal
from kelpie.agent.admission import check_run
from kelpie.agent.calls import Send
from kelpie.agent.groups import wake_watchers
from kelpie.agent.journal import Draft
from kelpie.agent.state import INBOX, RUNS, STATES, AgentState, Run, RunStatus
from kelpie.agent.steps import STEPS, StepRecord
from kelpie.agent.thread import thread_not_found
from kelpie.errors import ActivationLost, Busy, Conflict, Refused, StorageFull, StoreDown
from kelpie.ids import RunId, ThreadId
from kelpie.limits import COMMIT_ATTEMPTS_MAX, GET_KEYS_MAX
from kelpie.memory.history import History, StoredMessage
from kelpie.memory.window import Counted
from kelpie.storage.records import Found, Records
from kelpie.world import World

COMMIT_RETRY_FIRST_MS = 20

log = logging.getLogger("kelpie.agent")


class ThreadOwner:
    """One thread in the hands of its owner."""

    def __init__(self, tenure: Tenure, world: World, records: Records, history: History, outbox: Outbox) -> None:
        assert tenure.epoch >= 1
        assert tenure.address
        self._tenure = tenure
        self._world = world
        self._records = records
        self._history = history
        self._outbox = outbox
        self._id = ThreadId(tenure.address)
        self._found: Found[AgentState] | None = None
        self._window: list[StoredMessage] = []
        self._run: Run | None = None
        self._step: StepRecord | None = None  # of the running step, once its model has answered
        self._counted: Counted | None = None
        self._forget = False
        self._gone = False  # removed by a commit of ours

    async def load(self) -> None:
        """Read the committed state, and the messages of the window."""
        self._found = await self._records.get(STATES.at(self._id))
        if self._found is None:
            await removal.disown(self._tenure)
            raise thread_not_found(self._id)
        seqs = [entry.seq for entry in self._state.window]
        for at in range(0, len(seqs), GET_KEYS_MAX):
            self._window += await self._history.get_many(self._id, seqs[at : at + GET_KEYS_MAX])
        assert [message.seq for message in self._window] == seqs
        if self._state.turn is not None:
            found = await self._records.get(RUNS.at(self._state.turn.run_id))
            assert found is not None, "a running turn has its run's record"
            self._run = found.value
            step = await self._records.get(STEPS.at(self._state.turn.step_id))
            self._step = step.value if step is not None and step.value.status == "pending" else None

    @property
    def _state(self) -> AgentState:
        assert self._found is not None, "load() comes first"
        return self._found.value

    @property
    def _has_work(self) -> bool:
        waits = bool(self._state.queue) and self._state.awaiting is None
        return self._state.turn is not None or waits or self._state.deleting

    def _found_state(self) -> Found[AgentState]:
        assert self._found is not None
        return self._found

    def _draft(self) -> Draft:
        draft = Draft(self._found_state(), self._world, self._outbox)
        draft.forget = self._forget
        draft.step = self._step
        return draft

    def _new_run(self, send: Send, status: RunStatus) -> Run:
        now_us = self._world.wall.now_us()
        thread = self._state.thread
        return Run(
            id=send.run_id,
            agent_id=thread.agent_id,
            conversation_id=thread.conversation_id,
            status=status,
            input=send.messages,
            options=send.options,
            created_at_us=now_us,
        )

    async def _as_owner(self, answering: Awaitable[Struct]) -> Struct:
        """The answer. One that no commit of ours bears out may tell of a past in which this node was the owner."""
        held = self._found
        try:
            reply = await answering
        except Refused:
            self._tenure.check_may_act()
            raise
        if self._found is held and not self._gone:
            self._tenure.check_may_act()
        return reply

    async def _accepting(self, send: Send, run: Run) -> Draft:
        """The commit that accepts a run, begun. Raises what `check_run` does."""
        check_run(self._state, run)
        draft = self._draft()
        draft.accept(run)
        draft.state = inbox.remember(draft.batch, draft.state, send, await self._records.store.now_ms())
        return draft

    async def _seen(self, send: Send) -> RunId | None:
        """The run that answers this request already."""
        if send.key_hash is None:
            return send.run_id if await self._records.get(RUNS.at(send.run_id)) is not None else None
        entry, run = await self._records.get_two(INBOX.at(self._id, send.key_hash), RUNS.at(send.run_id))
        if run is not None:
            return run.value.id
        if entry is None:
            return None
        inbox.check_same(entry.value, send)
        self._world.marks.reached("a client's repeat got the first answer")
        return entry.value.run_id

    async def _commit_patiently(self, draft: Draft, *, conflicts: bool = True) -> None:
        """Commit what must not be lost, e.g. a model's reply: a store that is away for a moment is waited for.

        When it stays away the activation ends, for what was decided is neither committed nor acted upon; the
        turn goes on from its last commit. `conflicts=False`: a Conflict is the caller's to deal with.
        """
        await self._seal(draft)
        reason = ""
        for attempt in range(COMMIT_ATTEMPTS_MAX):
            try:
                return await self._commit_sealed(draft)
            except (StoreDown, StorageFull, Busy, Conflict) as error:
                if isinstance(error, Conflict) and not conflicts:
                    raise
                reason = error.sentence
                await asyncio.sleep(COMMIT_RETRY_FIRST_MS * 2**attempt / 1000)
        log.warning("a step of %s could not be committed and will be tried again: %s", self._id, reason)
        run = draft.run or self._run
        if run is not None:
            self._outbox.stall(run.id, reason)
        raise ActivationLost(f"a step of '{self._id}' could not be committed: {reason}")

    async def _commit(self, draft: Draft) -> None:
        """Commit what a caller waits for: the caller is told at once when it cannot be done."""
        await self._seal(draft)
        await self._commit_sealed(draft)

    async def _seal(self, draft: Draft) -> None:
        """The draft is ready. Whoever watches hears of a turn that ends with it, if need be with its acceptance."""
        if draft.run is not None and draft.run.completed_at_us is not None and draft.state.agent_id is None:
            await wake_watchers(self._records, draft.batch, self._id, draft.run.id)
        draft.seal()
        assert draft.state.id == self._id
        assert draft.batch.writes

    async def _commit_sealed(self, draft: Draft) -> None:
        version = await self._tenure.commit(draft.batch)
        self._found = draft.batch.found(STATES.at(self._id), draft.state, version)
        if draft.window is not None:
            if len(draft.window) < len(self._window):
                self._counted = None
            self._window = draft.window
        self._window = self._window + draft.messages
        if draft.run is not None:
            self._run = draft.run if draft.state.turn is not None else None
        self._step = draft.step
        for run_id, event in draft.events:
            self._outbox.publish(run_id, event.number, event)
