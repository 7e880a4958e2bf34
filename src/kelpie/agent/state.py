"""What an agent is: settings that people write, and state of its threads that only their owners write.

The two are separate records. Settings change through the API with optimistic checks and are read afresh at
every step; state changes only through the activation that owns the agent, fenced by its epoch. So an edit
never waits for a model, and a turn never overwrites an edit.
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import Raw, Struct

from kelpie.agent.rules import Progress, ToolRule
from kelpie.agent.secrets import Secret
from kelpie.agent.thread import Thread
from kelpie.ids import (
    AgentId,
    BlockId,
    ConversationId,
    FolderId,
    IdentityId,
    MessageId,
    RunId,
    StepId,
    ThreadId,
    ToolId,
)
from kelpie.limits import (
    COMPACTION_KEEP_PERCENT,
    CONTEXT_WINDOW_TOKENS_DEFAULT,
    CONTEXT_WINDOW_TOKENS_MAX,
    SUMMARY_CHARS_MAX,
    TURN_STEPS_DEFAULT,
)
from kelpie.llm.messages import NO_JSON, Part, Sampling, ToolCallPart, ToolReturnPart, Usage
from kelpie.memory.lineage import NOWHERE, Lineage
from kelpie.storage.collection import Listed
from kelpie.storage.records import Space

RunStatus = Literal["created", "running", "completed", "failed", "cancelled"]
StopReason = Literal[
    "end_turn", "requires_approval", "tool_rule", "max_steps", "max_tokens_exceeded", "cancelled", "error",
    "llm_api_error", "invalid_llm_response", "invalid_tool_call", "no_tool_call", "insufficient_credits",
    "context_window_overflow_in_system_prompt",
]  # fmt: skip
FILES_ROOM = (  # up to this context window in tokens: so many files open at once, so many characters shown of each
    (8_000, (3, 5_000)),
    (32_000, (5, 15_000)),
    (128_000, (10, 25_000)),
    (200_000, (10, 40_000)),
    (CONTEXT_WINDOW_TOKENS_MAX, (15, 40_000)),
)


class BlockRef(Struct, frozen=True, kw_only=True):
    """A block attached to an agent; labels are unique within the agent."""

    label: str
    id: BlockId


CompactionMode = Literal["sliding_window", "all", "self_compact_sliding_window", "self_compact_all"]


class Compaction(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How the window is compacted when it is full. None: the agent's own model, our own prompt."""

    model: str | None = None
    prompt: str | None = None
    keep_percent: int = COMPACTION_KEEP_PERCENT
    mode: CompactionMode = "sliding_window"
    clip_chars: int | None = None  # how long the summary may be; None: as long as there is room
    acknowledged: bool = False  # the summarising model is shown as having understood what to do
    sampling: Sampling | None = None  # how the summarising model is asked
    wire: Raw = NO_JSON  # the client's own settings object, given back to it as it was

    @property
    def is_whole(self) -> bool:
        """Whether nothing is kept that need not be."""
        return self.mode in ("all", "self_compact_all")

    @property
    def is_own(self) -> bool:
        """Whether the agent's own model is asked, in the middle of its talk."""
        return self.mode in ("self_compact_sliding_window", "self_compact_all")

    @property
    def chars_max(self) -> int:
        """How long a summary may be at most."""
        return SUMMARY_CHARS_MAX if self.clip_chars is None else min(self.clip_chars, SUMMARY_CHARS_MAX)


