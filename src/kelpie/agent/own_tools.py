"""Runs the tools that people wrote, for agents: implements `tools.tool.Runner` for tools of kind `custom`.

A tool gets its arguments, the variables of the sandbox and its agent's secrets and, if it asks for `agent_state`, what
its agent is just now. Blocks that it gave another value are written afterwards, each by itself: they are not part of
the commit that records the tool's result, so after a crash between the two the tool's outcome is unknown, as that of
any tool outside.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
from msgspec import Raw, Struct

from kelpie.access.vault import Vault
from kelpie.agent.secrets import open_secrets
from kelpie.agent.state import AGENTS, AgentSettings
from kelpie.errors import Forbidden, KelpieError, NotFound
from kelpie.ids import AgentId
from kelpie.memory.blocks import BlockChanges, Blocks, check_within_limit
from kelpie.sandbox.sandbox import Ended, Sandbox
from kelpie.storage.records import Records
from kelpie.tools.sandboxes import Sandboxes
from kelpie.tools.sources import NULL, LentTool, call_job, lending_job, read_call
from kelpie.tools.tool import Tool, ToolOutcome, ToolRequest

STATE_WORD = "agent_state"  # a source without it cannot ask for the state
Show = Callable[[AgentId], Awaitable[bytes]]
"""What an agent is just now, as JSON, with `memory.blocks`. Raises NotFound."""


class Ground(Struct, frozen=True, kw_only=True):
    """What stands in every tool's process: Python before the source, and variables that say who calls what."""

    preamble: str = ""
    caller: str = ""  # Python with a function call(name, arguments): a tool of the agent, run on this server
    agent_variable: str = "KELPIE_AGENT_ID"
    tool_variable: str = "KELPIE_TOOL_ID"


class OwnTools:
    """Runs tools from source."""

    def __init__(
        self,
        records: Records,
        vault: Vault,
        blocks: Blocks,
        sandbox: Sandbox,
        sandboxes: Sandboxes,
        show: Show,
        ground: Ground,
    ) -> None:
        self._records = records
        self._vault = vault
        self._blocks = blocks
        self._sandbox = sandbox
        self._sandboxes = sandboxes
        self._show = show
        self._ground = ground

    async def call(self, request: ToolRequest) -> ToolOutcome:
        """Run it for an agent. Raises NotFound, SecretUnreadable, InvalidInput, Forbidden, Busy."""
        found = await self._records.get(AGENTS.at(request.agent_id))
        if found is None:
            raise NotFound(f"Agent with id '{request.agent_id}' not found", id=request.agent_id)
        settings = found.value
        secrets = open_secrets(self._vault, settings.secrets)
        said = {self._ground.agent_variable: settings.id}
        return await self._call(request.tool, request.arguments, {**secrets, **said}, settings)

    async def try_out(self, tool: Tool, arguments: Raw, variables: Mapping[str, str]) -> ToolOutcome:
        """Run a tool that need not be stored, for nobody. Raises InvalidInput, Forbidden, Busy, SecretUnreadable."""
        return await self._call(tool, arguments, variables, None)

    async def run_script(self, settings: AgentSettings, code: str, tools: Sequence[LentTool]) -> Ended:
        """Run a piece of Python for an agent, which may call these tools of it. Raises what `call` does."""
        packages, common = await self._sandboxes.ground()
        secrets = open_secrets(self._vault, settings.secrets)
        job = lending_job(
            code,
            tools,
            environment={**common, **secrets, self._ground.agent_variable: settings.id},
            packages=packages,
            preamble=self._ground.preamble,
            caller=self._ground.caller,
        )
        return await self._sandbox.run(job)

    async def _call(
        self, tool: Tool, arguments: Raw, variables: Mapping[str, str], settings: AgentSettings | None
    ) -> ToolOutcome:
        assert tool.source is not None, f"{tool.name} has no source"
        packages, common = await self._sandboxes.ground()
        agent = NULL
        if settings is not None and STATE_WORD in tool.source.code:
            agent = Raw(await self._show(settings.id))
        job = call_job(
            tool,
            arguments,
            environment={**common, **variables, self._ground.tool_variable: tool.id},
            packages=packages,
            agent=agent,
            preamble=self._ground.preamble,
        )
        called = read_call(await self._sandbox.run(job), tool.name)
        assert not called.blocks or settings is not None, "nobody has no memory"
        if settings is None or not called.blocks:
            return called.outcome
        return await self._write(called.outcome, settings, called.blocks)

    async def _write(self, outcome: ToolOutcome, settings: AgentSettings, values: Mapping[str, str]) -> ToolOutcome:
        """Write the blocks that the tool changed; what could not be written is said beside the tool's answer."""
        notes = []
        for label, value in values.items():
            try:
                await self._write_block(settings, label, value)
            except KelpieError as error:
                notes.append(f"The memory block '{label}' was not changed: {error.sentence}.")
        if not notes:
            return outcome
        assert len(notes) <= len(values)
        assert outcome.ok, "a tool that failed changes nothing"
        return ToolOutcome(
            text="\n".join([outcome.text, *notes]), ok=False, stdout=outcome.stdout, stderr=outcome.stderr
        )

    async def _write_block(self, settings: AgentSettings, label: str, value: str) -> None:
        """Raises NotFound, Forbidden (read-only), LimitExceeded, Conflict."""
        ids = {ref.label: ref.id for ref in settings.blocks}
        if label not in ids:
            raise NotFound("the agent has no such block", label=label)
        block = (await self._blocks.get(ids[label])).value
        if block.read_only:
            raise Forbidden("it is read-only", label=label)
        check_within_limit(msgspec.structs.replace(block, value=value))
        await self._blocks.update(block.id, BlockChanges(value=value))
