"""How a decision of the turn becomes rows: state, messages, events and run record of one commit.

Nothing here awaits. A `Draft` collects one commit; what it will have changed is only taken over by the actor
after the store has said that the commit is durable.
"""

import msgspec
from msgspec import Raw, Struct

from kelpie.actor.call import ActorAddress
from kelpie.actor.outbox import Outbox
from kelpie.actor.recovery import begin_work, end_work
from kelpie.agent import steps
from kelpie.agent.effects import Decision, Finish
from kelpie.agent.events import FinishedEvent, MessageEvent, NumberedEvent, PiecesEvent
from kelpie.agent.pieces import PieceBuffer
from kelpie.agent.state import (
    AGENT_RUNS,
    CONVERSATION_RUNS,
    RUN_LOGPROBS,
    RUNS,
    RUNS_BY_TIME,
    STATES,
    AgentState,
    Answered,
    Awaiting,
    InputMessage,
    Run,
    RunError,
    RunIndex,
    RunLogprobs,
    Turn,
    WindowEntry,
)
from kelpie.agent.steps import STEPS, Account, StepRecord
from kelpie.agent.turn import withdraw
from kelpie.ids import MessageId, RunId, StepId, new_message_id
from kelpie.limits import EVENTS_PER_RUN_MAX, PIECES_PER_RUN_MAX, TURN_STEPS_MAX, WINDOW_ENTRIES_MAX
from kelpie.llm.messages import NO_JSON, Delta, Part, TextPart
from kelpie.memory.compaction import CompactionPlan
from kelpie.memory.history import MESSAGES, CompactionStats, MessageKind, StoredMessage, append
from kelpie.storage.records import Batch, Found
from kelpie.world import World

_ENCODER = msgspec.json.Encoder()
TURN_MESSAGES_MAX = TURN_STEPS_MAX * 2  # a reply and its tools' returns for each step


class MessageRef(Struct, frozen=True, kw_only=True, tag="message"):
    """The stored body of a MessageEvent: the message itself stands in the history."""

    seq: int


class Finished(Struct, frozen=True, kw_only=True, tag="finished"):
    """The stored body of a FinishedEvent: everything it tells stands in the run's record."""


class Pieces(Struct, frozen=True, kw_only=True, tag="pieces"):
    """The stored body of a PiecesEvent."""

    message_id: MessageId
    step_id: StepId
    created_at_us: int
    deltas: tuple[Delta, ...]


EventBody = MessageRef | Pieces | Finished


