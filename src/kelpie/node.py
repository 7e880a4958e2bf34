"""One whole node, assembled: the only place that picks real parts and introduces the rooms to each other.

`build_node` puts the house together from any parts of the seams; the simulator calls it with its own, so what it
tests is what runs. `open_real` picks the real parts of a server process and takes them down again.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from kelpie.access.vault import Vault, key_from_file, key_from_text
from kelpie.actor.host import Host
from kelpie.actor.outbox import Outbox
from kelpie.actor.router import Router
from kelpie.actor.tenure import Tenure
from kelpie.agent.agent_tools import agent_tools
from kelpie.agent.archival import Archival
from kelpie.agent.archival_tools import archival_box
from kelpie.agent.by_hand import ToolsByHand
from kelpie.agent.code_tools import code_box
from kelpie.agent.door import AgentDoor
from kelpie.agent.errand_door import ErrandDoor
from kelpie.agent.file_actor import FileKind, FileRooms
from kelpie.agent.file_desk import FileDesk
from kelpie.agent.file_tools import FILE_TOOLS, file_box
from kelpie.agent.group_door import GroupDoor
from kelpie.agent.group_talk import GroupTalk
from kelpie.agent.groups import GROUP_STATES, Groups
from kelpie.agent.kind import AgentKind, ErrandKind
from kelpie.agent.kinds import Kinds
from kelpie.agent.listing import Listing
from kelpie.agent.memory_tools import MEMORY_TOOLS, memory_server
from kelpie.agent.migrations import MIGRATIONS, MigrationErrand, Renew
from kelpie.agent.own_tools import OwnTools
from kelpie.agent.performer import Performer
from kelpie.agent.schedules import SCHEDULES, ScheduleErrand
from kelpie.agent.voice_tools import voice_box
from kelpie.agent.web_tools import web_box
from kelpie.api.app import App
from kelpie.api.letta.house import House, furnish
from kelpie.api.letta.table import route_table
from kelpie.api.letta.template_migration import renew_agent
from kelpie.api.letta.tool_ground import GROUND, picture
from kelpie.api.token_gate import TokenGate
from kelpie.config import Config, is_loopback
from kelpie.errors import Broken, StoreDown
from kelpie.ids import AgentId, NodeId
from kelpie.llm.embedding import Embeddings
from kelpie.llm.line import NoLine, ProviderLine
from kelpie.llm.model import Models
from kelpie.llm.providers import ConfiguredModels
from kelpie.llm.stored_providers import StoredProviders
from kelpie.llm.transport import open_transport
from kelpie.memory.archive import Archives
from kelpie.memory.blocks import Blocks
from kelpie.memory.folders import Folders
from kelpie.memory.indexes import Indexes
from kelpie.memory.passages import Passages
from kelpie.sandbox.closed import ClosedSandbox
from kelpie.sandbox.process import ProcessSandbox
from kelpie.sandbox.sandbox import Sandbox
from kelpie.storage.checked import CheckedStore
from kelpie.storage.records import Records
from kelpie.storage.sqlite import open_sqlite
from kelpie.storage.store import Store
from kelpie.system import system_world
from kelpie.tools.mcp_hub import McpHub
from kelpie.tools.mcp_load import load_nothing, load_sdk
from kelpie.tools.mcp_servers import McpServers, ToolServerPolicy
from kelpie.tools.mcp_wire import Load
from kelpie.tools.public_hosts import HostPolicy
from kelpie.tools.sandboxes import Sandboxes
from kelpie.tools.tool import Toolbox
from kelpie.tools.toolbox import ToolCatalog, stored_tools
from kelpie.tools.web import HttpWeb
from kelpie.world import World

NO_TOOL_SERVERS = ToolServerPolicy()
LOCAL = NodeId("local")  # the only node of a server that owns its store


class Node:
    """A house ready to live: the application for HTTP, the rooms behind it, and the host of its actors."""

    def __init__(self, app: App, house: House, host: Host, hub: McpHub) -> None:
        self.app = app
        self.house = house
        self.host = host
        self._hub = hub

    async def run(self, started: asyncio.Event) -> None:
        """Live until cancelled; `started` is set once agents can be called. Raises Broken; StoreDown."""
        broken: Broken | StoreDown | None = None  # raised outside of the group, which would wrap it
        async with asyncio.TaskGroup() as group:
            connections = group.create_task(self._hub.run(), name="node.tool servers")
            try:
                await self.host.run(started)
            except (Broken, StoreDown) as error:
                broken = error
            connections.cancel()
        if broken is not None:
            raise broken

    async def drain(self, drain_ms_max: int) -> bool:
        """Begin no more turns and wait for the running ones; whether all of them ended in time.

        What did not end is committed as far as it went; whoever opens the store next resumes it.
        """
        self.app.drain()
        return await self.host.drain(drain_ms_max)


def build_node(
    world: World,
    store: Store,
    models: Models,
    toolboxes: Sequence[Toolbox],
    node_id: NodeId,
    *,
    vault: Vault,
    embeddings: Embeddings,
    sandbox: Sandbox,
    line: ProviderLine | None = None,
    policy: ToolServerPolicy = NO_TOOL_SERVERS,
    load_mcp: Load = load_nothing,
) -> Node:
    """The house over these parts, which stay the caller's to close. Nothing runs before `Node.run`."""
    records = Records(CheckedStore(store))
    outbox = Outbox(records)
    hub = McpHub(load_mcp)
    servers = McpServers(records, world, vault, hub, policy)
    passages = Passages(records, world, Indexes())
    archives = Archives(records, world, passages, embeddings)
    archival = Archival(records, archives, embeddings)
    folders = Folders(records, world)
    files = FileDesk(records, world, folders, FILE_TOOLS)
    file_tools = file_box(files, records, passages, embeddings, sandbox)
    groups = Groups(records, world)
    own: tuple[Toolbox, ...] = (archival_box(archival), voice_box(records, world.wall, archival, groups), file_tools)
    catalog = ToolCatalog((*own, *toolboxes), MEMORY_TOOLS, stored_tools(records, world.entropy), {"mcp": servers})
    blocks = Blocks(records, world)
    sandboxes = Sandboxes(records, world, vault)

    async def show(agent_id: AgentId) -> bytes:
        return await picture(house, agent_id)  # furnished below; tools run later

    own_tools = OwnTools(records, vault, blocks, sandbox, sandboxes, show, GROUND)
    catalog.add_runner("custom", own_tools)
    catalog.add_box(code_box(records, catalog, own_tools))
    performer = Performer(world, records, outbox, models, catalog, memory_server(), files)
    rooms = _file_rooms(world, records, folders, passages, embeddings, sandbox)
    errands = _errand_kinds(world, records, groups, lambda: door, lambda *which: renew_agent(house, *which))
    host = Host(world, records, Kinds({"file": FileKind(rooms), **errands}, AgentKind(performer)), node_id)
    router = Router(host)
    door = AgentDoor(world, records, router, outbox)
    catalog.add_box(agent_tools(door, Listing(records, blocks), records))
    house = furnish(
        world=world,
        records=records,
        vault=vault,
        blocks=blocks,
        tools=catalog,
        servers=servers,
        own_tools=own_tools,
        hands=ToolsByHand(records, catalog, memory_server(), world),
        sandbox=sandbox,
        sandboxes=sandboxes,
        models=models,
        line=line or NoLine(),
        embeddings=embeddings,
        archives=archives,
        archival=archival,
        passages=passages,
        folders=folders,
        files=files,
        door=door,
        groups=groups,
        group_door=GroupDoor(world, records, router),
        errands=ErrandDoor(router),
        performer=performer,
    )
    return Node(App(route_table(), house, world.entropy, TokenGate(house.tokens)), house, host, hub)


