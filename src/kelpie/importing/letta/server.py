"""A retired server that still runs, asked by its own API, as the tables that its database would have.

What the API does not say is not there: when tools and blocks were made, and messages that it hides. A message comes in
pieces (thoughts, words, calls), which are put together again; its date has seconds, so those of one second follow each
other (`agents.Teller`).
"""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import msgspec

from kelpie.errors import InvalidInput, ServerUnreachable
from kelpie.importing.move import Row
from kelpie.limits import IMPORT_CONNECT_SECONDS_MAX, IMPORT_REQUEST_SECONDS_MAX

NOT_TOLD = (
    "The API of the old server does not tell earlier values of blocks, when tools, blocks and steps were made, messages"
    " that it hides from lists, when groups were made, and which files are open."
)
UNDATED = "2024-01-01T00:00:00+00:00"  # what is given those whose date the API does not say
PAGE_ROWS = 100


class Server:
    """A `Source`. Lists are read whole when they are first asked for; messages agent by agent."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http
        self._held: dict[str, list[Row]] = {}

    async def tables(self) -> dict[str, int]:
        """Every table that is asked for, with the number of its rows; messages are counted when they are read."""
        return {table: len(await self._table(table)) for table in _TABLES}

    async def rows(
        self, table: str, *, by: str = "id", after: Any = None, limit: int, where: dict[str, Any] | None = None
    ) -> list[Row]:
        """Rows in the order of that column."""
        if table == "messages":
            held = await self._messages_where(where or {})
        else:
            held = await self._table(table)
        wanted = [
            row
            for row in held
            if all(row.get(name) == value for name, value in (where or {}).items())
            and (after is None or row[by] > after)
        ]
        return sorted(wanted, key=lambda row: row[by])[:limit]

    async def close(self) -> None:
        """Ask no more."""
        await self._http.aclose()

    async def _table(self, table: str) -> list[Row]:
        if table not in _TABLES:
            return []
        if table not in self._held:
            self._held[table] = [row async for row in _TABLES[table](self)]
        return self._held[table]

    async def _messages_where(self, where: dict[str, Any]) -> list[Row]:
        """The messages of one agent or conversation, or one that was seen before."""
        if "agent_id" in where:
            return await self._default_thread(where["agent_id"])
        return [row for name, rows in self._held.items() if name.startswith("/v1/") for row in rows]

    async def _default_thread(self, agent_id: str) -> list[Row]:
        """The agent's messages that are in its window or in no conversation; the API lists all of them together."""
        path = f"/v1/agents/{agent_id}/messages"
        if path not in self._held:
            elsewhere = {link["message_id"] for link in await self._table("conversation_messages")}
            shown = {id for row in await self._table("agents") if row["id"] == agent_id for id in row["message_ids"]}
            every = await self._history(path, agent_id, None)
            self._held[path] = [row for row in every if row["id"] in shown or row["id"] not in elsewhere]
        return self._held[path]

    async def _history(self, path: str, agent_id: str, conversation_id: str | None) -> list[Row]:
        if path not in self._held:
            pieces = [piece async for piece in self.listed(path, order="asc")]
            self._held[path] = joined(pieces, agent_id, conversation_id)
        return self._held[path]

    async def listed(self, path: str, **query: Any) -> AsyncIterator[Row]:
        """All of a list, page by page."""
        after: str | None = None
        while True:
            asked = {**query, "limit": PAGE_ROWS, **({} if after is None else {"after": after})}
            page = await self.ask(path, **asked)
            for row in page:
                yield row
            last = page[-1]["id"] if page else None
            if len(page) < PAGE_ROWS or last == after:
                return
            after = last

    async def ask(self, path: str, **query: Any) -> Any:
        """What a GET answers; nothing where the release has no such thing. Raises ServerUnreachable, InvalidInput."""
        try:
            answer = await self._http.get(path, params=query)
        except httpx2.HTTPError as error:
            raise ServerUnreachable(f"{path}: {error}") from None
        if answer.status_code in (404, 405):
            return []
        if answer.status_code >= 400:
            raise InvalidInput(f"{path}: the server answers {answer.status_code} {answer.text[:200]}", field="from")
        return msgspec.json.decode(answer.content)


