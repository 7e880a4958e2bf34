"""The requests that the retired server was sent, sent to ours in the same order: same statuses, same shapes.

Ids of the recordings stand for ours as they are made. Answers are compared by shape: the same keys, null where null
was, dates and ids of the same forms; and by the retired server's own schemas.
"""

import asyncio
import json
from functools import cache
from typing import Any

import jsonschema
import pytest

from kelpie.llm.messages import ModelReply, ReasoningPart, TextPart, ToolCallPart, Usage
from tests.unit.api.knocking import Reply, Visitor, visit
from tests.wire.facts.shapes import shape, stream_events
from tests.wire.surface import FACTS, SURFACE

THEIR_AGENT = "agent-37190939-cd64-435d-87d9-c5052bedcb0a"
THEIR_BLOCK = "block-9214f476-3e14-4978-8e94-e75e3f8b4261"
SCHEMAS = {
    "health": "Health",
    "ready": "Health",
    "models": ["Model"],
    "embedding_models": ["EmbeddingModel"],
    "blk_get": "BlockResponse",
    "blk_agents": ["AgentState"],
    "agent_create_letta_v1_agent": "AgentState",
    "agent_create_default": "AgentState",
    "agent_get": "AgentState",
    "agent_patch": "AgentState",
    "agents_list": ["AgentState"],
    "agent_tools": ["Tool"],
    "agent_blocks": ["BlockResponse"],
    "agent_block_get": "BlockResponse",
    "agent_block_attach": "AgentState",
    "agent_block_attach_dup": "AgentState",
    "agent_block_detach": "AgentState",
    "agent_messages0": ["LettaMessageUnion"],
    "msg_sync": "LettaResponse",
    "msg_input": "LettaResponse",
    "msg_tool_memory": "LettaResponse",
    "msg_override_model": "LettaResponse",
    "msgs_asc": ["LettaMessageUnion"],
    "msgs_filter": ["LettaMessageUnion"],
    "msg_async": "Run",
    "run_messages": ["LettaMessageUnion"],
    "reset": "AgentState",
}
# Where ours says more or other than theirs did, and why that is meant.
MORE = {
    ("health", "kelpie_version"): "our own version",
    ("ready", "kelpie_version"): "our own version",
}
OTHER = {
    "embedding_endpoint": "the built-in model has none",
    "last_run_completion": "theirs forgot when an agent's last run ended",
    "last_run_duration_ms": "theirs forgot how long it took",
    "last_stop_reason": "depends on what was recorded in between",
    "otid": "a message that is shown on its own has one in ours",
    "parameters": "each tool has its own",
    "description": "texts of ours",
    "cache_write_tokens": "ours counts always",
    "metadata": "an agent's may be null",
    "enable_sleeptime": "the recorded list begins with an agent that another one had made",
}
REPLIES: dict[str, ModelReply] = {
    "msg_tool_memory_stream": ModelReply(
        parts=(
            TextPart(text="Calling the tool."),
            ToolCallPart(
                call_id="call_1",
                name="memory_replace",
                arguments='{"label": "human", "old_string": "likes tea", "new_string": "likes mate"}',
            ),
        ),
        finish="tool_calls",
        usage=Usage(input_tokens=5, output_tokens=5),
    ),
    "msg_tool_memory": ModelReply(
        parts=(
            ToolCallPart(
                call_id="call_0", name="memory_insert", arguments='{"label": "human", "new_string": "likes tea"}'
            ),
        ),
        finish="tool_calls",
        usage=Usage(input_tokens=5, output_tokens=5),
    ),
    "msg_override_model": ModelReply(
        parts=(ReasoningPart(text="Hm.", signature="c2ln"), TextPart(text="ov")),
        finish="stop",
        usage=Usage(input_tokens=5, output_tokens=5, reasoning_tokens=1),
    ),
}