class AgentSettings(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """What people decide about an agent."""

    id: AgentId
    name: str
    kind: str  # the agent type of the wire
    system: str
    model: str  # handle
    embedding: str | None = None
    context_window_tokens: int = CONTEXT_WINDOW_TOKENS_DEFAULT
    sampling: Sampling = Sampling()
    compaction: Compaction = Compaction()
    blocks: tuple[BlockRef, ...] = ()
    tools: tuple[ToolId, ...] = ()
    folders: tuple[FolderId, ...] = ()
    files_open_max: int | None = None
    file_view_chars: int | None = None
    tool_rules: tuple[ToolRule, ...] = ()
    speaks_with: str | None = None  # the tool with which the agent speaks; its text is said to itself
    heartbeats: bool = False  # the model says with each call whether it wants a further step
    tags: tuple[str, ...] = ()
    description: str | None = None
    metadata: Raw = NO_JSON
    timezone: str = "UTC"
    hidden: bool | None = None
    forget_between_turns: bool = False  # the wire's message_buffer_autoclear
    secrets: tuple[Secret, ...] = ()  # variables of tools that people wrote
    conversations: bool = True  # whether it may have any; False until the first is made, by the same commit
    identities: tuple[IdentityId, ...] = ()  # the same is written as links, by the same commit
    lineage: Lineage = NOWHERE
    variables: Mapping[str, str] = {}  # what stands for those of its template
    wire: Raw = NO_JSON  # wire fields that the core has no use for, kept so that they can be given back
    created_at_us: int
    updated_at_us: int

    @property
    def files_open(self) -> int:
        """How many files may be open at once."""
        return self.files_open_max or self._files_room[0]

    @property
    def file_view(self) -> int:
        """How many characters of an open file are shown."""
        return self.file_view_chars or self._files_room[1]

    @property
    def _files_room(self) -> tuple[int, int]:
        return next(room for tokens_max, room in FILES_ROOM if self.context_window_tokens <= tokens_max)


class InputMessage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message as a client sent it. One of kind `approval` answers the calls that wait, and comes first."""

    kind: Literal["user", "system", "assistant", "approval"]
    parts: tuple[Part, ...]
    otid: str | None = None
    sender_id: str | None = None
    name: str | None = None


class ClientTool(Struct, frozen=True, kw_only=True):
    """A tool that the client runs itself; `parameters` is a JSON schema of type object."""

    name: str
    description: str
    parameters: Raw


class ClientSkill(Struct, frozen=True, kw_only=True):
    """Something that the client's surroundings offer, and where the agent reads how to use it."""

    name: str
    description: str
    location: str


class RunOptions(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one turn is run. `system` takes the place of the whole system prompt, memory blocks included."""

    steps_max: int = TURN_STEPS_DEFAULT
    model: str | None = None  # overrides the agent's
    stream_tokens: bool = False
    background: bool = False  # nobody waits for the answer
    hops: int = 0  # messages of agents that led to this one
    answer_by_ms: int | None = None  # until when the agent that sent it waits, on the store's clock
    system: str | None = None
    client_tools: tuple[ClientTool, ...] = ()
    client_skills: tuple[ClientSkill, ...] = ()
    logprobs: int | None = None  # as in ModelRequest
    wire: Raw = NO_JSON  # how the client wants messages to be shown, in the wire's words


class RunError(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a run failed, as the client is told: the code of an error of `errors.py` and its sentence."""

    code: str
    sentence: str


class Run(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """One accepted request to an agent, from its acceptance to its end."""

    id: RunId
    agent_id: AgentId
    conversation_id: ConversationId | None = None  # None: the agent's default thread
    status: RunStatus
    input: tuple[InputMessage, ...]
    options: RunOptions = RunOptions()
    created_at_us: int
    completed_at_us: int | None = None
    stop_reason: StopReason | None = None
    error: RunError | None = None
    usage: Usage = Usage()
    context_tokens: int | None = None  # of the last step
    steps: int = 0
    events: int = 0  # how many events the run has; the last one's number
    step_ids: tuple[StepId, ...] = ()  # once it has ended
    first_token_at_us: int | None = None  # of its first step, if that was streamed

    @property
    def thread_id(self) -> ThreadId:
        """In which thread it runs."""
        return ThreadId(self.conversation_id or self.agent_id)


class WindowEntry(Struct, frozen=True, array_like=True):
    """A message that the model sees."""

    id: MessageId
    seq: int


class PendingCall(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tool call of the running step, its result once that is known, and as what it ends the turn, if it does."""

    call: ToolCallPart
    result: ToolReturnPart | None = None
    ends: Literal["tool_rule", "end_turn"] | None = None


class Turn(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the running turn stands. What happens next is decided by `turn.py` from this alone."""

    run_id: RunId
    phase: Literal["model", "tools", "compact"]
    step: int  # steps begun, counted from 1
    step_id: StepId
    steps_max: int
    model: str | None = None
    stream_tokens: bool = False
    calls: tuple[PendingCall, ...] = ()
    usage: Usage = Usage()
    context_tokens: int | None = None
    events: int = 0  # committed events of the run so far
    compactions: int = 0  # since the last model reply
    restarts: int = 0  # activations that ended in the middle of this turn since its last step
    past_steps: tuple[StepId, ...] = ()  # that are over
    first_token_at_us: int | None = None

    progress: Progress = Progress()
    needed: tuple[str, ...] = ()  # tools that must still be called before the turn may end
    owing: bool = False  # it would have ended, but for these
    answering: bool = False  # the run brought results of calls that waited; what else it brought comes behind them


class Awaiting(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A turn that ended because some of its calls wait for a client; all calls of that step wait with them."""

    run_id: RunId
    message_id: MessageId  # of the reply with the calls
    step_id: StepId
    calls: tuple[PendingCall, ...]
    progress: Progress = Progress()
    needed: tuple[str, ...] = ()


class Answered(Struct, frozen=True, kw_only=True):
    """The latest answer to calls that waited, so that a repeat of it is the same request."""

    message_id: MessageId
    call_ids: tuple[str, ...]
    digest: str
    run_id: RunId


class Shown(Struct, frozen=True, array_like=True):
    """The hashes of what a model was shown beside the messages, and the zone in which these told their times."""

    system: str
    tools: str
    zone: str = "UTC"


class AgentState(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """What the owner of one of an agent's threads knows. `version` grows by one with every commit."""

    id: ThreadId
    agent_id: AgentId | None = None  # of a conversation; None: this is the agent's default thread
    version: int
    next_seq: int
    window: tuple[WindowEntry, ...]  # the first is the system message
    turn: Turn | None = None
    awaiting: Awaiting | None = None
    answered: Answered | None = None
    queue: tuple[RunId, ...] = ()  # accepted runs that wait, in order
    deleting: bool = False  # the thread is gone for everybody; its rows are being removed
    sweep_due_ms: int | None = None  # when the reminder fires that sweeps old inbox entries
    last_message_at_us: int | None = None  # when a message was last accepted
    last_run_at_us: int | None = None
    last_run_ms: int | None = None
    last_stop_reason: StopReason | None = None
    shown: Shown | None = None  # what the last step was shown, of which the texts are kept

    @property
    def thread(self) -> Thread:
        """Which thread this is."""
        if self.agent_id is None:
            return Thread(agent_id=AgentId(self.id))
        return Thread(agent_id=self.agent_id, conversation_id=ConversationId(self.id))


class AgentIndex(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """An agent's place in the order of creation."""

    id: AgentId


class Conversation(Listed, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """What people decide about one conversation; everything else is as the agent's settings have it."""

    agent_id: AgentId
    summary: str | None = None  # what people call it
    description: str | None = None
    model: str | None = None  # instead of the agent's
    context_window_tokens: int | None = None  # instead of the agent's
    sampling: Sampling | None = None  # instead of the agent's
    blocks: tuple[BlockRef, ...] = ()  # in the place of the agent's blocks of these labels
    archived_at_us: int | None = None
    hidden: bool | None = None
    last_message_at_us: int | None = None
    updated_at_us: int

    @property
    def thread(self) -> Thread:
        """Which thread this is."""
        return Thread(agent_id=self.agent_id, conversation_id=ConversationId(self.id))


class ThreadIndex(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """That the agent has a conversation, until the last row of it is gone."""

    id: ConversationId


class RunIndex(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """A run's place among all, among those of its agent or of its conversation, in the order of acceptance."""

    id: RunId
    created_at_us: int


class RunLogprobs(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """The probabilities of the tokens of a run's last reply, for a client that wants them."""

    tokens: Raw


class InboxEntry(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """That a client's key was seen, and which run answers it."""

    run_id: RunId
    digest: str  # of the request, so that a key is not used for another one
    at_ms: int


class InboxIndex(Struct, frozen=True, kw_only=True, tag_field="form", tag=1):
    """An inbox entry's place in time, for sweeping."""

    key: str
    at_ms: int


AGENTS = Space("agent", AgentSettings, large=True)  # at(agent_id)
STATES = Space("agent_state", AgentState, large=True)  # at(thread_id)
CONVERSATIONS = Space("conversation", Conversation, large=True)  # at(conversation_id)
AGENT_THREADS = Space("agent_thread", ThreadIndex)  # at(agent_id, conversation_id)
AGENTS_BY_TIME = Space("agent_by_time", AgentIndex)  # at(created_at_us, agent_id)
RUNS = Space("run", Run, large=True)  # at(run_id)
RUNS_BY_TIME = Space("run_by_time", RunIndex)  # at(created_at_us, run_id)
AGENT_RUNS = Space("agent_run", RunIndex)  # at(agent_id, created_at_us, run_id)
CONVERSATION_RUNS = Space("conversation_run", RunIndex)  # at(conversation_id, created_at_us, run_id)
RUN_LOGPROBS = Space("run_logprobs", RunLogprobs, large=True)  # at(run_id)
INBOX = Space("inbox", InboxEntry)  # at(thread_id, sha256 of the key)
INBOX_BY_TIME = Space("inbox_by_time", InboxIndex)  # at(thread_id, at_ms, sha256 of the key)