async def open_server(url: str, key: str | None) -> Server:
    """Connect. Raises ServerUnreachable, InvalidInput: it is another server."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    timeout = httpx2.Timeout(IMPORT_REQUEST_SECONDS_MAX, connect=IMPORT_CONNECT_SECONDS_MAX)
    http = httpx2.AsyncClient(base_url=url, headers=headers, timeout=timeout, follow_redirects=True)
    server = Server(http)
    try:
        health = await server.ask("/v1/health/")
        if not isinstance(health, dict) or "version" not in health:
            raise InvalidInput(f"{url} is not such a server", field="from")
    except (InvalidInput, ServerUnreachable):
        await server.close()
        raise
    return server


def joined(pieces: list[Row], agent_id: str, conversation_id: str | None) -> list[Row]:
    """Messages as the database has them, of the pieces in which the API shows them."""
    rows: dict[str, Row] = {}
    for piece in pieces:
        row = rows.setdefault(
            piece["id"],
            {
                "id": piece["id"],
                "agent_id": agent_id,
                "conversation_id": conversation_id,
                "sequence_id": len(rows),
                "content": [],
                "tool_calls": [],
                "tool_returns": [],
                "created_at": piece["date"],
                "run_id": piece.get("run_id"),
                "step_id": piece.get("step_id"),
                "name": piece.get("name"),
                "sender_id": piece.get("sender_id"),
                "otid": None,
            },
        )
        _add_piece(row, piece)
    return list(rows.values())


def _add_piece(row: Row, piece: Row) -> None:
    match piece["message_type"]:
        case "system_message":
            row.update(role="system", content=piece["content"], otid=piece.get("otid"))
        case "user_message":
            row.update(role="user", content=piece["content"], otid=piece.get("otid"))
        case "summary_message":
            row.update(role="summary", content=piece["summary"])
        case "event_message":
            row.update(role="summary", content=msgspec.json.encode(piece.get("event_data")).decode())
        case "reasoning_message":
            row["role"] = "assistant"
            thought = {"type": "reasoning", "reasoning": piece["reasoning"], "signature": piece.get("signature")}
            row["content"].append(thought)
        case "hidden_reasoning_message":
            row["role"] = "assistant"
            row["content"].append({"type": "redacted_reasoning", "data": piece.get("hidden_reasoning") or ""})
        case "assistant_message":
            row["role"] = "assistant"
            said = piece["content"]
            row["content"] += [{"type": "text", "text": said}] if isinstance(said, str) else said
        case "tool_call_message" | "approval_request_message":
            row["role"] = "approval" if piece["message_type"].startswith("approval") else "assistant"
            row["tool_calls"] = [
                {"id": call["tool_call_id"], "function": {"name": call["name"], "arguments": call["arguments"]}}
                for call in piece.get("tool_calls") or [piece["tool_call"]]
            ]
        case "approval_response_message":
            answers = [_with_response(one) if "tool_return" in one else one for one in piece.get("approvals") or ()]
            whole = {"approve": piece.get("approve"), "approval_request_id": piece.get("approval_request_id")}
            row.update(role="approval", approvals=answers, denial_reason=piece.get("reason"), **whole)
        case "tool_return_message":
            row.update(role="tool")
            row["tool_returns"] = [_with_response(one) for one in piece.get("tool_returns") or [piece]]
        case kind:
            raise InvalidInput(f"messages of type '{kind}' are not known")


def _with_response(told: Row) -> Row:
    return {**told, "func_response": told["tool_return"]}


async def _dated(server: Server, path: str) -> AsyncIterator[Row]:
    async for row in server.listed(path):
        yield {"created_at": UNDATED, "updated_at": UNDATED, **row}


def _whole(path: str) -> Callable[[Server], AsyncIterator[Row]]:
    return lambda server: _dated(server, path)


async def _agents(server: Server) -> AsyncIterator[Row]:
    async for row in server.listed("/v1/agents/"):
        yield {**row, "metadata_": row.get("metadata")}


async def _blocks(server: Server) -> AsyncIterator[Row]:
    async for row in _dated(server, "/v1/blocks/"):
        yield {**row, "metadata_": row.get("metadata")}


def _linked(field: str, make: Callable[[Row, Any], Row]) -> Callable[[Server], AsyncIterator[Row]]:
    """A table of links that an agent's own lists say."""

    async def read(server: Server) -> AsyncIterator[Row]:
        for agent in await server._table("agents"):
            for one in agent.get(field) or ():
                yield {"agent_id": agent["id"], **make(agent, one)}

    return read


async def _secrets(server: Server) -> AsyncIterator[Row]:
    for agent in await server._table("agents"):
        for one in agent.get("secrets") or agent.get("tool_exec_environment_variables") or ():
            yield {"id": one["id"], "agent_id": agent["id"], "key": one["key"], "value": one.get("value")}


async def _archive_agents(server: Server) -> AsyncIterator[Row]:
    for archive in await server._table("archives"):
        async for agent in server.listed(f"/v1/archives/{archive['id']}/agents"):
            yield {"archive_id": archive["id"], "agent_id": agent["id"], "created_at": archive["created_at"]}


async def _passages(server: Server) -> AsyncIterator[Row]:
    """Passages are listed by an agent that has them; of an archive that none has, the API says none."""
    seen: set[str] = set()
    for link in await server._table("archives_agents"):
        async for row in server.listed(f"/v1/agents/{link['agent_id']}/archival-memory"):
            if row["id"] not in seen:
                seen.add(row["id"])
                yield {**row, "metadata_": row.get("metadata")}


