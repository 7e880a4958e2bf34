"""Answers to tool calls that wait for a client: which there may be, and what a repeat of one is. Pure.

An answer covers all calls that ask, each once. The same answer again is the same request and is answered by the same
run, with or without a key; another answer to calls that were answered already is refused.
"""

import hashlib
from collections.abc import Sequence

import msgspec

from kelpie.agent.state import AgentState, Answered, Awaiting, InputMessage
from kelpie.agent.turn import Answer
from kelpie.agent.wording import fit_return
from kelpie.errors import AnswerAwaited, InvalidInput, LimitExceeded
from kelpie.ids import MessageId, RunId
from kelpie.limits import STEP_RETURNS_BYTES_MAX
from kelpie.llm.messages import ToolReturnPart, VerdictPart

NOTHING_WAITS = "No tool call is currently awaiting approval: there is nothing that this message answers"
WAITS = (
    "the agent is waiting for approval of a tool call: answer that first, or cancel the run that asked for it,"
    " and then send this message again"
)
_ENCODER = msgspec.json.Encoder()


def answers_in(messages: Sequence[InputMessage]) -> InputMessage | None:
    """The message that answers calls, if the request begins with one. InvalidInput when one stands elsewhere."""
    if any(message.kind == "approval" for message in messages[1:]):
        raise InvalidInput("an answer to tool calls comes once, and before all other messages", field="messages")
    return messages[0] if messages[0].kind == "approval" else None


def check_order(state: AgentState, messages: Sequence[InputMessage]) -> None:
    """AnswerAwaited for ordinary messages while calls wait for a client."""
    if answers_in(messages) is None and state.awaiting is not None:
        run_id, message_id = state.awaiting.run_id, state.awaiting.message_id
        raise AnswerAwaited(f"{WAITS} (run_id={run_id})", run_id=run_id, message_id=message_id)


def answered_before(state: AgentState, message: InputMessage) -> RunId | None:
    """The run that this answer began when it came for the first time; None when it answers what waits now.

    A client that heard nothing gives its answer again, and by then the agent may have gone on and ask anew.
    InvalidInput when nothing waits, or when these calls were answered otherwise.
    """
    awaiting, last = state.awaiting, state.answered
    if awaiting is not None and _is_about(message, awaiting.message_id, _asking(awaiting)):
        return None
    if last is None or not _is_about(message, last.message_id, last.call_ids):
        if awaiting is not None:
            return None
        raise InvalidInput(NOTHING_WAITS, field="messages")
    if last.digest != _digest(message):
        raise InvalidInput("these tool calls were answered already, and otherwise", field="messages")
    return last.run_id


def complete(awaiting: Awaiting, message: InputMessage) -> InputMessage:
    """The message with one answer for each call that asks. InvalidInput unless it answers just these."""
    asking = {pending.call.call_id: pending.call for pending in awaiting.calls if pending.call.asks}
    parts = [part for part in message.parts if isinstance(part, VerdictPart | ToolReturnPart)]
    if len(parts) == 1 and isinstance(parts[0], VerdictPart) and parts[0].request_id is not None:
        return msgspec.structs.replace(message, parts=_for_all(awaiting, list(asking), parts[0]))
    given = [part.call_id for part in parts]
    if sorted(given) != sorted(asking):
        raise InvalidInput(f"Invalid tool call IDs. Expected {list(asking)}, but received {given}", field="messages")
    assert asking, "what waits, asks"
    share_bytes = STEP_RETURNS_BYTES_MAX // len(awaiting.calls)
    completed: list[Answer] = []
    for part in parts:
        call = asking[part.call_id]
        if isinstance(part, VerdictPart):
            _check_verdict(part, asks_client=call.asks == "client")
            completed.append(part)
        else:
            completed.append(_fitting(msgspec.structs.replace(part, name=call.name), share_bytes))
    assert len(completed) == len(asking)
    return msgspec.structs.replace(message, parts=tuple(completed))


def answers_of(message: InputMessage) -> tuple[Answer, ...]:
    """The answers in a message."""
    return tuple(part for part in message.parts if isinstance(part, VerdictPart | ToolReturnPart))


def note_answer(awaiting: Awaiting, message: InputMessage, run_id: RunId) -> Answered:
    """What is remembered of an answer as the client sent it."""
    asking = _asking(awaiting)
    assert asking, "something asked"
    return Answered(message_id=awaiting.message_id, call_ids=asking, digest=_digest(message), run_id=run_id)


def _for_all(awaiting: Awaiting, asking: Sequence[str], verdict: VerdictPart) -> tuple[VerdictPart, ...]:
    """The older form of an answer: one verdict on all calls of a message."""
    if verdict.request_id != awaiting.message_id:
        raise InvalidInput(
            f"Invalid approval request ID. Expected {awaiting.message_id}, but received {verdict.request_id}",
            field="messages",
        )
    if any(pending.call.asks == "client" for pending in awaiting.calls):
        _check_verdict(verdict, asks_client=True)
    return tuple(msgspec.structs.replace(verdict, call_id=call_id) for call_id in asking)


def _check_verdict(verdict: VerdictPart, *, asks_client: bool) -> None:
    if asks_client and verdict.approve:
        raise InvalidInput(
            "a tool that the client runs itself is answered with what it returned, or denied", field="messages"
        )


def _fitting(part: ToolReturnPart, bytes_max: int) -> ToolReturnPart:
    """What the client's tool returned, clipped visibly if it is too long; pictures cannot be clipped."""
    size = len(_ENCODER.encode(part.images))
    if size > bytes_max // 2:
        raise LimitExceeded(
            f"the pictures that a tool returned have {size} bytes and may have {bytes_max // 2}",
            limit="STEP_RETURNS_BYTES_MAX",
            maximum=STEP_RETURNS_BYTES_MAX,
        )
    return fit_return(part, bytes_max)


def _asking(awaiting: Awaiting) -> tuple[str, ...]:
    return tuple(pending.call.call_id for pending in awaiting.calls if pending.call.asks)


def _is_about(message: InputMessage, message_id: MessageId, call_ids: Sequence[str]) -> bool:
    parts = answers_of(message)
    if len(parts) == 1 and isinstance(parts[0], VerdictPart) and parts[0].request_id is not None:
        return parts[0].request_id == message_id
    return sorted(part.call_id for part in parts) == sorted(call_ids)


def _digest(message: InputMessage) -> str:
    return hashlib.sha256(_ENCODER.encode(message.parts)).hexdigest()
