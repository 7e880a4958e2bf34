"""The turn, decided purely: (where it stands, what it is told) -> what follows. No await, no clock, no I/O.

A turn is a sequence of steps. A step asks the model once and runs the tools that the reply calls for. What
this module returns is committed before any of it is acted upon, so a turn can be taken up by another process
at exactly the place where it stood:

    model ----reply with calls----> tools ----all returned----> model (next step) ---- ...
      |  ^                            ^                           |
      |  +--compacted-- compact <-----|---window full / overflow--+
      +--reply without calls--> finished
      +--a call waits for a client--> finished ......answered by a further run

A tool call of which nothing is known after a crash is made again only if its tool says that this does no
harm. Otherwise the model is told that it was interrupted, and decides itself.

A call that a person must allow, or that the client runs itself, ends the turn, and with it wait the other calls of
its step: nothing of a step happens before all of it may. The answer begins a turn in the middle of that step.
"""

from typing import assert_never

import msgspec

from kelpie.agent.effects import (
    AskModel,
    Cancelled,
    Compacted,
    CompactionFailed,
    CompactWindow,
    Decision,
    Finish,
    NewMessage,
    Replied,
    ReplyFailed,
    Resumed,
    RunTools,
    Told,
    ToolReturned,
    WindowFull,
)
from kelpie.agent.rules import Policy, Progress, asked_of, barred_text, give_arguments, wants_more
from kelpie.agent.state import Awaiting, PendingCall, RunError, RunOptions, StopReason, Turn
from kelpie.ids import RunId, StepId
from kelpie.limits import ACTIVATION_RESTARTS_MAX, TOOL_CALLS_PER_STEP_MAX, TURN_STEPS_MAX
from kelpie.llm.messages import ModelReply, ReasoningPart, TextPart, ToolCallPart, ToolReturnPart, VerdictPart

Answer = VerdictPart | ToolReturnPart

COMPACTIONS_PER_STEP_MAX = 2

INTERRUPTED = (
    "The server was interrupted while this tool ran. Whether it had its effect is not known, and it was not run"
    " again. Check the state of things before you call it once more."
)
CANCELLED = "The user cancelled the request before this tool had finished. It may have had a part of its effect."
DENIED = "Not run: the user did not allow this call."
WITHDRAWN = "Not run: the user cancelled the request instead of answering it."
TOO_MANY = f"Not run: a reply may call at most {TOOL_CALLS_PER_STEP_MAX} tools. Call it again in your next reply."
POISONED = RunError(
    code="poisoned",
    sentence=f"the turn was stopped after this step had crashed the agent {ACTIVATION_RESTARTS_MAX} times",
)


def begin(run_id: RunId, options: RunOptions, step_id: StepId) -> Decision:
    """The first decision of a turn: ask the model."""
    assert 1 <= options.steps_max <= TURN_STEPS_MAX
    turn = Turn(
        run_id=run_id,
        phase="model",
        step=1,
        step_id=step_id,
        steps_max=options.steps_max,
        model=options.model,
        stream_tokens=options.stream_tokens,
    )
    return Decision(turn=turn, effect=AskModel(step_id=step_id))


def answer(
    run_id: RunId, options: RunOptions, awaiting: Awaiting, answers: tuple[Answer, ...], next_step_id: StepId
) -> Decision:
    """The first decision of a turn that answers what waits: run what may run now, or tell the model what came of it.

    There is one answer for each call that asks; `next_step_id` is used if nothing has to be run.
    """
    given = {each.call_id: each for each in answers}
    assert set(given) == {pending.call.call_id for pending in awaiting.calls if pending.call.asks}
    assert len(given) == len(answers)
    calls = tuple(_answered(pending, given.get(pending.call.call_id)) for pending in awaiting.calls)
    turn = Turn(
        run_id=run_id,
        phase="tools",
        step=0,
        step_id=awaiting.step_id,
        steps_max=options.steps_max,
        model=options.model,
        stream_tokens=options.stream_tokens,
        calls=calls,
        progress=awaiting.progress,
        needed=awaiting.needed,
        answering=True,
    )
    open_calls = _open_calls(calls)
    if not open_calls:
        return _all_returned(turn, next_step_id)
    return Decision(turn=turn, effect=RunTools(step_id=turn.step_id, calls=open_calls))


def withdraw(awaiting: Awaiting) -> NewMessage:
    """What the model is told of calls that waited for an answer and will get none."""
    results = tuple(pending.result or _failed(pending.call, WITHDRAWN) for pending in awaiting.calls)
    return NewMessage(id=None, kind="tool", parts=results, step_id=awaiting.step_id)