@cache
def _answers() -> dict[str, tuple[dict[str, Any], Reply]]:
    """Every recorded request with our answer, all made once against one node."""
    facts = json.loads((FACTS / "recorded.json").read_text())

    async def replay() -> dict[str, tuple[dict[str, Any], Reply]]:
        async with visit() as visitor:
            ids = {THEIR_BLOCK: await _their_block(visitor)}
            answers: dict[str, tuple[dict[str, Any], Reply]] = {}
            for fact in facts:
                if fact["name"] in REPLIES:
                    visitor.models.script.append(REPLIES[fact["name"]])
                reply = await visitor.call(fact["method"], _ours(fact["path"], ids), fact["json"], query=fact["params"])
                answers[fact["name"]] = (fact, reply)
                if fact["name"] == "agent_create_letta_v1_agent":
                    ids[THEIR_AGENT] = reply.json["id"]
                if fact["name"] == "msg_async":
                    ids["run-865da2ed-8727-4722-aa91-6979c465000b"] = reply.json["id"]
                    await _ended(visitor, reply.json["id"])
            return answers

    return asyncio.run(replay())


async def _their_block(visitor: Visitor) -> str:
    made = await visitor.ok("POST", "/v1/blocks/", {"label": "probe", "value": "hello", "tags": ["t1"]})
    return made["id"]


async def _ended(visitor: Visitor, run_id: str) -> None:
    for _ in range(500):
        if (await visitor.ok("GET", f"/v1/runs/{run_id}"))["status"] == "completed":
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the run does not end")


def _ours(path: str, ids: dict[str, str]) -> str:
    for theirs, ours in ids.items():
        path = path.replace(theirs, ours)
    return path


NAMES = [fact["name"] for fact in json.loads((FACTS / "recorded.json").read_text())]


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_has_the_recorded_status_and_shape(name: str) -> None:
    fact, reply = _answers()[name]
    assert reply.status == fact["status"], reply.body
    assert reply.headers[b"content-type"].decode() == fact["content_type"]
    if name == "cancel_none":
        return  # its keys are run ids
    streamed = fact["content_type"].startswith("text/event-stream")
    ours = shape(stream_events(reply.body.decode()) if streamed else reply.json)
    if name == "msg_tool_memory_stream":
        ours = ours[: len(fact["shape"])]  # the recording is cut off behind the pieces of the call
    assert list(_differences(name, fact["shape"], ours, name)) == []


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_answer_fits_the_retired_servers_own_schema(name: str) -> None:
    wanted = SCHEMAS[name]
    reference = {"$ref": f"#/components/schemas/{wanted[0] if isinstance(wanted, list) else wanted}"}
    schema = {"type": "array", "items": reference} if isinstance(wanted, list) else reference
    components = {"schemas": SURFACE["schemas"]}
    jsonschema.Draft202012Validator({**schema, "components": components}).validate(_answers()[name][1].json)


@pytest.mark.parametrize("name", ["msg_stream_steps", "msg_stream_tokens", "msg_stream_bg", "msg_tool_memory_stream"])
def test_every_event_of_a_stream_fits_its_schema(name: str) -> None:
    kinds = {"ping": "LettaPing", "stop_reason": "LettaStopReason", "usage_statistics": "LettaUsageStatistics"}
    components = {"schemas": SURFACE["schemas"]}
    for event in _answers()[name][1].events:
        kind = kinds.get(event["message_type"], "LettaMessageUnion")
        schema = {"$ref": f"#/components/schemas/{kind}", "components": components}
        jsonschema.Draft202012Validator(schema).validate(event)


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("blk_404", "Block with id 'block-00000000-0000-4000-8000-000000000000' not found"),
        ("agent_nomodel", "INVALID_ARGUMENT: Must specify either model or llm_config in request"),
        ("msg_empty", "Messages must not be empty"),
    ],
)
def test_sentences_that_clients_match_on_are_kept(name: str, detail: str) -> None:
    assert _answers()[name][1].json == {"detail": detail}


def _differences(name: str, theirs: Any, ours: Any, place: str) -> Any:
    """Where the shapes differ, other than is meant."""
    key = place.rpartition(".")[2].partition("[")[0]
    if key in OTHER:
        return
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for missing in theirs.keys() - ours.keys():
            yield f"{place}.{missing}: missing"
        for extra in ours.keys() - theirs.keys():
            if (name, extra) not in MORE:
                yield f"{place}.{extra}: not in theirs"
        for field in theirs.keys() & ours.keys():
            yield from _differences(name, theirs[field], ours[field], f"{place}.{field}")
    elif isinstance(theirs, list) and isinstance(ours, list):
        for at, item in enumerate(ours):
            choices = [list(_differences(name, one, item, f"{place}[{at}]")) for one in theirs]
            if choices and [] not in choices:
                yield from min(choices, key=len)
    elif theirs != ours:
        yield f"{place}: {ours} where theirs is {theirs}"