class Draft:
    """One commit under construction."""

    def __init__(self, found: Found[AgentState], world: World, outbox: Outbox) -> None:
        self.batch = Batch()
        self.batch.check(found)
        self.state = found.value
        self.version = found.value.version + 1
        self.messages: list[StoredMessage] = []
        self.window: list[StoredMessage] | None = None  # set: replaces the window instead of adding to it
        self.forget = False  # the window is emptied when the turn ends
        self.run: Run | None = None
        self.step: StepRecord | None = None  # of the running step, once its model has answered
        self.asked: Account | None = None  # set: of the call that this commit hears the outcome of
        self.ran_ns: int | None = None  # how long the tool ran that this commit hears of
        self.events: list[tuple[RunId, NumberedEvent]] = []
        self._world = world
        self._outbox = outbox

    def change(self, **fields: object) -> None:
        """Change fields of the state."""
        self.state = msgspec.structs.replace(self.state, **fields)

    def accept(self, run: Run) -> None:
        """The run is new: it takes its place among the agent's runs and, in a conversation, among those of it."""
        assert run.thread_id == self.state.id
        index = RunIndex(id=run.id, created_at_us=run.created_at_us)
        self.batch.check_absent(RUNS.at(run.id))
        self.change(last_message_at_us=run.created_at_us)
        self.batch.put(RUNS_BY_TIME.at(run.created_at_us, run.id), index)
        self.batch.put(AGENT_RUNS.at(run.agent_id, run.created_at_us, run.id), index)
        if run.conversation_id is not None:
            self.batch.put(CONVERSATION_RUNS.at(run.conversation_id, run.created_at_us, run.id), index)

    def begin(self, run: Run, turn: Turn) -> None:
        """The run begins: its input joins the history, and the agent is brought back until it is finished."""
        assert self.state.turn is None
        assert run.status == "running"
        for message in run.input:
            self.append_input(message, turn)
        self.run = run
        self.change(turn=turn)
        begin_work(self.batch, ActorAddress(self.state.id))

    def answer(self, run: Run, answered: Answered, decision: Decision, window: list[StoredMessage]) -> None:
        """The run begins with its first message, the answer; what else it brought follows the results of the calls."""
        awaiting = self.state.awaiting
        assert self.state.turn is None and awaiting is not None
        assert run.status == "running" and run.input[0].kind == "approval"
        turn = decision.turn
        self.append_input(run.input[0], msgspec.structs.replace(turn, step_id=awaiting.step_id))
        self.run = run
        self.change(turn=turn, awaiting=None, answered=answered)
        begin_work(self.batch, ActorAddress(self.state.id))
        self.decide(decision, run, window)

    def withdraw(self, awaiting: Awaiting) -> None:
        """Nobody will answer the calls that wait: the model is told so, and the next run may begin."""
        assert self.state.awaiting == awaiting
        assert self.state.turn is None
        told = withdraw(awaiting)
        self._append(told.kind, told.parts, run_id=None, step_id=told.step_id)
        self.change(awaiting=None)
        if self.state.queue:
            begin_work(self.batch, ActorAddress(self.state.id))

    def append_input(self, message: InputMessage, turn: Turn | None = None) -> None:
        """What somebody said joins the history, as a part of a turn or for a later one to find."""
        self._append(
            message.kind,
            message.parts,
            run_id=None if turn is None else turn.run_id,
            step_id=None if turn is None else turn.step_id,
            otid=message.otid,
            sender_id=message.sender_id,
            name=message.name,
        )

    def decide(self, decision: Decision, run: Run, window: list[StoredMessage]) -> None:
        """What the turn decided; `window` is the one that stands."""
        told = self.state.turn
        assert told is not None
        past = told.past_steps
        if decision.turn.step_id != told.step_id and told.step > 0:  # else it is another run's, which this one answers
            past = (*past, told.step_id)
        self.change(turn=msgspec.structs.replace(decision.turn, events=told.events, past_steps=past))
        for new in decision.messages:
            turn = self.state.turn
            assert turn is not None
            message = self._append(new.kind, new.parts, run_id=turn.run_id, step_id=new.step_id, id=new.id)
            self._tell(message)
        if decision.input_follows:
            for given in run.input[1:]:
                self.append_input(given, decision.turn)
        self._note_step(told, decision)
        if decision.finish is not None:
            self._finish(decision.finish, run)
            self.change(awaiting=decision.awaiting)
            if self.forget and decision.awaiting is None:
                self.window, self.messages = (self.window or window)[:1], []

    def summarise(self, turn: Turn | None, part: TextPart, plan: CompactionPlan, stats: CompactionStats) -> None:
        """The summary joins the history, and in the window it takes the place of what it summarises."""
        summary = self._append(
            "summary",
            (part,),
            run_id=None if turn is None else turn.run_id,
            step_id=None if turn is None else turn.step_id,
            compaction=stats,
        )
        self.messages.remove(summary)
        self.window = list(plan.window_after(summary))
        if turn is not None:
            self._tell(summary)

    def tell_pieces(self, buffer: PieceBuffer) -> None:
        """What has come of a reply is told."""
        turn = self.state.turn
        assert turn is not None and turn.step_id == buffer.step_id
        number, deltas = turn.events + 1, buffer.take()
        assert deltas and number <= PIECES_PER_RUN_MAX
        told = {
            "message_id": buffer.message_id,
            "step_id": buffer.step_id,
            "created_at_us": buffer.created_at_us,
            "deltas": deltas,
        }
        self.change(turn=msgspec.structs.replace(turn, events=number))
        self._note_event(turn.run_id, PiecesEvent(number=number, **told), Pieces(**told))

    def refresh_system(self, window: list[StoredMessage], system: str | None) -> None:
        """Keep the system message of the history as the model last saw it."""
        first = window[0]
        assert first.kind == "system" and first.seq == 0
        if system is None or first.parts == (TextPart(text=system),):
            return
        shown = msgspec.structs.replace(first, parts=(TextPart(text=system),))
        self.batch.put(MESSAGES.at(first.thread_id, first.seq), shown)
        self.window = [shown, *window[1:]]

    def keep_logprobs(self, tokens: Raw) -> None:
        """Keep the probabilities of the reply's tokens, if they came, in the place of those of an earlier reply."""
        turn = self.state.turn
        if tokens != NO_JSON and turn is not None:
            self.batch.put(RUN_LOGPROBS.at(turn.run_id), RunLogprobs(tokens=tokens))

    def drop_queued(self, run: Run, now_us: int, error: RunError | None = None) -> None:
        """A run that waited is cancelled, or fails, before it began."""
        assert run.id in self.state.queue
        ended = msgspec.structs.replace(
            run,
            status="cancelled" if error is None else "failed",
            stop_reason="cancelled" if error is None else "error",
            error=error,
            completed_at_us=now_us,
            events=1,
        )
        self.batch.put(RUNS.at(run.id), ended)
        self.change(queue=tuple(each for each in self.state.queue if each != run.id))
        self._note_event(run.id, finished_event(ended), Finished())

    def seal(self) -> None:
        """Write what every commit writes; nothing may be added after it."""
        entries = self.state.window
        if self.window is not None:
            entries = tuple(WindowEntry(id=each.id, seq=each.seq) for each in self.window)
        entries += tuple(WindowEntry(id=each.id, seq=each.seq) for each in self.messages)
        assert len(entries) <= WINDOW_ENTRIES_MAX + TURN_MESSAGES_MAX, "no run begins in a window that is longer"
        self.change(window=entries, version=self.version)
        waits = bool(self.state.queue) and self.state.awaiting is None
        if self.state.turn is None and not waits and not self.state.deleting:
            end_work(self.batch, ActorAddress(self.state.id))
        self.batch.put(STATES.at(self.state.id), self.state)
        if self.run is not None:
            self.batch.put(RUNS.at(self.run.id), self.run)

    def _note_step(self, told: Turn, decision: Decision) -> None:
        """Keep the record of the step: when its model has answered, and when it is over."""
        record, now_us = self.step, self._world.wall.now_us()
        over = decision.finish is not None or decision.turn.step_id != told.step_id
        if self.asked is not None:
            said = [message.seq for message in self.messages if message.kind == "assistant"]
            record = steps.answered(self.state, told, self.asked, said[0] if said else None)
            shown = steps.keep_shown(self.batch, record.agent_id, self.asked, self.state.shown)
            self.change(shown=shown)
            self._note_first_token(told, record)
        elif record is None and over and told.phase != "tools":
            record = steps.unasked(self.state, told, now_us)
        if record is None:
            return  # nothing was asked yet, or it was by an older version, which kept no records
        assert record.id == told.step_id
        assert record.status == "pending"
        if self.ran_ns is not None:
            record = msgspec.structs.replace(record, tools_ns=(record.tools_ns or 0) + self.ran_ns)
        if over:
            finish = decision.finish
            stopped = (None, None) if finish is None else (finish.stop_reason, finish.error)
            record = steps.ended(record, now_us, *stopped)
        if over or self.asked is not None:
            put = self.batch.put_new if self.step is None else self.batch.put
            put(STEPS.at(record.id), record)
        self.step = None if over else record

    def _note_first_token(self, told: Turn, record: StepRecord) -> None:
        if told.step == 1 and record.first_ns is not None:
            turn = self.state.turn
            assert turn is not None
            self.change(
                turn=msgspec.structs.replace(turn, first_token_at_us=record.begun_at_us + record.first_ns // 1000)
            )

    def _finish(self, finish: Finish, run: Run) -> None:
        turn = self.state.turn
        assert turn is not None
        assert turn.run_id == run.id
        now_us = self._world.wall.now_us()
        status = "cancelled" if finish.stop_reason == "cancelled" else "failed" if finish.error else "completed"
        self.run = msgspec.structs.replace(
            run,
            status=status,
            stop_reason=finish.stop_reason,
            error=finish.error,
            completed_at_us=now_us,
            usage=turn.usage,
            context_tokens=turn.context_tokens,
            steps=turn.step,
            events=turn.events + 1,
            step_ids=(*turn.past_steps, turn.step_id) if turn.step else (),
            first_token_at_us=turn.first_token_at_us,
        )
        self._note_event(run.id, finished_event(self.run), Finished())
        self.change(
            turn=None,
            last_run_at_us=now_us,
            last_run_ms=max(0, now_us - run.created_at_us) // 1000,
            last_stop_reason=finish.stop_reason,
        )

    def _append(
        self,
        kind: MessageKind,
        parts: tuple[Part, ...],
        *,
        run_id: RunId | None,
        step_id: StepId | None,
        id: MessageId | None = None,
        otid: str | None = None,
        sender_id: str | None = None,
        name: str | None = None,
        compaction: CompactionStats | None = None,
    ) -> StoredMessage:
        thread = self.state.thread
        message = StoredMessage(
            id=id or new_message_id(self._world.entropy),
            agent_id=thread.agent_id,
            conversation_id=thread.conversation_id,
            seq=self.state.next_seq,
            kind=kind,
            parts=parts,
            created_at_us=self._world.wall.now_us(),
            run_id=run_id,
            step_id=step_id,
            otid=otid,
            sender_id=sender_id,
            name=name,
            compaction=compaction,
        )
        assert message.seq > 0, "the system message was the first"
        assert message.parts, "a message says something"
        append(self.batch, message)
        self.messages.append(message)
        self.change(next_seq=message.seq + 1)
        return message

    def _tell(self, message: StoredMessage) -> None:
        turn = self.state.turn
        assert turn is not None
        number = turn.events + 1
        assert number < EVENTS_PER_RUN_MAX
        self.change(turn=msgspec.structs.replace(turn, events=number))
        assert message.run_id is not None
        event = MessageEvent(number=number, message=message)
        self._note_event(message.run_id, event, MessageRef(seq=message.seq))

    def _note_event(self, run_id: RunId, event: NumberedEvent, body: EventBody) -> None:
        self._outbox.append(self.batch, run_id, event.number, Raw(_ENCODER.encode(body)))
        self.events.append((run_id, event))


def finished_event(run: Run) -> FinishedEvent:
    """The last event of a run that ended."""
    assert run.stop_reason is not None
    return FinishedEvent(
        number=run.events,
        stop_reason=run.stop_reason,
        usage=run.usage,
        context_tokens=run.context_tokens,
        steps=run.steps,
        error=run.error,
    )


def error_of(code: str, sentence: str) -> RunError:
    """An error as a run keeps it; a sentence of a provider may be long, and says so when it is clipped."""
    kept = sentence if len(sentence) <= 4_000 else f"{sentence[:4_000]} (clipped: {len(sentence)} characters in all)"
    return RunError(code=code, sentence=kept)