def step(turn: Turn, told: Told, next_step_id: StepId) -> Decision | None:
    """What follows. None: what was told belongs to a step or phase that is over, and changes nothing.

    `next_step_id` is used if a further step begins.
    """
    assert turn.step <= turn.steps_max
    assert next_step_id != turn.step_id
    match told:
        case Cancelled():
            return _cancelled(turn)
        case Resumed():
            return _resumed(turn, told, next_step_id)
        case _ if told.step_id != turn.step_id:
            return None
        case ToolReturned():
            return _returned(turn, told.result, next_step_id) if turn.phase == "tools" else None
        case Replied() if turn.phase == "model":
            return _replied(turn, told, next_step_id)
        case ReplyFailed() if turn.phase == "model":
            return _reply_failed(turn, told)
        case WindowFull() if turn.phase == "model":
            return _compact(turn)
        case Compacted() if turn.phase == "compact":
            usage = turn.usage.plus(told.usage)
            changed = msgspec.structs.replace(turn, phase="model", compactions=turn.compactions + 1, usage=usage)
            return Decision(turn=changed, effect=AskModel(step_id=turn.step_id))
        case CompactionFailed() if turn.phase == "compact":
            return _compaction_failed(turn, told)
        case Replied() | ReplyFailed() | WindowFull() | Compacted() | CompactionFailed():
            return None
        case _:
            assert_never(told)


def may_compact(turn: Turn) -> bool:
    """Whether this step may still make its window smaller."""
    return turn.compactions < COMPACTIONS_PER_STEP_MAX


def _replied(turn: Turn, told: Replied, next_step_id: StepId) -> Decision:
    assert not turn.calls
    assert told.step_id == turn.step_id
    policy = told.policy
    reply = _with_unique_calls(told.reply)
    calls = _judged(reply, policy, turn.progress)
    counted = msgspec.structs.replace(
        turn,
        usage=turn.usage.plus(reply.usage),
        context_tokens=(reply.usage.input_tokens + reply.usage.output_tokens) or None,
        compactions=0,
        restarts=0,
        needed=tuple(tool for tool in policy.needed if all(pending.call.name != tool for pending in calls)),
        progress=turn.progress.after([call.name for call in _open_calls(calls) if call.name in policy.offered]),
    )
    parts = _said(reply, calls, policy)
    said = (NewMessage(id=told.message_id, kind="assistant", parts=parts, step_id=turn.step_id),)
    if not calls:
        return _spoken(counted, reply, said if parts else (), next_step_id)
    running = msgspec.structs.replace(counted, phase="tools", calls=calls, owing=False)
    if any(pending.call.asks for pending in calls):
        return _asks(running, told, said)
    open_calls = _open_calls(calls)
    if not open_calls:
        over = _all_returned(running, next_step_id)
        return msgspec.structs.replace(over, messages=said + over.messages)
    return Decision(turn=running, messages=said, effect=RunTools(step_id=turn.step_id, calls=open_calls))


def _judged(reply: ModelReply, policy: Policy, progress: Progress) -> tuple[PendingCall, ...]:
    """The calls of a reply: those that may not be made with what the model is told, the others to be run."""
    calls: list[PendingCall] = []
    for part in reply.parts:
        if not isinstance(part, ToolCallPart):
            continue
        call = give_arguments(policy, part)
        text = TOO_MANY if len(calls) >= TOOL_CALLS_PER_STEP_MAX else barred_text(policy, progress, call.name)
        if text is not None:
            calls.append(PendingCall(call=call, result=_failed(call, text)))
            continue
        ends = "tool_rule" if call.name in policy.ends else None if wants_more(policy, call) else "end_turn"
        asked = msgspec.structs.replace(call, asks=asked_of(policy, call.name))
        calls.append(PendingCall(call=asked, ends=ends))
        progress = progress.after([call.name])
    assert all(pending.result is None or not pending.call.asks for pending in calls)
    return tuple(calls)


def _said(
    reply: ModelReply, calls: tuple[PendingCall, ...], policy: Policy
) -> tuple[TextPart | ReasoningPart | ToolCallPart, ...]:
    """The parts of the reply as they are kept: calls as judged; who speaks with a tool says the rest to itself."""
    judged = iter(calls)
    parts: list[TextPart | ReasoningPart | ToolCallPart] = []
    for part in reply.parts:
        if isinstance(part, ToolCallPart):
            parts.append(next(judged).call)
        elif isinstance(part, TextPart) and calls and policy.speaks is not None:
            parts.append(msgspec.structs.replace(part, aside=True))
        else:
            parts.append(part)
    assert len(parts) == len(reply.parts)
    return tuple(parts)


