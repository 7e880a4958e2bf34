"""What a tool is, and the seam behind which tools run."""

from collections.abc import Sequence
from typing import Literal, Protocol

import msgspec
from msgspec import Raw, Struct

from kelpie.ids import AgentId, McpServerId, RunId, StepId, ToolId
from kelpie.limits import TOOL_DEADLINE_MS, TOOL_RETURN_CHARS_DEFAULT
from kelpie.storage.collection import Listed

BuiltinKind = Literal["core", "memory_core", "sleeptime", "voice_sleeptime", "multi_agent", "builtin", "files"]
StoredKind = Literal["custom", "mcp", "langchain", "composio"]
ToolKind = BuiltinKind | StoredKind
Language = Literal["python", "typescript"]
NOTHING = Raw(b"{}")


class Requirement(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A package that a tool's source imports."""

    name: str
    version: str | None = None


class Source(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The text of a tool that somebody wrote. `args_schema` is its author's own, of models that the text names."""

    code: str
    language: Language = "python"
    args_schema: Raw = NOTHING
    pip: tuple[Requirement, ...] = ()
    npm: tuple[Requirement, ...] = ()


class Remote(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a tool of another server is: which server, and how it calls the tool."""

    server_id: McpServerId
    name: str


class Tool(Listed, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """A tool: as the model sees it, how it is run, and what may be done when a call's outcome is unknown.

    `parameters` is a JSON schema of type object. `read_only` and `idempotent` are MCP's hints of the same
    names: only a tool with one of them is called again after a crash in the middle of a call. Built-in tools are
    made by the code (`created_at_us` 0); the others are records, with a `source` or a `remote` place.
    """

    id: ToolId
    created_at_us: int = 0
    updated_at_us: int = 0
    name: str
    description: str
    parameters: Raw
    kind: ToolKind
    read_only: bool = False
    idempotent: bool = False
    return_chars_max: int = TOOL_RETURN_CHARS_DEFAULT
    deadline_ms: int = TOOL_DEADLINE_MS
    tags: tuple[str, ...] = ()
    asks_approval: bool | None = None  # of agents that are given it, unless they say otherwise
    parallel: bool | None = None  # beside other calls of the same step; None: if it is read-only
    source: Source | None = None
    remote: Remote | None = None
    metadata: Raw = NOTHING
    wire: Raw = NOTHING  # wire fields that the core has no use for, kept so that they can be given back

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


class Runner(Protocol):
    """Runs tools that are records: all of one kind."""

    async def call(self, request: ToolRequest) -> ToolOutcome:
        """Run it. A tool's own failure is an outcome with ok=False; cancellation stops the tool."""
        ...


class Toolbox(Protocol):
    """Built-in tools from one place."""

    def list_tools(self) -> Sequence[Tool]:
        """All of them, in a stable order."""
        ...

    async def call(self, request: ToolRequest) -> ToolOutcome:
        """Run it. A tool's own failure is an outcome with ok=False; cancellation stops the tool."""
        ...


def clip_outcome(outcome: ToolOutcome, chars_max: int) -> ToolOutcome:
    """The outcome with its text cut at `chars_max`, followed by a note, and `chars_total` set; or as it was.

    What was clipped before is left alone: its note tells the true length.
    """
    assert chars_max > 0
    total = len(outcome.text)
    if total <= chars_max or outcome.chars_total is not None:
        return outcome
    note = f"\n[... clipped: {chars_max} of {total} characters are shown ...]"
    return msgspec.structs.replace(outcome, text=outcome.text[:chars_max] + note, chars_total=total)
