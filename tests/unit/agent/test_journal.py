"""Goal: one decision becomes one commit, in which state, messages, events and run agree."""

import msgspec
import pytest
from msgspec import Raw

from kelpie.actor.call import ActorAddress
from kelpie.actor.outbox import EVENTS, Outbox, StoredEvent
from kelpie.actor.recovery import UNFINISHED
from kelpie.agent.effects import Decision, Finish, NewMessage
from kelpie.agent.events import FinishedEvent, MessageEvent
from kelpie.agent.journal import TURN_MESSAGES_MAX, Draft, error_of, finished_event
from kelpie.agent.state import RUNS, STATES, AgentState, InputMessage, Run, RunError, Turn, WindowEntry
from kelpie.ids import AgentId, MessageId, RunId, StepId
from kelpie.limits import WINDOW_ENTRIES_MAX
from kelpie.llm.messages import TextPart, Usage
from kelpie.memory.compaction import CompactionPlan
from kelpie.memory.history import MESSAGES, CompactionStats, StoredMessage
from kelpie.storage.records import Batch, Found, Records
from kelpie.world import World
from tests.unit.actor.build import a_store, virtual

ANN = AgentId("agent-ann")
RUN = RunId("run-1")
HI = TextPart(text="hi")
SYSTEM = StoredMessage(
    id=MessageId("m0"), agent_id=ANN, seq=0, kind="system", parts=(TextPart(text="Be kind."),), created_at_us=1
)
TURN = Turn(run_id=RUN, phase="model", step=1, step_id=StepId("s1"), steps_max=5, events=3)


def a_run(**fields: object) -> Run:
    told = InputMessage(kind="user", parts=(HI,), otid="o", sender_id="s", name="n")
    run = Run(id=RUN, agent_id=ANN, status="running", input=(told,), created_at_us=5)
    return msgspec.structs.replace(run, **fields)


def a_state(**fields: object) -> AgentState:
    window = (WindowEntry(id=SYSTEM.id, seq=0),)
    return msgspec.structs.replace(AgentState(id=ANN, version=4, next_seq=1, window=window), **fields)


async def found_of(records: Records, state: AgentState) -> Found[AgentState]:
    batch = Batch()
    batch.put(STATES.at(ANN), state)
    return Found(STATES.at(ANN).key, state, await records.commit(batch))


async def a_draft(world: World, records: Records, state: AgentState) -> Draft:
    return Draft(await found_of(records, state), world, Outbox(records))


async def stored_state(records: Records) -> AgentState:
    found = await records.get(STATES.at(ANN))
    assert found is not None
    return found.value


def test_a_run_begins_with_its_input_in_history_and_window_and_is_unfinished_work() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        draft = await a_draft(world, records, a_state())
        turn = msgspec.structs.replace(TURN, events=0)
        draft.begin(a_run(), turn)
        draft.seal()
        await records.commit(draft.batch)
        (message,) = draft.messages
        assert (message.seq, message.kind, message.parts, message.run_id) == (1, "user", (HI,), RUN)
        assert (message.step_id, message.otid, message.sender_id, message.name) == ("s1", "o", "s", "n")
        window = (WindowEntry(id=SYSTEM.id, seq=0), WindowEntry(id=message.id, seq=1))
        assert await stored_state(records) == a_state(version=5, next_seq=2, window=window, turn=turn)
        assert await records.get(UNFINISHED.at(ActorAddress(ANN))) is not None
        assert draft.events == [], "what the client sent is not told to it"
        found = await records.get(MESSAGES.at(ANN, 1))
        assert found is not None and found.value == message

    virtual(main)


def test_messages_and_the_end_are_numbered_behind_what_was_told_before() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        draft = await a_draft(world, records, a_state(turn=TURN))
        said = NewMessage(id=MessageId("m1"), kind="assistant", parts=(HI,), step_id=StepId("s1"))
        usage = Usage(input_tokens=3, output_tokens=4)
        ended = msgspec.structs.replace(TURN, usage=usage, context_tokens=7)
        finish = Finish(stop_reason="error", error=RunError(code="c", sentence="s"))
        draft.decide(Decision(turn=ended, messages=(said,), finish=finish), a_run(), [SYSTEM])
        draft.seal()
        await records.commit(draft.batch)
        numbers = [event.number for _, event in draft.events]
        assert numbers == [4, 5]
        rows = await records.scan(EVENTS, RUN, limit=9)
        assert [row.value for row in rows] == [
            StoredEvent(number=4, body=Raw(b'{"type":"message","seq":1}')),
            StoredEvent(number=5, body=Raw(b'{"type":"finished"}')),
        ]
        assert isinstance(draft.events[0][1], MessageEvent) and draft.events[0][1].message == draft.messages[0]
        run = await records.get(RUNS.at(RUN))
        assert run is not None and draft.events[1][1] == finished_event(run.value)
        assert (run.value.status, run.value.usage, run.value.context_tokens) == ("failed", usage, 7)
        assert (run.value.steps, run.value.events, run.value.error) == (1, 5, finish.error)
        state = await stored_state(records)
        assert (state.turn, state.last_stop_reason) == (None, "error")
        assert await records.get(UNFINISHED.at(ActorAddress(ANN))) is None

    virtual(main)


