"""A tool of an agent, run because a person asked and no turn did: nothing of it is told to the model."""

from msgspec import Raw

from kelpie.agent.block_set import BlockSet
from kelpie.agent.memory_tools import MemoryDesk, MemorySession, put_edits, use_memory_tool
from kelpie.agent.state import AgentSettings
from kelpie.errors import Conflict, NotFound
from kelpie.ids import RunId, StepId
from kelpie.limits import EDIT_ATTEMPTS_MAX
from kelpie.memory.blocks import BLOCKS
from kelpie.memory.history import History, HistoryHits, HistoryQuery
from kelpie.storage.records import Batch, Records, stand_back
from kelpie.tools.mcp_server import McpServer
from kelpie.tools.schema import check_arguments
from kelpie.tools.tool import Tool, ToolOutcome, ToolRequest, clip_outcome
from kelpie.tools.toolbox import ToolCatalog
from kelpie.world import World

NOBODYS_RUN = RunId("run-by-hand")  # no turn has asked


class ToolsByHand:
    """Runs tools for people."""

    def __init__(
        self, records: Records, catalog: ToolCatalog, memory_server: McpServer[MemorySession], world: World
    ) -> None:
        self._records = records
        self._catalog = catalog
        self._memory_server = memory_server
        self._history = History(records)
        self._world = world

    async def run(self, settings: AgentSettings, name: str, arguments: Raw) -> ToolOutcome:
        """Run the agent's tool of that name. Raises NotFound (the agent has none), and what its runner does."""
        tools = {tool.name: tool for tool in await self._catalog.present(settings.tools)}
        tool = tools.get(name)
        if tool is None:
            raise NotFound(f"Tool '{name[:80]}' not found or not attached to agent '{settings.id}'", name=name[:80])
        if tool.source is None:  # a function says itself what is wrong with its arguments
            checked = check_arguments(tool, bytes(arguments).decode())
            if isinstance(checked, str):
                return ToolOutcome(text=f"{name} was not called: {checked}.", ok=False)
            arguments = checked
        assert tool.name == name
        assert tool.id in settings.tools
        request = self._request(settings, tool, arguments)
        if self._catalog.is_memory(name):
            return await self._use_memory(settings, request)
        return await self._catalog.call(request)

    def _request(self, settings: AgentSettings, tool: Tool, arguments: Raw) -> ToolRequest:
        return ToolRequest(
            agent_id=settings.id,
            run_id=NOBODYS_RUN,
            step_id=StepId(NOBODYS_RUN),
            call_id=self._world.entropy.take_bytes(8).hex(),
            tool=tool,
            arguments=arguments,
        )

    async def _use_memory(self, settings: AgentSettings, request: ToolRequest) -> ToolOutcome:
        """Run it on the blocks as they are, and commit what it changed, again as often as somebody else is first."""

        async def search(query: HistoryQuery) -> HistoryHits:
            return await self._history.search(settings.id, query)

        for attempt in range(EDIT_ATTEMPTS_MAX):
            found = await self._records.get_all([BLOCKS.at(ref.id) for ref in settings.blocks])
            blocks = {block.value.label: block for block in found if block is not None}
            block_set = BlockSet(self._records, self._world, settings.id)
            desk = MemoryDesk(blocks=blocks, block_set=block_set, search=search, now_us=self._world.wall.now_us())
            outcome, edits = await use_memory_tool(self._memory_server, request, desk)
            assert outcome.ok or not edits, "what failed changed nothing"
            outcome = clip_outcome(outcome, request.tool.return_chars_max)
            if not edits:
                return outcome
            batch = Batch()
            put_edits(batch, edits)
            assert batch.checks, "each block is as it was read"
            try:
                await self._records.commit(batch)
            except Conflict:
                await stand_back(attempt, self._world.entropy)
                continue
            return outcome
        raise Conflict(f"the blocks of '{settings.id}' are being changed by others; {EDIT_ATTEMPTS_MAX} attempts lost")