def _spoken(turn: Turn, reply: ModelReply, said: tuple[NewMessage, ...], next_step_id: StepId) -> Decision:
    """A reply without calls ends the turn, unless tools are still needed."""
    finish = _finish_of(reply)
    if not turn.needed or finish.stop_reason != "end_turn":
        return Decision(turn=turn, messages=said, finish=finish)
    if turn.step >= turn.steps_max:
        return Decision(turn=turn, messages=said, finish=Finish(stop_reason="max_steps"))
    following = msgspec.structs.replace(turn, step=turn.step + 1, step_id=next_step_id, owing=True)
    return Decision(turn=following, messages=said, effect=AskModel(step_id=next_step_id))


def _asks(turn: Turn, told: Replied, said: tuple[NewMessage, ...]) -> Decision:
    """Some call waits for a client: the turn ends here, and all calls of the step are kept for the answer."""
    awaiting = Awaiting(
        run_id=turn.run_id,
        message_id=told.message_id,
        step_id=turn.step_id,
        calls=turn.calls,
        progress=turn.progress,
        needed=turn.needed,
    )
    done = msgspec.structs.replace(turn, calls=())
    return Decision(turn=done, messages=said, awaiting=awaiting, finish=Finish(stop_reason="requires_approval"))


def _answered(pending: PendingCall, given: Answer | None) -> PendingCall:
    """A call that waited, with what the client said of it. One that did not ask only waited for the others."""
    match given:
        case None:
            return pending
        case ToolReturnPart():
            result = msgspec.structs.replace(given, name=pending.call.name)
            return msgspec.structs.replace(pending, result=result)
        case VerdictPart(approve=True):
            return pending
        case VerdictPart():
            text = f"{DENIED} Their reason: {given.reason}" if given.reason else DENIED
            return msgspec.structs.replace(pending, result=_failed(pending.call, text))
        case _:
            assert_never(given)


def _reply_failed(turn: Turn, told: ReplyFailed) -> Decision:
    if told.overflow and may_compact(turn):
        return _compact(turn)
    reason: StopReason = "context_window_overflow_in_system_prompt" if told.overflow else told.stop_reason
    return Decision(turn=turn, finish=Finish(stop_reason=reason, error=told.error))


def _compact(turn: Turn) -> Decision:
    assert may_compact(turn), "the actor asks may_compact() before it says that the window is full"
    changed = msgspec.structs.replace(turn, phase="compact")
    return Decision(turn=changed, effect=CompactWindow(step_id=turn.step_id))


def _compaction_failed(turn: Turn, told: CompactionFailed) -> Decision:
    if told.error is not None:
        return Decision(turn=turn, finish=Finish(stop_reason="llm_api_error", error=told.error))
    error = RunError(
        code="window_overflow",
        sentence="the system prompt, the memory blocks and the newest message alone overflow the context window",
    )
    return Decision(turn=turn, finish=Finish(stop_reason="context_window_overflow_in_system_prompt", error=error))


def _returned(turn: Turn, result: ToolReturnPart, next_step_id: StepId) -> Decision | None:
    """Note one result; with the last of them, tell the model all of them and begin the next step."""
    calls = tuple(
        msgspec.structs.replace(pending, result=result)
        if pending.call.call_id == result.call_id and pending.result is None
        else pending
        for pending in turn.calls
    )
    if calls == turn.calls:
        return None
    noted = msgspec.structs.replace(turn, calls=calls)
    if any(pending.result is None for pending in calls):
        return Decision(turn=noted)
    return _all_returned(noted, next_step_id)


def _all_returned(turn: Turn, next_step_id: StepId) -> Decision:
    assert all(pending.result is not None for pending in turn.calls)
    assert turn.answering == (turn.step == 0), "an answer begins in the middle of an earlier step"
    told_model = (_tool_message(turn, CANCELLED),)
    ended = _ended_by(turn)
    owing = ended is not None and bool(turn.needed)
    done = msgspec.structs.replace(turn, calls=(), answering=False)
    if ended is not None and not owing:
        return Decision(turn=done, messages=told_model, input_follows=turn.answering, finish=Finish(stop_reason=ended))
    if turn.step >= turn.steps_max:
        return Decision(turn=done, messages=told_model, finish=Finish(stop_reason="max_steps"))
    following = msgspec.structs.replace(
        done, phase="model", step=turn.step + 1, step_id=next_step_id, compactions=0, restarts=0, owing=owing
    )
    return Decision(
        turn=following,
        messages=told_model,
        input_follows=turn.answering,
        effect=AskModel(step_id=next_step_id),
    )


