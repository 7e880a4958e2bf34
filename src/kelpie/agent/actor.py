"""The only loop around the turn: take what happened, decide, commit, and only then act.

One task owns the agent while it is awake. It alone reads and changes the agent's state, one commit at a time,
so there is nothing to lock. Model calls and outside tools run beside it as child tasks and report back as
values; a call in the control lane is therefore served between any two steps, however long the model takes.

    mailbox ----+
                +--> one thing at a time --> turn.step() --> commit --> publish --> perform the effect
    reports ----+                                                                        |
       ^                                                                                 |
       +---------------------------- a child task reports back <-------------------------+
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import assert_never

import msgspec

from kelpie.actor.mailbox import Letter, Mailbox
from kelpie.actor.recovery import Done, Remind, Resume, disarm
from kelpie.actor.tenure import Tenure
from kelpie.agent import approvals, inbox, removal
from kelpie.agent.admission import NO_ROOM, has_room
from kelpie.agent.calls import Accepted, Cancel, CancelledRuns, Delete, PutSummary, Recompile, Reset, Send, SetWindow
from kelpie.agent.effects import (
    AskModel,
    Cancelled,
    Compacted,
    CompactWindow,
    Effect,
    Replied,
    Resumed,
    RunTools,
    Told,
    ToolReturned,
)
from kelpie.agent.journal import Draft
from kelpie.agent.owner import COMMIT_RETRY_FIRST_MS, ThreadOwner
from kelpie.agent.performer import Asked, MemoryWork, Performer
from kelpie.agent.pieces import PieceBuffer
from kelpie.agent.state import RUNS, InputMessage
from kelpie.agent.steps import ns_since
from kelpie.agent.summaries import Summary
from kelpie.agent.thread import thread_not_found
from kelpie.agent.turn import answer as answer_calls
from kelpie.agent.turn import begin, step
from kelpie.agent.window_edits import WindowEdit, edit_window, recompile
from kelpie.errors import ActivationLost, Busy, Conflict, Refused, Unavailable
from kelpie.ids import MessageId, RunId, StepId, new_step_id
from kelpie.limits import (
    COMMIT_ATTEMPTS_MAX,
    PIECES_COMMIT_MS,
    PIECES_PER_RUN_MAX,
    RECOVERY_SWEEP_MS,
    RETRY_AFTER_MS,
    TOOL_CALLS_PARALLEL_MAX,
)
from kelpie.llm.messages import ToolCallPart
from kelpie.memory.window import Counted


class AgentActor(ThreadOwner):
    """One thread of an agent, awake. Implements `actor.activation.Actor`."""

    def __init__(self, tenure: Tenure, performer: Performer, *, blamed: bool) -> None:
        super().__init__(tenure, performer.world, performer.records, performer.history, performer.outbox)
        self._performer = performer
        self._blamed = blamed
        self._memory_calls: deque[ToolCallPart] = deque()
        self._reports: deque[Asked | Summary | ToolReturned] = deque()
        self._effects: list[asyncio.Task[None]] = []
        self._pieces: PieceBuffer | None = None
        self._pieces_due = False
        self._pieces_told_s = 0.0
        self._places = asyncio.Semaphore(TOOL_CALLS_PARALLEL_MAX)
        self._group: asyncio.TaskGroup | None = None
        self._awake = asyncio.Event()
        self._stopping = False
        self._serving = False

    # -- what an activation asks ------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a call is being served, a turn runs or waits, or the agent is being removed."""
        return self._found is None or self._serving or self._has_work

    async def run(self, mailbox: Mailbox) -> None:
        """Serve until stopped. Children end with it."""
        assert self._found is not None, "load() comes first"
        assert not self._gone
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                await self._follow_agent()
                if self._state.turn is not None:
                    await self._resume()
                while not self._gone:
                    if not await self._serve_next(mailbox):
                        if self._stopping and not self._has_work:
                            return
                        self._awake.clear()
                        await self._awake.wait()
                mailbox.close(thread_not_found(self._id))
        finally:
            if self._run is not None:
                self._outbox.forget_previews(self._run.id)

    def wake(self) -> None:
        """There is something to do."""
        self._awake.set()

    def stop(self) -> None:
        """End when nothing is under way."""
        self._stopping = True
        self._awake.set()

    # -- one thing at a time ----------------------------------------------------------------------------

    async def _serve_next(self, mailbox: Mailbox) -> bool:
        """Do the next thing; False when there is none. Letters go first: they never wait for a model."""
        assert not self._gone
        assert not self._serving, "one thing at a time"
        letter = mailbox.take(int(asyncio.get_running_loop().time() * 1000))
        if letter is not None:
            await self._serve(letter)
        elif self._state.deleting:
            await self._remove()
        elif self._reports:
            await self._take_report(self._reports.popleft())
        elif self._pieces_due:
            await self._tell_pieces()
        elif self._memory_calls:
            await self._use_memory(self._memory_calls.popleft())
        elif self._state.turn is None and self._state.queue and self._state.awaiting is None:
            await self._begin_queued()
        else:
            return False
        return True

    async def _serve(self, letter: Letter) -> None:
        self._serving = True
        try:
            letter.answer(await self._as_owner(self._answer(letter.call.body)))
        except (Refused, Unavailable) as error:
            letter.fail(error)  # nothing was changed, so the agent goes on
        except BaseException:
            letter.fail(ActivationLost(f"'{self._id}' was lost while it served the call"))
            raise
        finally:
            self._serving = False

    async def _answer(self, body: msgspec.Struct) -> msgspec.Struct:
        assert self._serving
        assert not self._gone
        match body:
            case Delete():
                await self._delete()
                return Done()
            case _ if self._state.deleting:
                raise thread_not_found(self._id)
            case Send():
                return await self._accept(body)
            case Cancel():
                return await self._cancel(body)
            case Reset() | SetWindow() | PutSummary() | Recompile():
                return await self._edit_window(body)
            case Remind():
                return await self._remind(body)
            case Resume():
                await self._follow_agent()  # if it is there, to be awake was all that was wanted
                return Done()
            case _:
                raise AssertionError(f"an agent is not asked {type(body).__name__}")

    async def _accept(self, send: Send) -> Accepted:
        """Make the messages durable as a run, and begin it at once if nothing else runs."""
        assert send.messages
        assert not self._state.deleting
        seen = await self._seen(send)
        if seen is not None:
            return Accepted(run_id=seen)
        answer = approvals.answers_in(send.messages)
        if answer is not None:
            return await self._accept_answer(send, answer)
        approvals.check_order(self._state, send.messages)
        idle = self._state.turn is None and not self._state.queue
        run = self._new_run(send, "running" if idle else "created")
        draft = await self._accepting(send, run)
        if not idle:
            draft.change(queue=(*draft.state.queue, run.id))
            draft.batch.put(RUNS.at(run.id), run)
            await self._commit(draft)
            return Accepted(run_id=run.id)
        decision = begin(run.id, run.options, new_step_id(self._world.entropy))
        draft.begin(run, decision.turn)
        await self._commit(draft)
        self._run = run
        self._perform(decision.effect)
        return Accepted(run_id=run.id)

    async def _accept_answer(self, send: Send, answer: InputMessage) -> Accepted:
        """What a client says of calls that wait begins a turn in the middle of their step, before what is queued."""
        before = approvals.answered_before(self._state, answer)
        if before is not None:
            self._world.marks.reached("an answer to waiting calls was repeated")
            return Accepted(run_id=before)
        awaiting = self._state.awaiting
        assert awaiting is not None and self._state.turn is None
        completed = approvals.complete(awaiting, answer)
        answered = approvals.note_answer(awaiting, answer, send.run_id)
        run = self._new_run(send, "running")
        run = msgspec.structs.replace(run, input=(completed, *run.input[1:]))
        draft = await self._accepting(send, run)
        answers = approvals.answers_of(completed)
        assert len(answers) == len(answered.call_ids), "each call that asks is answered once"
        decision = answer_calls(run.id, run.options, awaiting, answers, new_step_id(self._world.entropy))
        draft.answer(run, answered, decision, self._window)
        await self._commit(draft)
        self._run = run if self._state.turn is not None else None
        self._perform(decision.effect)
        return Accepted(run_id=run.id)

    async def _begin_queued(self) -> None:
        run_id = self._state.queue[0]
        found = await self._records.get(RUNS.at(run_id))
        assert found is not None, "a queued run has a record"
        if not has_room(self._state, found.value):
            draft = self._draft()
            draft.drop_queued(found.value, self._world.wall.now_us(), NO_ROOM)
            return await self._commit_patiently(draft)
        run = msgspec.structs.replace(found.value, status="running")
        decision = begin(run.id, run.options, new_step_id(self._world.entropy))
        draft = self._draft()
        draft.change(queue=self._state.queue[1:])
        draft.begin(run, decision.turn)
        await self._commit_patiently(draft)
        self._run = run
        self._perform(decision.effect)

    # -- the turn ---------------------------------------------------------------------------------------

    async def _resume(self) -> None:
        turn = self._state.turn
        assert turn is not None
        self._world.marks.reached("an interrupted turn was resumed")
        calls = [pending.call for pending in turn.calls if pending.result is None]
        repeatable = tuple([call.call_id for call in calls if await self._performer.is_repeatable(call.name)])
        await self._hear(Resumed(repeatable=repeatable, blamed=self._blamed), self._draft())

    async def _take_report(self, report: Asked | Summary | ToolReturned) -> None:
        """A child task's report, put into the turn's words."""
        turn = self._state.turn
        if turn is None:
            return
        assert self._run is not None and self._run.id == turn.run_id
        draft = self._draft()
        match report:
            case ToolReturned():
                draft.ran_ns = report.ran_ns
                await self._hear(report, draft)
            case Summary():
                if report.step_id == turn.step_id and turn.phase == "compact":
                    draft.summarise(turn, report.part, report.plan, report.stats)
                    await self._hear(Compacted(step_id=report.step_id, usage=report.usage), draft)
            case Asked():
                self._pieces = None
                if isinstance(report.told, Replied) and report.told.step_id == turn.step_id:
                    draft.refresh_system(self._window, report.system)
                    draft.keep_logprobs(report.told.reply.logprobs)
                draft.asked = report.account
                if report.system is not None:  # else the settings were not read, or nothing was asked
                    self._forget = draft.forget = report.forget
                if await self._hear(report.told, draft) and isinstance(report.told, Replied):
                    self._count(report, report.told)
            case _:
                assert_never(report)

    async def _hear(self, told: Told, draft: Draft) -> bool:
        """What happened, decided upon, committed, and acted upon. False: it came too late to matter."""
        turn, run = self._state.turn, self._run
        assert turn is not None and run is not None
        decision = step(turn, told, new_step_id(self._world.entropy))
        if decision is None:
            return False
        if isinstance(told, Cancelled):
            self._stop_effects()
        draft.decide(decision, run, self._window)
        await self._commit_patiently(draft)
        self._perform(decision.effect)
        return True

    def _count(self, asked: Asked, replied: Replied) -> None:
        """Remember what the provider counted: the next estimate begins from it."""
        usage = replied.reply.usage
        tokens = usage.input_tokens + usage.output_tokens
        self._counted = None
        if tokens and not (asked.forget and self._state.turn is None):
            self._counted = Counted(tokens=tokens, next_seq=self._window[-1].seq + 1, fixed_tokens=asked.fixed_tokens)

    def _perform(self, effect: Effect | None) -> None:
        """Start what was decided. Only ever called behind the commit that decided it."""
        turn = self._state.turn
        if effect is None or turn is None:
            return
        assert self._run is not None
        match effect:
            case AskModel():
                self._spawn(self._ask_model())
            case CompactWindow():
                self._spawn(self._compact())
            case RunTools():
                for call in effect.calls:
                    if self._performer.is_memory_tool(call.name):
                        self._memory_calls.append(call)
                    else:
                        self._spawn(self._run_tool(call))
            case _:
                assert_never(effect)

    async def _ask_model(self) -> None:
        turn, run = self._state.turn, self._run
        assert turn is not None and run is not None
        self._tenure.check_may_act()
        window = list(self._window)
        asked = self._performer.ask_model(
            self._state.thread, turn, run, window, self._counted, keep_pieces=self._keep_pieces
        )
        self._report(await asked)

    def _keep_pieces(self, step_id: StepId, message_id: MessageId, created_at_us: int) -> PieceBuffer:
        """Where the pieces of the reply go that is asked for now."""
        self._pieces = PieceBuffer(step_id, message_id, created_at_us, self._await_pieces)
        return self._pieces

    def _await_pieces(self) -> None:
        """There is a first piece: it is told at once, or, if others were told just now, a moment later."""
        loop = asyncio.get_running_loop()
        loop.call_at(max(loop.time(), self._pieces_told_s + PIECES_COMMIT_MS / 1000), self._say_pieces_due)

    def _say_pieces_due(self) -> None:
        self._pieces_due = True
        self._awake.set()

    async def _tell_pieces(self) -> None:
        """Commit what has come of the reply, and tell it: if the reply is still on its way, and the run has numbers."""
        self._pieces_due = False
        turn, pieces = self._state.turn, self._pieces
        if not pieces or turn is None or turn.step_id != pieces.step_id or turn.phase != "model":
            return
        if turn.events >= PIECES_PER_RUN_MAX:
            pieces.take()  # the message will tell it all
            return
        draft = self._draft()
        draft.tell_pieces(pieces)
        await self._commit_patiently(draft)
        self._pieces_told_s = asyncio.get_running_loop().time()

    async def _compact(self) -> None:
        turn, run = self._state.turn, self._run
        assert turn is not None and run is not None
        self._tenure.check_may_act()
        self._report(await self._performer.compact(self._state.thread, turn, run, list(self._window)))

    async def _run_tool(self, call: ToolCallPart) -> None:
        turn = self._state.turn
        assert turn is not None
        async with self._places:
            begun_at_us = self._world.wall.now_us()
            result = await self._performer.run_tool(self._state.thread, turn, call, self._tenure.check_may_act)
        self._report(ToolReturned(step_id=turn.step_id, result=result, ran_ns=ns_since(begun_at_us, self._world.wall)))

    async def _use_memory(self, call: ToolCallPart) -> None:
        """A memory tool: its result and the blocks that it changed are one commit."""
        turn, run = self._state.turn, self._run
        if turn is None or run is None or turn.phase != "tools":
            return
        assert turn.run_id == run.id
        assert self._performer.is_memory_tool(call.name)
        for attempt in range(COMMIT_ATTEMPTS_MAX):
            begun_at_us = self._world.wall.now_us()
            work: MemoryWork = await self._performer.use_memory(self._state.thread, turn, call)
            told = ToolReturned(step_id=turn.step_id, result=work.result)
            decision = step(turn, told, new_step_id(self._world.entropy))
            if decision is None:
                return
            draft = self._draft()
            draft.ran_ns = ns_since(begun_at_us, self._world.wall)
            draft.decide(decision, run, self._window)
            self._performer.write_edits(draft.batch, work, self._state.thread.agent_id)
            try:
                await self._commit_patiently(draft, conflicts=not work.edits)
            except Conflict:
                self._world.marks.reached("a memory tool lost against another writer and ran again")
                await asyncio.sleep(COMMIT_RETRY_FIRST_MS * attempt / 1000)
                continue
            self._perform(decision.effect)
            return
        raise ActivationLost(f"a block of '{self._id}' changed {COMMIT_ATTEMPTS_MAX} times while a tool edited it")

    def _spawn(self, effect) -> None:
        assert self._group is not None
        self._effects = [task for task in self._effects if not task.done()]
        self._effects.append(self._group.create_task(effect, name=f"effect of {self._id}"))

    def _stop_effects(self) -> None:
        self._pieces = None
        self._memory_calls.clear()
        for task in self._effects:
            task.cancel()
        self._effects = []

    def _report(self, report: Asked | Summary | ToolReturned) -> None:
        self._reports.append(report)
        self._awake.set()

    # -- control ----------------------------------------------------------------------------------------

    async def _cancel(self, body: Cancel) -> CancelledRuns:
        """Cancel what waits and what runs, as far as it was asked for."""
        wanted = body.run_ids
        cancelled: list[RunId] = []
        for run_id in self._state.queue:
            if wanted is None or run_id in wanted:
                found = await self._records.get(RUNS.at(run_id))
                assert found is not None
                draft = self._draft()
                draft.drop_queued(found.value, self._world.wall.now_us())
                await self._commit(draft)
                cancelled.append(run_id)
        turn = self._state.turn
        if turn is not None and (wanted is None or turn.run_id in wanted):
            await self._hear(Cancelled(), self._draft())
            cancelled.append(turn.run_id)
        awaiting = self._state.awaiting
        if awaiting is not None and (wanted is None or awaiting.run_id in wanted):
            self._world.marks.reached("calls that waited for an answer were cancelled")
            assert self._state.turn is None, "what waits is not running"
            draft = self._draft()
            draft.withdraw(awaiting)
            await self._commit(draft)
            cancelled.append(awaiting.run_id)
        return CancelledRuns(run_ids=tuple(cancelled))

    async def _edit_window(self, edit: WindowEdit) -> msgspec.Struct:
        system = await self._performer.compile(self._state.thread) if isinstance(edit, Recompile) else ""
        draft = self._draft()
        if isinstance(edit, Recompile):
            reply = recompile(draft, self._window, system)
        elif self._has_work:
            raise Busy(f"'{self._id}' is busy with another active run", retry_after_ms=RETRY_AFTER_MS)
        else:
            if self._state.awaiting is not None and not isinstance(edit, PutSummary):
                draft.withdraw(self._state.awaiting)
                draft.messages = []  # in the history, not in the window
            reply = await edit_window(edit, draft, self._window, self._history)
        if draft.window is not None:
            await self._commit(draft)
        return reply

    async def _remind(self, body: Remind) -> Done:
        draft = self._draft()
        if body.name != inbox.SWEEP or self._state.sweep_due_ms != body.due_ms:
            disarm(draft.batch, self._tenure.address, body.name, body.due_ms)  # a reminder of an earlier life
        else:
            now_ms = await self._records.store.now_ms()
            draft.state = await inbox.sweep(self._records, draft.batch, draft.state, now_ms)
        await self._commit(draft)
        return Done()

    async def _delete(self) -> None:
        """With this commit the agent is gone for everybody; removing what is left of it is what the loop does next."""
        if self._state.deleting:
            return  # a repeat: the first answer was lost
        if whole := await removal.at_once(self._records, self._found_state(), self._outbox):
            await self._tenure.commit(whole)
            self._gone = True
            return self._stop_effects()
        draft = self._draft()
        await removal.begin(self._records, self._world.entropy, draft)
        await self._commit(draft)
        self._stop_effects()
        self._reports.clear()

    async def _follow_agent(self) -> None:
        """A conversation goes when its agent is gone."""
        if not self._state.deleting and await removal.is_left_alone(self._records, self._state):
            await self._delete()

    async def _remove(self) -> None:
        assert self._state.deleting
        if await removal.send_off(self._records, self._tenure, self._found_state()):
            self._awake.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._awake.wait(), RECOVERY_SWEEP_MS / 1000)
            return
        await removal.finish(self._records, self._tenure, self._found_state(), self._outbox)
        self._gone = True
