"""The trace of a step: the request and the reply of its model, put together again from what is kept.

What a trace cannot tell it says: a system prompt or tools that were larger than SHOWN_BYTES_MAX were not kept. Retries
of one call are one call here, and the calls that write summaries are not steps and have no trace.
"""

import msgspec
from msgspec import Raw, Struct

from kelpie.agent.moments import zone_of
from kelpie.agent.steps import SHOWN, StepRecord
from kelpie.agent.wording import tell_returns
from kelpie.ids import AgentId
from kelpie.llm.messages import ModelReply, ModelRequest, ReasoningPart, TextPart, ToolCallPart, ToolDefinition
from kelpie.llm.retold import retell_reply, retell_request
from kelpie.memory.history import History
from kelpie.memory.window import prompt_messages
from kelpie.storage.records import Records

NOT_KEPT = "(This text was too large to be kept for traces.)"
_TOOLS = msgspec.json.Decoder(tuple[ToolDefinition, ...])
_ENCODER = msgspec.json.Encoder()


class Trace(Struct, frozen=True, kw_only=True):
    """What was sent to the model and what came back, as JSON objects."""

    request: Raw
    reply: Raw


class _Error(Struct, frozen=True):
    type: str
    message: str


class _Failed(Struct, frozen=True):
    error: _Error


async def trace_of(records: Records, step: StepRecord) -> Trace | None:
    """The trace; None of a step whose model was not asked. Raises NotFound when its agent is being removed."""
    if step.info is None or step.request is None:
        return None
    request = await _request_of(records, step, step.request)
    return Trace(request=retell_request(step.info, request, stream=step.streamed), reply=await _reply_of(records, step))


async def _request_of(records: Records, step: StepRecord, kept: ModelRequest) -> ModelRequest:
    assert step.shown is not None, "a step that asked was shown something"
    system = await _shown(records, step.agent_id, step.shown.system)
    tools = await _shown(records, step.agent_id, step.shown.tools)
    zone = zone_of(step.shown.zone)
    seqs = [seq for first, last in step.window for seq in range(first, last + 1)]
    window = await History(records).get_many(step.thread_id, seqs)
    return msgspec.structs.replace(
        kept,
        system=NOT_KEPT if system is None else system,
        messages=prompt_messages([tell_returns(message, zone) for message in window]),
        tools=() if tools is None else _TOOLS.decode(tools),
    )


async def _reply_of(records: Records, step: StepRecord) -> Raw:
    assert step.info is not None
    if step.finish is None:
        error = step.error
        told = (
            _Error("cancelled", "nobody waited for the reply") if error is None else _Error(error.code, error.sentence)
        )
        return Raw(_ENCODER.encode(_Failed(told)))
    seqs = [] if step.reply_seq is None else [step.reply_seq]
    messages = await History(records).get_many(step.thread_id, seqs)
    assert all(message.step_id == step.id for message in messages)
    parts = tuple(
        part
        for message in messages
        for part in message.parts
        if isinstance(part, ReasoningPart | TextPart | ToolCallPart)
    )
    return retell_reply(step.info, ModelReply(parts=parts, finish=step.finish, usage=step.usage))


async def _shown(records: Records, agent_id: AgentId, hash: str) -> str | None:
    found = await records.get(SHOWN.at(agent_id, hash))
    return None if found is None else found.value.text
