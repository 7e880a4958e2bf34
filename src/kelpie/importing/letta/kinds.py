"""What rows become that stand on their own: tools, blocks, tool servers, providers."""

import re
from typing import Any

import msgspec

from kelpie.api.letta.agent_file.reading import STORED_TYPES, read_tool
from kelpie.api.letta.agent_file.rows import read_time
from kelpie.api.letta.provider_kinds import PROVIDER_TYPES, read_address
from kelpie.errors import InvalidInput
from kelpie.ids import BlockId, McpServerId, ToolId
from kelpie.importing.journal import digest
from kelpie.importing.letta.ground import Ground, checked_id, raw_object
from kelpie.importing.move import DONE, Also, Carried, Outcome, Present, Row, Staying
from kelpie.limits import BLOCK_CHARS_MAX
from kelpie.llm.provider import ProviderSettings
from kelpie.llm.stored_providers import PROVIDERS, ProviderFields, ProviderRecord
from kelpie.memory.block_history import put_version
from kelpie.memory.blocks import BLOCKS, Block, check_block, put_new
from kelpie.storage.records import Batch, Ref
from kelpie.tools.mcp_servers import SERVERS, Clear, McpServer
from kelpie.tools.tool import Remote
from kelpie.tools.toolbox import TOOLS


class Tools:
    """Tools that people made keep their ids; built-in ones are found by their names."""

    name, table = "tools", "tools"

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def carry(self, row: Row, batch: Batch, also: Also) -> Outcome:
        """A stored tool."""
        catalog, name = self._ground.house.tools, str(row["name"])
        found = (await catalog.named([name])).get(name)
        if row["tool_type"] not in STORED_TYPES:
            if found is None:
                return Staying(reason=f"this server has no built-in tool '{name}'")
            return Present()
        if found is not None:
            if found.id == row["id"]:
                return Present()
            return Staying(reason="a tool of that name is here already; agents get that one")
        tool = read_tool(row, ToolId(checked_id("tool", row)), read_time(row["created_at"]))
        tool = msgspec.structs.replace(tool, updated_at_us=read_time(row["updated_at"]), remote=await self._remote(row))
        catalog.check(tool)
        catalog.stored.put_new(batch, tool)
        also(batch, Carried(sum=digest(TOOLS.at(tool.id), tool)))
        return DONE

    async def stored(self, id: str) -> int:
        """The tool as it is stored."""
        return await sum_of(self._ground, TOOLS.at(id))

    async def _remote(self, row: Row) -> Remote | None:
        """Where a tool of another server is."""
        about: Any = (row.get("metadata_") or {}).get("mcp")
        if row["tool_type"] != "external_mcp" or not isinstance(about, dict):
            return None
        server_id = about.get("server_id")
        if server_id is None:
            rows = await self._ground.source.rows(
                "mcp_server", limit=1, where={"server_name": str(about.get("server_name"))}
            )
            server_id = rows[0]["id"] if rows else None
        return None if server_id is None else Remote(server_id=McpServerId(server_id), name=str(row["name"]))


class Blocks:
    """Blocks keep their ids."""

    name, table = "blocks", "block"

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def carry(self, row: Row, batch: Batch, also: Also) -> Outcome:
        """A block, with the limit that it had, as far as one may be here."""
        block_id = BlockId(checked_id("block", row))
        if await self._ground.house.records.get(BLOCKS.at(block_id)) is not None:
            return Present()
        block = Block(
            id=block_id,
            label=row["label"],
            value=row["value"],
            limit_chars=min(max(row["limit"], 1), BLOCK_CHARS_MAX),
            read_only=bool(row.get("read_only")),
            description=row.get("description"),
            metadata=raw_object(row.get("metadata_")),
            name=row.get("template_name"),
            is_template=bool(row.get("is_template")),
            hidden=row.get("hidden"),
            created_at_us=read_time(row["created_at"]),
            updated_at_us=read_time(row["updated_at"]),
        )
        check_block(block)
        versions = await self._ground.links("block_history", "sequence_number", block_id=block_id)
        before = [one for one in versions if one["value"] != block.value]
        block = msgspec.structs.replace(block, revision=len(before))
        put_new(batch, block)
        for revision, one in enumerate(before):
            by = one.get("actor_id") if one.get("actor_type") == "letta_agent" else None
            put_version(batch, block_id, revision, one["value"], read_time(one["created_at"]), by)
        lower = (f"a limit over {BLOCK_CHARS_MAX} characters became that",) if row["limit"] > BLOCK_CHARS_MAX else ()
        parts = {"earlier values of blocks": len(before)} if before else {}
        also(batch, Carried(sum=digest(BLOCKS.at(block_id), block), parts=parts, without=lower))
        return DONE

    async def stored(self, id: str) -> int:
        """The block as it is stored."""
        return await sum_of(self._ground, BLOCKS.at(id))


