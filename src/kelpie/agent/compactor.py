"""Compacting a window because somebody asks for it.

The model is asked here and not by the thread's owner, so that the thread goes on serving meanwhile; the owner then puts
the summary in its place only if the window is still the one that was summarised.
"""

from msgspec import Struct

from kelpie.agent.calls import PutSummary
from kelpie.agent.door import AgentDoor
from kelpie.agent.performer import Performer
from kelpie.agent.settings import read_settings
from kelpie.agent.state import STATES, AgentState, Compaction, RunOptions
from kelpie.agent.summaries import ON_REQUEST, plan_on_request
from kelpie.agent.thread import Thread, thread_not_found
from kelpie.agent.turn import begin
from kelpie.errors import Busy, InvalidInput, ModelUnavailable
from kelpie.ids import new_run_id, new_step_id
from kelpie.limits import RETRY_AFTER_MS

TOO_FEW = (
    "There are too few messages to compact: what may be summarised would not become fewer messages. Compact later, or"
    " with other compaction settings, for example the mode `all`."
)


class CompactedWindow(Struct, frozen=True, kw_only=True):
    """What a window became."""

    summary: str
    messages_before: int
    messages_after: int


class Compactor:
    """Compacts windows on request."""

    def __init__(self, door: AgentDoor, performer: Performer) -> None:
        self._door = door
        self._performer = performer

    async def compact(self, thread: Thread, compaction: Compaction | None) -> CompactedWindow:
        """Summarise the thread's older messages, as its agent has it or as is asked for.

        Raises NotFound, InvalidInput (too few messages), Busy (a turn runs), Conflict (the window changed meanwhile),
        and what asking a model raises.
        """
        state = await self._read(thread)
        entropy = self._performer.world.entropy
        wanted = compaction or (await read_settings(self._performer.records, thread)).compaction
        window = await self._performer.history.get_many(thread.id, [entry.seq for entry in state.window])
        turn = begin(new_run_id(entropy), RunOptions(), new_step_id(entropy)).turn
        prompt = await self._performer.prepare(thread, turn, RunOptions(), window)
        plan = plan_on_request(prompt, window, wanted)
        if plan is None:
            raise InvalidInput(TOO_FEW, field="compaction_settings")
        assert plan.keep[0].kind == "system"
        summary = await self._performer.summariser.summarise(
            prompt, wanted, plan, budget=prompt.budget, step_id=turn.step_id, trigger=ON_REQUEST
        )
        if summary is None:
            raise ModelUnavailable("the model's summary came back empty; nothing was changed")
        seen = tuple(message.id for message in window)
        await self._door.put_summary(
            thread.id, PutSummary(part=summary.part, plan=plan, stats=summary.stats, seen=seen)
        )
        assert summary.stats.messages_after < len(window)
        return CompactedWindow(
            summary=summary.part.text, messages_before=len(window), messages_after=summary.stats.messages_after
        )

    async def _read(self, thread: Thread) -> AgentState:
        """The thread's state, if nothing is under way in it."""
        found = await self._performer.records.get(STATES.at(thread.id))
        if found is None or found.value.deleting:
            raise thread_not_found(thread.id)
        if found.value.turn is not None or found.value.queue:
            raise Busy(f"'{thread.id}' is busy with another active run", retry_after_ms=RETRY_AFTER_MS)
        return found.value
