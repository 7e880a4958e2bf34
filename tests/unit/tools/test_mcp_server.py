"""The MCP server: byte by byte for both eras, every kind of bad message, and by the official client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp.shared.memory import create_client_server_memory_streams
from mcp.shared.message import SessionMessage
from mcp_types.jsonrpc import jsonrpc_message_adapter

from kelpie.errors import InvalidInput, StoreDown
from kelpie.limits import MCP_BATCH_MAX
from kelpie.tools.function import serve_function
from kelpie.tools.mcp_server import HANDSHAKE_REVISIONS, McpServer
from kelpie.tools.tool import ToolOutcome

MODERN = {
    "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
}
SERVER_INFO = {"io.modelcontextprotocol/serverInfo": {"name": "notes", "version": "1"}}


async def read_note(notes: dict[str, str], /, name: str) -> ToolOutcome:
    """Read a note.

    Args:
    name: Which.
    """
    return ToolOutcome(text=notes.get(name, "there is none"), ok=name in notes)


async def write_note(notes: dict[str, str], /, name: str, text: str) -> ToolOutcome:
    """Write a note.

    Args:
    name: Which.
    text: What.
    """
    notes[name] = text
    return ToolOutcome(text="x" * 60_000)


async def lose_notes(notes: dict[str, str], /) -> ToolOutcome:
    """Lose everything."""
    raise StoreDown("the store is away")


def _server(page_tools: int = 100) -> McpServer[dict[str, str]]:
    return McpServer(
        name="notes",
        version="1",
        instructions="Notes.",
        page_tools=page_tools,
        tools=(
            serve_function(read_note, dict, kind="core", title="Read", read_only=True, idempotent=True),
            serve_function(write_note, dict, kind="core", title="Write", destructive=True),
            serve_function(lose_notes, dict, kind="core", title="Lose"),
        ),
    )


def _ask(run, method: str, params: object = None, notes: dict[str, str] | None = None, page_tools: int = 100):
    message = {"jsonrpc": "2.0", "id": 7, "method": method, **({} if params is None else {"params": params})}
    reply = run(_server(page_tools).handle(msgspec.json.encode(message), {} if notes is None else notes))
    decoded = msgspec.json.decode(reply)
    assert (decoded.pop("jsonrpc"), decoded.pop("id")) == ("2.0", 7)
    return decoded


def _error(code: int, message: str, **data: object) -> dict[str, object]:
    return {"error": {"code": code, "message": message, **data}}


@pytest.mark.parametrize("revision", [*HANDSHAKE_REVISIONS, "1999-01-01", "2026-07-28"])
def test_handshake_agrees_on_a_revision(run, revision):
    """The client's if it has a handshake and we know it, else our newest that has one."""
    reply = _ask(run, "initialize", {"protocolVersion": revision, "capabilities": {}, "clientInfo": {"name": "c"}})
    assert reply == {
        "result": {
            "protocolVersion": revision if revision in HANDSHAKE_REVISIONS else HANDSHAKE_REVISIONS[-1],
            "capabilities": {"tools": {"listChanged": False}},
            "serverInfo": {"name": "notes", "version": "1"},
            "instructions": "Notes.",
        }
    }


def test_discover_is_for_the_stateless_era_and_ping_for_the_other(run):
    """Each is unknown in the other era."""
    assert _ask(run, "server/discover", MODERN) == {
        "result": {
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {"listChanged": False}},
            "instructions": "Notes.",
            "resultType": "complete",
            "ttlMs": 0,
            "cacheScope": "private",
            "_meta": SERVER_INFO,
        }
    }
    assert _ask(run, "ping") == {"result": {}}
    assert _ask(run, "ping", {"_meta": {"progressToken": 1}}) == {"result": {}}
    assert _ask(run, "ping", MODERN) == _error(-32601, "there is no method 'ping' here")
    assert _ask(run, "server/discover") == _error(-32601, "there is no method 'server/discover' here")
    assert _ask(run, "tools/remove") == _error(-32601, "there is no method 'tools/remove' here")


READ_NOTE = {
    "name": "read_note",
    "title": "Read",
    "description": "Read a note.",
    "inputSchema": {
        "type": "object",
        "properties": {"name": {"type": "string", "description": "Which."}},
        "required": ["name"],
    },
    "annotations": {
        "title": "Read",
        "readOnlyHint": True,
        "destructiveHint": False,
        "idempotentHint": True,
        "openWorldHint": False,
    },
}


def test_list_pages_by_cursor(run):
    """Every tool once, in order; a cursor that we did not give is refused."""
    first = _ask(run, "tools/list", page_tools=1)
    assert first == {"result": {"tools": [READ_NOTE], "nextCursor": "write_note"}}
    second = _ask(run, "tools/list", {"cursor": "write_note"}, page_tools=2)["result"]
    assert [tool["name"] for tool in second["tools"]] == ["write_note", "lose_notes"]
    assert "nextCursor" not in second
    modern = _ask(run, "tools/list", MODERN)["result"]
    assert (modern["resultType"], modern["ttlMs"], modern["cacheScope"]) == ("complete", 0, "private")
    assert modern["_meta"] == SERVER_INFO
    wrong = _ask(run, "tools/list", {"cursor": "gone"})
    assert wrong == _error(-32602, "the cursor is none that this server gave")