def _errand_kinds(
    world: World, records: Records, groups: Groups, door: Callable[[], AgentDoor], renew: Renew
) -> dict[str, ErrandKind]:
    """By the words that their addresses begin with; the door is made after what stands behind it."""

    def talk(tenure: Tenure) -> GroupTalk:
        return GroupTalk(tenure, records, world, groups, door())

    def schedule(tenure: Tenure) -> ScheduleErrand:
        return ScheduleErrand(tenure, records, world, door())

    def migration(tenure: Tenure) -> MigrationErrand:
        return MigrationErrand(tenure, records, world, renew)

    return {
        "migration": ErrandKind(records, MIGRATIONS, "Migration", migration),
        "group": ErrandKind(records, GROUP_STATES, "Group", talk),
        "schedule": ErrandKind(records, SCHEDULES, "Scheduled message", schedule),
    }


def _file_rooms(
    world: World,
    records: Records,
    folders: Folders,
    passages: Passages,
    embedder: Embeddings,
    sandbox: Sandbox,
) -> FileRooms:
    return FileRooms(
        world=world, records=records, folders=folders, passages=passages, embedder=embedder, sandbox=sandbox
    )


@asynccontextmanager
async def open_real(config: Config) -> AsyncIterator[Node]:
    """A node over the data directory and the providers of `config`; to be run inside, closed on the way out.

    Raises StoreOwned, StoreTooNew, DataCorrupt, StorageFull, StoreDown, InvalidInput.
    """
    world = system_world()
    data_dir = Path(config.data_dir).expanduser().absolute()
    store = await open_sqlite(data_dir, world)
    try:
        given = config.encryption_key
        vault = Vault(key_from_text(given) if given else key_from_file(data_dir, world.entropy), world.entropy)
        records, sandbox = Records(CheckedStore(store)), _sandbox(config, data_dir)
        stored = StoredProviders(records, vault, world)
        models = ConfiguredModels(world, open_transport(config.proxy), config.providers, stored=stored)
        hosts = HostPolicy(allowed=config.allowed_targets, loopback=is_loopback(config.host))
        policy = ToolServerPolicy(hosts=hosts, programs=config.tool_programs)
        reaching = web_box(records, vault, HttpWeb(hosts), sandbox, config.search)
        try:
            yield build_node(
                world,
                store,
                models,
                (reaching,),
                LOCAL,
                vault=vault,
                embeddings=Embeddings(models),
                sandbox=sandbox,
                line=models,
                policy=policy,
                load_mcp=load_sdk(policy),
            )
        finally:
            await models.close()
    finally:
        await store.close()


def _sandbox(config: Config, data_dir: Path) -> Sandbox:
    """Where foreign code runs, if it may."""
    sandbox = ProcessSandbox(data_dir, os.environ)
    return sandbox if config.tool_code else ClosedSandbox(sandbox)
