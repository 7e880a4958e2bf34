"""What the command line reads of the server's answers: only the fields that it shows, all of them optional."""

from msgspec import Struct


class BlockAnswer(Struct, frozen=True, kw_only=True):
    """A memory block."""

    label: str = ""
    value: str = ""
    limit: int | None = None
    read_only: bool | None = None


class ToolAnswer(Struct, frozen=True, kw_only=True):
    """A tool."""

    name: str | None = None


class AgentAnswer(Struct, frozen=True, kw_only=True):
    """An agent."""

    id: str
    name: str = ""
    model: str | None = None
    created_at: str | None = None
    last_run_completion: str | None = None
    blocks: list[BlockAnswer] = []
    tools: list[ToolAnswer] = []

    @property
    def last_used(self) -> str:
        """When it last finished a run, else when it was made; ISO dates sort as text."""
        return (self.last_run_completion or self.created_at or "")[:19]


class ModelAnswer(Struct, frozen=True, kw_only=True):
    """A model."""

    handle: str | None = None
    name: str = ""


class HealthAnswer(Struct, frozen=True, kw_only=True):
    """The server's word that it is well."""

    status: str = ""


class RunAnswer(Struct, frozen=True, kw_only=True):
    """A run."""

    id: str
    agent_id: str = ""
    status: str = ""
    stop_reason: str | None = None
    created_at: str = ""
    total_duration_ns: int | None = None
    metadata: "RunNotes | None" = None


class RunNotes(Struct, frozen=True, kw_only=True):
    """What is told of a run beside."""

    error: "RunFault | None" = None


class RunFault(Struct, frozen=True, kw_only=True):
    """Why a run failed."""

    message: str = ""


class StepAnswer(Struct, frozen=True, kw_only=True):
    """A step."""

    id: str
    model_handle: str | None = None
    status: str | None = None
    stop_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class StepTimes(Struct, frozen=True, kw_only=True):
    """What a step took, in nanoseconds."""

    llm_request_ns: int | None = None
    tool_execution_ns: int | None = None


class TextPiece(Struct, frozen=True, kw_only=True):
    """One part of a content that is a list."""

    text: str = ""


class CallPiece(Struct, frozen=True, kw_only=True):
    """A tool call, or while it streams the next piece of one: the name comes first, then arguments."""

    name: str | None = None
    arguments: str | None = None
    tool_call_id: str | None = None


class Event(Struct, frozen=True, kw_only=True):
    """One event of a stream of messages; which fields it has depends on `message_type`."""

    message_type: str = ""
    id: str | None = None
    content: str | list[TextPiece] | None = None
    reasoning: str | None = None
    tool_call: CallPiece | None = None
    tool_return: str | None = None
    status: str | None = None
    stop_reason: str | None = None
    message: str | None = None  # of an error
    detail: str | None = None

    @property
    def text(self) -> str:
        """The content as text."""
        if isinstance(self.content, list):
            return "".join(piece.text for piece in self.content)
        return self.content or ""