class ToolServers:
    """Tool servers keep their ids; their tokens and headers are sealed anew."""

    name, table = "tool servers", "mcp_server"

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    async def carry(self, row: Row, batch: Batch, also: Also) -> Outcome:
        """A tool server. Whether it may be reached from here is asked when it is used."""
        servers, server_id = self._ground.house.servers, McpServerId(checked_id("mcp_server", row))
        if await self._ground.house.records.get(SERVERS.at(server_id)) is not None:
            return Present()
        if await servers.servers.find_named(row["server_name"]) is not None:
            return Staying(reason="a tool server of that name is here already")
        server = McpServer(
            id=server_id,
            name=row["server_name"],
            place=servers.seal(server_id, self._clear(row)),
            created_at_us=read_time(row["created_at"]),
            updated_at_us=read_time(row["updated_at"]),
        )
        servers.servers.put_new(batch, server)
        also(batch, Carried(sum=digest(SERVERS.at(server_id), server)))
        return DONE

    async def stored(self, id: str) -> int:
        """The server as it is stored."""
        return await sum_of(self._ground, SERVERS.at(id))

    def _clear(self, row: Row) -> Clear:
        config = row.get("stdio_config")
        if config:
            env = tuple((config.get("env") or {}).items())
            return Clear(command=config["command"], args=tuple(config.get("args") or ()), env=env or None)
        token, headers = self._ground.secrets.read(row, "token"), self._ground.secrets.read(row, "custom_headers")
        pairs = msgspec.json.decode(headers, type=dict[str, str]) if isinstance(headers, str) else headers
        return Clear(
            url=row["server_url"],
            sse=row["server_type"] == "sse",
            auth_header="Authorization" if token else None,
            token=token,
            headers=tuple(pairs.items()) if pairs else None,
        )


class Providers:
    """Providers that people added keep their ids; their keys are sealed anew."""

    name, table = "providers", "providers"

    def __init__(self, ground: Ground, *, dry: bool) -> None:
        self._ground = ground
        self._dry = dry

    async def carry(self, row: Row, batch: Batch, also: Also) -> Outcome:
        """A provider. Those of the old server's own settings are set by this one's."""
        house, id = self._ground.house, checked_id("provider", row)
        if row.get("provider_category") != "byok":
            return Staying(reason="it came from the old server's settings; set the same variables here")
        if await house.records.get(PROVIDERS.at(id)) is not None:
            return Present()
        if row["provider_type"] not in PROVIDER_TYPES:
            raise InvalidInput(f"providers of type {row['provider_type']} are not known")
        access_key = self._ground.secrets.read(row, "access_key")
        wire, base_url = read_address(row["provider_type"], row.get("base_url"), access_key)
        fields = ProviderFields(
            brand=row["provider_type"],
            wire=wire,
            base_url=base_url,
            api_key=self._ground.secrets.read(row, "api_key") or "",
            access_key=access_key,
            region=row.get("region"),
            api_version=row.get("api_version"),
        )
        ProviderSettings(name=row["name"], kind=wire, base_url=base_url, api_key=fields.api_key)

        def journal(batch: Batch, record: ProviderRecord) -> None:
            also(batch, Carried(sum=digest(PROVIDERS.at(id), record)))

        if self._dry:
            also(batch, Carried(sum=0))
            return DONE
        await house.providers.create(re.sub("/", "-", row["name"]), fields, reserved=(), id=id, also=journal)
        return DONE

    async def stored(self, id: str) -> int:
        """The provider as it is stored."""
        return await sum_of(self._ground, PROVIDERS.at(id))


async def sum_of(ground: Ground, *refs: Ref[Any]) -> int:
    """The digests of what is stored at these places, added up."""
    total = 0
    for ref in refs:
        found = await ground.house.records.get(ref)
        if found is not None:
            total += digest(ref, found.value)
    return total