async def _conversations(server: Server) -> AsyncIterator[Row]:
    for agent in await server._table("agents"):
        async for row in server.listed("/v1/conversations/", agent_id=agent["id"]):
            yield row


async def _conversation_messages(server: Server) -> AsyncIterator[Row]:
    for row in await server._table("conversations"):
        shown = set(row.get("in_context_message_ids") or ())
        path = f"/v1/conversations/{row['id']}/messages"
        for at, message in enumerate(await server._history(path, row["agent_id"], row["id"])):
            place = {"conversation_id": row["id"], "message_id": message["id"], "position": at}
            yield {**place, "in_context": message["id"] in shown}


async def _conversation_blocks(server: Server) -> AsyncIterator[Row]:
    labels = {block["id"]: block["label"] for block in await server._table("block")}
    for row in await server._table("conversations"):
        for id in row.get("isolated_block_ids") or ():
            if id in labels:
                yield {"conversation_id": row["id"], "block_id": id, "block_label": labels[id]}


def _listed_of(parent: str, path: str, field: str, **query: Any) -> Callable[[Server], AsyncIterator[Row]]:
    """All of a list that each row of another table has; `field` says to which row it belongs."""

    async def read(server: Server) -> AsyncIterator[Row]:
        for row in await server._table(parent):
            async for one in server.listed(path.format(id=row["id"]), **query):
                dated = {"created_at": row["created_at"], "updated_at": row["created_at"], **one}
                yield {**dated, "metadata_": one.get("metadata"), field: row["id"]}

    return read


async def _file_contents(server: Server) -> AsyncIterator[Row]:
    for file in await server._table("files"):
        yield {"id": file["id"], "file_id": file["id"], "text": file.get("content") or ""}


async def _group_blocks(server: Server) -> AsyncIterator[Row]:
    for group in await server._table("groups"):
        for block_id in group.get("shared_block_ids") or ():
            yield {"group_id": group["id"], "block_id": block_id}


async def _sandbox_variables(server: Server) -> AsyncIterator[Row]:
    for config in await server._table("sandbox_configs"):
        async for row in server.listed(f"/v1/sandbox-config/{config['id']}/environment-variable"):
            opened = {"value_enc": None} if row.get("value") else {}
            dated = {"created_at": row.get("created_at") or config["created_at"]}
            yield {**row, **opened, **dated, "sandbox_config_id": config["id"]}


async def _identity_blocks(server: Server) -> AsyncIterator[Row]:
    for identity in await server._table("identities"):
        for block_id in identity.get("block_ids") or ():
            yield {"identity_id": identity["id"], "block_id": block_id}


async def _tool_servers(server: Server) -> AsyncIterator[Row]:
    for row in await server.ask("/v1/mcp-servers/"):
        config = {"command": row.get("command"), "args": row.get("args"), "env": row.get("env")}
        yield {
            **row,
            "server_type": row.get("mcp_server_type"),
            "stdio_config": config if row.get("command") else None,
            "token": row.get("auth_token"),
            "created_at": UNDATED,
            "updated_at": UNDATED,
        }


_TABLES: dict[str, Callable[[Server], AsyncIterator[Row]]] = {
    "providers": _whole("/v1/providers/"),
    "mcp_server": _tool_servers,
    "tools": _whole("/v1/tools/"),
    "block": _blocks,
    "agents": _agents,
    "agents_tags": _linked("tags", lambda agent, tag: {"tag": tag}),
    "tools_agents": _linked("tools", lambda agent, tool: {"tool_id": tool["id"]}),
    "blocks_agents": _linked("blocks", lambda agent, block: {"block_id": block["id"], "block_label": block["label"]}),
    "identities_agents": _linked("identity_ids", lambda agent, id: {"identity_id": id}),
    "agent_environment_variables": _secrets,
    "conversations": _conversations,
    "conversation_messages": _conversation_messages,
    "blocks_conversations": _conversation_blocks,
    "archives": _whole("/v1/archives/"),
    "archives_agents": _archive_agents,
    "archival_passages": _passages,
    "identities": _whole("/v1/identities/"),
    "identities_blocks": _identity_blocks,
    "groups": _whole("/v1/groups/"),
    "groups_blocks": _group_blocks,
    "sandbox_configs": _whole("/v1/sandbox-config/"),
    "sandbox_environment_variables": _sandbox_variables,
    "sources": _whole("/v1/folders/"),
    "sources_agents": _linked("sources", lambda agent, source: {"source_id": source["id"]}),
    "files": _listed_of("sources", "/v1/folders/{id}/files", "source_id", include_content=True),
    "file_contents": _file_contents,
    "source_passages": _listed_of("sources", "/v1/folders/{id}/passages", "source_id"),
    "runs": _whole("/v1/runs/"),
    "steps": _listed_of("runs", "/v1/runs/{id}/steps", "run_id"),
}