def test_call_answers_with_text_or_an_error_the_model_can_read(run):
    """A tool's failure and bad arguments are results; an unknown tool and a broken context are errors."""
    notes = {"a": "tea"}
    found = _ask(run, "tools/call", {"name": "read_note", "arguments": {"name": "a"}}, notes)
    assert found == {"result": {"content": [{"type": "text", "text": "tea"}], "isError": False}}
    modern = _ask(run, "tools/call", {"name": "read_note", "arguments": {"name": "b"}, **MODERN}, notes)
    assert modern == {
        "result": {
            "content": [{"type": "text", "text": "there is none"}],
            "isError": True,
            "resultType": "complete",
            "_meta": SERVER_INFO,
        }
    }
    wrong = _ask(run, "tools/call", {"name": "read_note"}, notes)["result"]
    text = "read_note was not called: the arguments object lacks the required 'name'."
    assert wrong == {"content": [{"type": "text", "text": text}], "isError": True}
    assert _ask(run, "tools/call", {"name": "gone"}) == _error(-32602, "there is no tool 'gone' here")
    lost = _ask(run, "tools/call", {"name": "lose_notes"})
    assert lost == _error(-32603, "the store is away", data={"code": "store_down"})


def test_unknown_or_incomplete_revision_is_refused(run):
    """As the revision of 2026-07-28 wants it."""
    future = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2030-01-01"}}
    assert _ask(run, "tools/list", future) == _error(
        -32022,
        "revision '2030-01-01' is not spoken here",
        data={"supported": ["2026-07-28"], "requested": "2030-01-01"},
    )
    bare = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
    text = "_meta lacks io.modelcontextprotocol/clientCapabilities"
    assert _ask(run, "tools/list", bare) == _error(-32602, text)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b"[", -32700),
        (b"[]", -32600),
        (b"[" + b"{}," * MCP_BATCH_MAX + b"{}]", -32600),
        (b"5", -32600),
        (b"{}", -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', -32600),
    ],
)
def test_what_is_no_request_is_answered_with_its_error(run, message, code):
    """Without an id, since none can be trusted."""
    reply = msgspec.json.decode(run(_server().handle(message, {})))
    assert (reply["id"], reply["error"]["code"]) == (None, code)


def test_bad_params_are_refused(run):
    """Of every method."""
    for method in ("initialize", "tools/list", "tools/call", "ping"):
        assert _ask(run, method, [1])["error"]["code"] == -32602
    assert _ask(run, "tools/call", {})["error"]["code"] == -32602


def test_notifications_are_not_answered(run):
    """Known ones or not."""
    for method in ("notifications/initialized", "notifications/cancelled", "tools/list"):
        assert run(_server().handle(msgspec.json.encode({"jsonrpc": "2.0", "method": method}), {})) is None


def test_batch_is_answered_with_a_batch(run):
    """As 2025-03-26 allows; what wants no answer has none."""
    ping = '{"jsonrpc":"2.0","id":"%s","method":"ping"}'
    note = '{"jsonrpc":"2.0","method":"notifications/initialized"}'
    reply = run(_server().handle(f"[{ping % 'a'},{note},{ping % 'b'}]".encode(), {}))
    assert msgspec.json.decode(reply) == [{"jsonrpc": "2.0", "id": id_, "result": {}} for id_ in "ab"]
    assert run(_server().handle(f"[{note}]".encode(), {})) is None


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_garbage_never_breaks_the_server(message):
    """Any bytes have an answer or need none."""
    reply = asyncio.run(_server().handle(message, {}))
    assert reply is None or msgspec.json.decode(reply)


def test_callers_in_the_process_get_the_same_checks(run):
    """No JSON-RPC around it; long texts are clipped visibly."""
    notes: dict[str, str] = {}
    refused = run(_server().call_tool("write_note", '{"name":5}', notes))
    assert not refused.ok and notes == {}
    long = run(_server().call_tool("write_note", '{"name":"a","text":"b"}', notes))
    assert (long.chars_total, notes) == (60_000, {"a": "b"})
    with pytest.raises(InvalidInput):
        run(_server().call_tool("gone", "{}", notes))
    with pytest.raises(StoreDown):
        run(_server().call_tool("lose_notes", "{}", notes))


@asynccontextmanager
async def connected(server: McpServer, context: object) -> AsyncIterator:
    """The official SDK's client streams, carried to our server in memory as bytes."""

    async def serve(read, write) -> None:
        async for item in read:
            reply = await server.handle(
                item.message.model_dump_json(by_alias=True, exclude_unset=True).encode(), context
            )
            if reply is not None:
                await write.send(SessionMessage(jsonrpc_message_adapter.validate_json(reply)))

    async with create_client_server_memory_streams() as (client_streams, server_streams):
        serving = asyncio.create_task(serve(*server_streams))
        yield client_streams
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


@pytest.mark.parametrize("mode", ["legacy", "auto", "2026-07-28"])
def test_official_client_lists_and_calls(run, mode):
    """By handshake, by discovery, and pinned to the newest revision; two tools a page."""

    async def check() -> None:
        notes: dict[str, str] = {}
        async with Client(connected(_server(page_tools=2), notes), mode=mode) as client:
            first = await client.list_tools()
            second = await client.list_tools(cursor=first.next_cursor)
            names = [tool.name for tool in (*first.tools, *second.tools)]
            assert (names, second.next_cursor) == (["read_note", "write_note", "lose_notes"], None)
            assert first.tools[0].annotations.read_only_hint is True
            written = await client.call_tool("write_note", {"name": "a", "text": "tea"})
            assert not written.is_error and notes == {"a": "tea"}
            read = await client.call_tool("read_note", {"name": "a"})
            assert [block.text for block in read.content] == ["tea"]
            assert (await client.call_tool("read_note", {"name": 5})).is_error
            with pytest.raises(MCPError) as refused:
                await client.call_tool("gone", {})
            assert refused.value.error.code == -32602

    run(check())