def _ended_by(turn: Turn) -> StopReason | None:
    """Why the turn ends with these results. A call that failed ends nothing: the model may put it right."""
    ends = [pending.ends if pending.result is not None and pending.result.ok else None for pending in turn.calls]
    if "tool_rule" in ends:
        return "tool_rule"
    return "end_turn" if all(ends) else None


def _cancelled(turn: Turn) -> Decision:
    """Stop here. Calls that ran get a result, so that the window stays one that a model can be shown."""
    messages = (_tool_message(turn, CANCELLED),) if turn.phase == "tools" else ()
    done = msgspec.structs.replace(turn, calls=(), answering=False)
    return Decision(turn=done, messages=messages, input_follows=turn.answering, finish=Finish(stop_reason="cancelled"))


def _resumed(turn: Turn, told: Resumed, next_step_id: StepId) -> Decision:
    assert 0 <= turn.restarts <= ACTIVATION_RESTARTS_MAX
    assert (turn.phase == "tools") == bool(turn.calls)
    restarts = turn.restarts + told.blamed
    if restarts > ACTIVATION_RESTARTS_MAX:
        messages = (_tool_message(turn, INTERRUPTED),) if turn.phase == "tools" else ()
        done = msgspec.structs.replace(turn, calls=(), answering=False)
        error = Finish(stop_reason="error", error=POISONED)
        return Decision(turn=done, messages=messages, input_follows=turn.answering, finish=error)
    again = msgspec.structs.replace(turn, restarts=restarts)
    if turn.phase != "tools":
        ask, compact = AskModel(step_id=turn.step_id), CompactWindow(step_id=turn.step_id)
        return Decision(turn=again, effect=ask if turn.phase == "model" else compact)
    calls = tuple(
        msgspec.structs.replace(pending, result=_failed(pending.call, INTERRUPTED))
        if pending.result is None and pending.call.call_id not in told.repeatable
        else pending
        for pending in turn.calls
    )
    known = msgspec.structs.replace(again, calls=calls)
    open_calls = _open_calls(calls)
    if not open_calls:
        return _all_returned(known, next_step_id)
    return Decision(turn=known, effect=RunTools(step_id=turn.step_id, calls=open_calls))


def _open_calls(calls: tuple[PendingCall, ...]) -> tuple[ToolCallPart, ...]:
    return tuple(pending.call for pending in calls if pending.result is None)


def _tool_message(turn: Turn, without_result: str) -> NewMessage:
    assert turn.calls, "a step in the phase `tools` has calls"
    results = tuple(pending.result or _failed(pending.call, without_result) for pending in turn.calls)
    return NewMessage(id=None, kind="tool", parts=results, step_id=turn.step_id)


def _failed(call: ToolCallPart, text: str) -> ToolReturnPart:
    return ToolReturnPart(call_id=call.call_id, name=call.name, text=text, ok=False)


def _finish_of(reply: ModelReply) -> Finish:
    match reply.finish:
        case "length":
            return Finish(stop_reason="max_tokens_exceeded")
        case "refusal" if not any(isinstance(part, TextPart) for part in reply.parts):
            error = RunError(code="model_refused", sentence="the model refused to answer and gave no text")
            return Finish(stop_reason="invalid_llm_response", error=error)
        case _:
            return Finish(stop_reason="end_turn")


def _with_unique_calls(reply: ModelReply) -> ModelReply:
    """Some providers repeat or omit call ids; results are matched by them, so they are made unique here."""
    seen: dict[str, None] = {}
    parts: list[TextPart | ReasoningPart | ToolCallPart] = []
    for at, part in enumerate(reply.parts):
        if isinstance(part, ToolCallPart) and (not part.call_id or part.call_id in seen):
            part = msgspec.structs.replace(part, call_id=_fresh_call_id(part.call_id or "call", at, seen))
        if isinstance(part, ToolCallPart):
            seen[part.call_id] = None
        parts.append(part)
    assert len(parts) == len(reply.parts)
    return msgspec.structs.replace(reply, parts=tuple(parts))


def _fresh_call_id(given: str, at: int, seen: dict[str, None]) -> str:
    """An id that no call before has: of so many candidates one is free."""
    for number in range(at, at + len(seen) + 1):
        if f"{given}-{number}" not in seen:
            return f"{given}-{number}"
    raise AssertionError("there are more candidates than ids")