def test_a_summary_has_a_number_of_its_own_and_stands_behind_the_system_message() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        old = msgspec.structs.replace(SYSTEM, id=MessageId("m1"), seq=1, kind="user")
        new = msgspec.structs.replace(SYSTEM, id=MessageId("m2"), seq=2, kind="user")
        turn = msgspec.structs.replace(TURN, phase="compact")
        draft = await a_draft(world, records, a_state(turn=turn, next_seq=3))
        stats = CompactionStats(
            trigger="t", tokens_before=9, tokens_after=5, context_tokens=99, messages_before=3, messages_after=3
        )
        draft.summarise(turn, TextPart(text="sum"), CompactionPlan(summarise=(old,), keep=(SYSTEM, new)), stats)
        told = msgspec.structs.replace(turn, phase="model", compactions=1)
        said = NewMessage(id=None, kind="assistant", parts=(HI,), step_id=StepId("s1"))
        draft.decide(Decision(turn=told, messages=(said,)), a_run(), [SYSTEM, old, new])
        draft.seal()
        assert [event.number for _, event in draft.events] == [4, 5]
        assert draft.state.turn is not None and draft.state.turn.events == 5
        assert [entry.seq for entry in draft.state.window] == [0, 3, 2, 4]
        assert draft.state.next_seq == 5
        assert draft.window is not None and draft.window[1].compaction == stats

    virtual(main)


def test_unfinished_work_stays_while_something_waits_and_while_it_is_removed() -> None:
    async def main(world: World) -> None:
        for fields in ({"queue": (RunId("run-2"),)}, {"deleting": True}, {"turn": TURN}):
            _, records = a_store(world)
            draft = await a_draft(world, records, a_state())
            draft.begin(a_run(), TURN)
            draft.change(**{"turn": None, **fields})
            draft.seal()
            await records.commit(draft.batch)
            assert await records.get(UNFINISHED.at(ActorAddress(ANN))) is not None

    virtual(main)


def test_the_system_message_is_kept_as_the_model_saw_it_last() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        later = msgspec.structs.replace(SYSTEM, id=MessageId("m1"), seq=1, kind="user")
        for system, written in ((None, False), ("Be kind.", False), ("Be quick.", True)):
            draft = await a_draft(world, records, a_state(turn=TURN))
            draft.refresh_system([SYSTEM, later], system)
            assert (draft.window is not None) == written
        shown = msgspec.structs.replace(SYSTEM, parts=(TextPart(text="Be quick."),))
        assert draft.window == [shown, later]
        draft.seal()
        await records.commit(draft.batch)
        found = await records.get(MESSAGES.at(ANN, 0))
        assert found is not None and found.value == shown

    virtual(main)


def test_a_run_that_waited_is_cancelled_or_fails_with_one_event() -> None:
    async def main(world: World) -> None:
        for error, status in ((None, "cancelled"), (RunError(code="c", sentence="s"), "failed")):
            _, records = a_store(world)
            draft = await a_draft(world, records, a_state(queue=(RunId("run-0"), RUN)))
            draft.drop_queued(a_run(status="created"), 9, error)
            draft.seal()
            await records.commit(draft.batch)
            run = await records.get(RUNS.at(RUN))
            assert run is not None
            assert (run.value.status, run.value.error, run.value.events) == (status, error, 1)
            assert draft.events == [(RUN, finished_event(run.value))]
            assert (await stored_state(records)).queue == ("run-0",)

    virtual(main)


def test_forgetting_empties_the_window_and_not_the_history() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        draft = await a_draft(world, records, a_state(turn=TURN))
        draft.forget = True
        said = NewMessage(id=None, kind="assistant", parts=(HI,), step_id=StepId("s1"))
        draft.decide(Decision(turn=TURN, messages=(said,), finish=Finish(stop_reason="end_turn")), a_run(), [SYSTEM])
        draft.seal()
        await records.commit(draft.batch)
        assert [entry.seq for entry in (await stored_state(records)).window] == [0]
        assert await records.get(MESSAGES.at(ANN, 1)) is not None

    virtual(main)


def test_a_window_beyond_every_bound_is_a_bug() -> None:
    async def main(world: World) -> None:
        _, records = a_store(world)
        longest = tuple(WindowEntry(id=SYSTEM.id, seq=seq) for seq in range(WINDOW_ENTRIES_MAX + TURN_MESSAGES_MAX))
        (await a_draft(world, records, a_state(window=longest))).seal()
        with pytest.raises(AssertionError):
            (await a_draft(world, records, a_state(window=(*longest, longest[0])))).seal()

    virtual(main)


def test_a_run_that_has_not_ended_has_no_last_event_and_long_words_are_clipped_visibly() -> None:
    with pytest.raises(AssertionError):
        finished_event(a_run())
    ended = a_run(stop_reason="end_turn", events=2, steps=1)
    assert finished_event(ended) == FinishedEvent(
        number=2, stop_reason="end_turn", usage=Usage(), context_tokens=None, steps=1, error=None
    )
    assert error_of("c", "x" * 4_000).sentence == "x" * 4_000
    assert error_of("c", "x" * 4_001).sentence == "x" * 4_000 + " (clipped: 4001 characters in all)"
