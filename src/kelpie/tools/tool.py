"""What a tool is, and the seam behind which tools run."""

from collections.abc import Sequence
from typing import Literal, Protocol

from msgspec import Raw, Struct

from kelpie.ids import AgentId, RunId, StepId, ToolId
from kelpie.limits import TOOL_RETURN_CHARS_DEFAULT

ToolKind = Literal["memory", "core", "external"]


class Tool(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tool as the model sees it, and what may be done when a call's outcome is unknown.

    `parameters` is a JSON schema of type object. `read_only` and `idempotent` are MCP's hints of the same
    names: only a tool with one of them is called again after a crash in the middle of a call.
    """

    id: ToolId
    name: str
    description: str
    parameters: Raw
    kind: ToolKind
    read_only: bool = False
    idempotent: bool = False
    return_chars_max: int = TOOL_RETURN_CHARS_DEFAULT
    tags: tuple[str, ...] = ()

    @property
    def repeatable(self) -> bool:
        """Whether a call whose outcome is unknown may be made again."""
        return self.read_only or self.idempotent


class ToolRequest(Struct, frozen=True, kw_only=True):
    """One call. (run, step, call) is the key under which a repeat of it is the same call."""

    agent_id: AgentId  # who calls
    run_id: RunId
    step_id: StepId
    call_id: str
    tool: Tool
    arguments: Raw  # a JSON object, already checked against the tool's schema


class ToolOutcome(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a tool answered: text for the model, and what it printed."""

    text: str
    ok: bool = True
    stdout: tuple[str, ...] | None = None
    stderr: tuple[str, ...] | None = None
    chars_total: int | None = None  # set when `text` was clipped


class Toolbox(Protocol):
    """Tools from one place."""

    def list_tools(self) -> Sequence[Tool]:
        """All of them, in a stable order."""
        ...

    async def call(self, request: ToolRequest) -> ToolOutcome:
        """Run it. A tool's own failure is an outcome with ok=False; cancellation stops the tool."""
        ...
