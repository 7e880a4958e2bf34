"""Performs what turns ask for: model calls, summaries, tools. Shared by all agents of a node, and stateless.

Everything here may be repeated: nothing is written, and what is found out is handed back as a value, which the
actor commits. Settings and blocks are read afresh for each step, so that an edit made anywhere is seen by the
next step of every agent that it concerns.
"""

import asyncio
import itertools
from collections.abc import Callable, Mapping, Sequence

import msgspec
from msgspec import Struct

from kelpie.actor.outbox import Outbox
from kelpie.agent.block_set import BlockSet
from kelpie.agent.effects import CompactionFailed, Replied, ReplyFailed, Told, WindowFull
from kelpie.agent.events import DeltaEvent
from kelpie.agent.file_desk import FileDesk
from kelpie.agent.journal import error_of
from kelpie.agent.memory_tools import AnyEdit, MemoryDesk, MemorySession, put_edits, use_memory_tool
from kelpie.agent.offers import step_tools, with_skills
from kelpie.agent.pieces import PieceBuffer
from kelpie.agent.prompt import Prompt, make_request
from kelpie.agent.rules import Policy, asked_of, without_heartbeat
from kelpie.agent.settings import read_settings
from kelpie.agent.state import AgentSettings, Run, RunOptions, Turn
from kelpie.agent.steps import Account, Asking
from kelpie.agent.summaries import IN_TURN, Summariser, Summary, plan_in_turn
from kelpie.agent.thread import Thread
from kelpie.agent.turn import may_compact
from kelpie.agent.wording import fit_return
from kelpie.errors import KelpieError, LimitExceeded, ModelUnavailable, Refused, WindowOverflow
from kelpie.ids import MessageId, StepId, new_message_id
from kelpie.limits import (
    LOGPROBS_BYTES_MAX,
    MESSAGE_BYTES_MAX,
    REPLY_CALLS_MAX,
    STEP_RETURNS_BYTES_MAX,
    SYSTEM_PROMPT_BYTES_MAX,
)
from kelpie.llm.messages import (
    Delta,
    ModelReply,
    TextDelta,
    ToolCallDelta,
    ToolCallPart,
    ToolReturnPart,
)
from kelpie.llm.model import Models, OnDelta
from kelpie.memory.blocks import BLOCKS, Block
from kelpie.memory.history import History, HistoryHits, HistoryQuery, StoredMessage
from kelpie.memory.render import compile_system
from kelpie.memory.window import (
    Counted,
    fixed_tokens,
    is_full,
    prompt_budget_tokens,
    window_tokens,
)
from kelpie.storage.records import Batch, Found, Records
from kelpie.tools.mcp_server import McpServer
from kelpie.tools.schema import check_arguments
from kelpie.tools.tool import Tool, ToolOutcome, ToolRequest, clip_outcome
from kelpie.tools.toolbox import ToolCatalog
from kelpie.world import World

_ENCODER = msgspec.json.Encoder()
KeepPieces = Callable[[StepId, MessageId, int], PieceBuffer]
JSON_BYTES_PER_CHAR_MAX = 6  # \u0001


class Asked(Struct, frozen=True, kw_only=True):
    """What came of asking the model, and what the actor must know of how it was asked."""

    told: Told
    system: str | None = None  # the system prompt as compiled for this step
    forget: bool = False  # the window is emptied when the turn ends
    fixed_tokens: int | None = None
    account: Account | None = None  # None: the model was not asked


class MemoryWork(Struct, frozen=True, kw_only=True):
    """What a memory tool answered, and the blocks that it wants changed in the same commit."""

    result: ToolReturnPart
    edits: tuple[AnyEdit, ...]


class Performer:
    """Performs effects for the agents of one node."""

    def __init__(
        self,
        world: World,
        records: Records,
        outbox: Outbox,
        models: Models,
        catalog: ToolCatalog,
        memory_server: McpServer[MemorySession],
        files: FileDesk,
    ) -> None:
        self.world = world
        self.records = records
        self.outbox = outbox
        self.history = History(records)
        self.summariser = Summariser(models)
        self._models = models
        self._catalog = catalog
        self._memory_server = memory_server
        self._files = files

    # -- the model --------------------------------------------------------------------------------------

    async def ask_model(
        self,
        thread: Thread,
        turn: Turn,
        run: Run,
        window: Sequence[StoredMessage],
        counted: Counted | None,
        keep_pieces: KeepPieces,
    ) -> Asked:
        """Ask for the reply of the running step, or say why there is none. Of a run in the background, whose pieces
        are told by commits, they go to what `keep_pieces` makes."""
        assert turn.phase == "model"
        assert run.id == turn.run_id
        try:
            prompt = await self.prepare(thread, turn, run.options, window)
        except (Refused, ModelUnavailable) as error:
            return Asked(told=_reply_failed(turn, error))
        if prompt.step_tools.fault is not None:
            error = error_of("invalid_input", prompt.step_tools.fault)
            return Asked(told=ReplyFailed(step_id=turn.step_id, error=error, overflow=False, stop_reason="error"))
        if may_compact(turn) and self._is_full(prompt, window, counted):
            return Asked(told=WindowFull(step_id=turn.step_id))
        assert run.id == turn.run_id
        assert turn.phase == "model"
        self.outbox.forget_previews(run.id)  # of an attempt whose reply was lost
        message_id = new_message_id(self.world.entropy)
        told, account = await self._reply(turn, run, prompt, window, message_id, keep_pieces)
        return Asked(
            told=told,
            system=prompt.system,
            forget=prompt.settings.forget_between_turns,
            fixed_tokens=prompt.fixed,
            account=account,
        )

    async def compile(self, thread: Thread) -> str:
        """The system prompt as the model would be given it now. Raises NotFound, LimitExceeded."""
        settings = await self._settings(thread)
        return await self._system(settings, await self._blocks(settings))

    async def compact(self, thread: Thread, turn: Turn, run: Run, window: Sequence[StoredMessage]) -> Summary | Asked:
        """Summarise what is oldest in the window. Each further attempt within a step keeps half as much."""
        assert turn.phase == "compact"
        assert run.id == turn.run_id
        try:
            prompt = await self.prepare(thread, turn, run.options, window)
            budget = prompt.budget // 2**turn.compactions
            plan = plan_in_turn(prompt, window, budget)
            if plan is None:
                return Asked(told=CompactionFailed(step_id=turn.step_id, error=None))
            summary = await self.summariser.summarise(
                prompt, prompt.settings.compaction, plan, budget=budget, step_id=turn.step_id, trigger=IN_TURN
            )
        except (Refused, ModelUnavailable) as error:
            failed = error_of(error.code, f"the window is full and its summary failed: {error.sentence}")
            return Asked(told=CompactionFailed(step_id=turn.step_id, error=failed))
        if summary is None:
            failed = error_of("model_unavailable", "the window is full and its summary came back empty")
            return Asked(told=CompactionFailed(step_id=turn.step_id, error=failed))
        return summary

    async def _reply(
        self,
        turn: Turn,
        run: Run,
        prompt: Prompt,
        window: Sequence[StoredMessage],
        message_id: MessageId,
        keep_pieces: KeepPieces,
    ) -> tuple[Told, Account]:
        assert run.id == turn.run_id
        request = make_request(prompt, window, turn.step_id, logprobs=run.options.logprobs)
        on_delta = self._previewer(turn, run, message_id, prompt.step_tools.policy, keep_pieces)
        asking = Asking(self.world.wall, prompt, request, on_delta)
        try:
            reply = await self._models.ask(prompt.info, request, asking.on_delta)
            _check_reply(reply)
        except (Refused, ModelUnavailable) as error:
            return _reply_failed(turn, error), asking.account(None)
        policy = prompt.step_tools.policy
        replied = Replied(step_id=turn.step_id, message_id=message_id, reply=reply, policy=policy)
        return replied, asking.account(reply)

    async def prepare(self, thread: Thread, turn: Turn, options: RunOptions, window: Sequence[StoredMessage]) -> Prompt:
        """What the running step shows its model, as everything is now. Raises NotFound, LimitExceeded."""
        settings = await self._settings(thread)
        blocks = await self._blocks(settings)
        info = await self._models.find(turn.model or settings.model)
        offered = step_tools(settings, await self._tools_of(settings), options, turn, window)
        tools = offered.definitions
        system = await self._system(settings, blocks)
        shown = with_skills(system, options.client_skills) if options.system is None else options.system
        if offered.note is not None:
            shown = f"{shown}\n\n{offered.note}"
        assert settings.id == thread.agent_id
        assert len({tool.name for tool in tools}) == len(tools)
        context_tokens = min(settings.context_window_tokens, info.context_tokens)
        return Prompt(
            settings=settings,
            info=info,
            system=system,
            shown=shown,
            step_tools=offered,
            tools=tools,
            fixed=fixed_tokens(shown, tools),
            budget=prompt_budget_tokens(context_tokens, settings.sampling.output_tokens_max),
            context_tokens=context_tokens,
        )

    async def _system(self, settings: AgentSettings, blocks: Sequence[Found[Block]]) -> str:
        """The system prompt. Raises LimitExceeded."""
        files = await self._files.prompt(settings) if settings.folders else ""
        system = compile_system(settings.system, [found.value for found in blocks], files)
        _check_system(system)
        return system

    def _is_full(self, prompt: Prompt, window: Sequence[StoredMessage], counted: Counted | None) -> bool:
        """Whether the window is over its budget and a summary would make it smaller; else the provider decides."""
        tokens = window_tokens(window, fixed=prompt.fixed, counted=counted)
        if not is_full(tokens, len(window), prompt.budget):
            return False
        return plan_in_turn(prompt, window, prompt.budget) is not None

    def _previewer(
        self, turn: Turn, run: Run, message_id: MessageId, policy: Policy, keep_pieces: KeepPieces
    ) -> OnDelta | None:
        assert run.id == turn.run_id
        assert message_id
        if not run.options.stream_tokens:
            return None
        created_at_us = self.world.wall.now_us()
        if run.options.background:
            return _marked(policy, keep_pieces(turn.step_id, message_id, created_at_us).add)
        pieces = itertools.count()

        def preview(delta: Delta) -> None:
            event = DeltaEvent(
                message_id=message_id,
                step_id=turn.step_id,
                piece=next(pieces),
                created_at_us=created_at_us,
                delta=delta,
            )
            self.outbox.preview(run.id, event)

        return _marked(policy, preview)

    # -- tools ------------------------------------------------------------------------------------------

    def is_memory_tool(self, name: str) -> bool:
        """Whether calls of it are made inside the agent's own commits."""
        return self._catalog.is_memory(name)

    async def is_repeatable(self, name: str) -> bool:
        """Whether a call whose outcome is unknown may be made again. A memory tool's effect is its commit.

        Of a tool that is no longer known nobody can say that it may.
        """
        if self._catalog.is_memory(name):
            return True
        tool = (await self._catalog.named([name])).get(name)
        return tool is not None and tool.repeatable

    async def run_tool(
        self, thread: Thread, turn: Turn, call: ToolCallPart, check_may_act: Callable[[], None]
    ) -> ToolReturnPart:
        """Run an outside tool to its end, its deadline or its refusal. Raises what `check_may_act` does, asked last."""
        checked = await self._check_call(await self._settings(thread), turn, call)
        if isinstance(checked, ToolReturnPart):
            return checked
        check_may_act()
        try:
            async with asyncio.timeout(checked.tool.deadline_ms / 1000):
                outcome = await self._catalog.call(checked)
        except TimeoutError:
            text = f"The tool did not answer within {checked.tool.deadline_ms // 1000} s."
            text += " Whether it had its effect is unknown."
            outcome = ToolOutcome(text=text, ok=False)
        except KelpieError as error:
            outcome = ToolOutcome(text=error.sentence, ok=False)
        return _result(turn, call, outcome)

    async def use_memory(self, thread: Thread, turn: Turn, call: ToolCallPart) -> MemoryWork:
        """Run a memory tool on the blocks as they are now; nothing is written yet."""
        settings = await self._settings(thread)
        checked = await self._check_call(settings, turn, call)
        if isinstance(checked, ToolReturnPart):
            return MemoryWork(result=checked, edits=())
        blocks = await self._blocks(settings)

        async def search(query: HistoryQuery) -> HistoryHits:
            return await self.history.search(thread.id, query)

        desk = MemoryDesk(
            blocks={found.value.label: found for found in blocks},
            block_set=BlockSet(self.records, self.world, thread.agent_id),
            search=search,
            now_us=self.world.wall.now_us(),
        )
        outcome, edits = await use_memory_tool(self._memory_server, checked, desk)
        assert self.is_memory_tool(checked.tool.name)
        assert outcome.ok or not edits, "what failed changes nothing"
        return MemoryWork(
            result=_result(turn, call, clip_outcome(outcome, checked.tool.return_chars_max)), edits=tuple(edits)
        )

    def write_edits(self, batch: Batch, work: MemoryWork, by: str) -> None:
        """Make the tool's edits part of the commit that records its result."""
        put_edits(batch, work.edits, by)

    async def _check_call(
        self, settings: AgentSettings, turn: Turn, call: ToolCallPart
    ) -> ToolRequest | ToolReturnPart:
        """The request, or what the model is told instead: no such tool, or arguments that do not fit."""
        tools = await self._tools_of(settings)
        tool = tools.get(call.name)
        if tool is None:
            known = ", ".join(tools) or "none"
            return _refusal(call, f"There is no tool named '{call.name}'. Your tools: {known}.")
        assert tool.name == call.name
        assert settings.id, "an agent calls"
        written = without_heartbeat(call.arguments) if settings.heartbeats else call.arguments
        arguments = check_arguments(tool, written)
        if isinstance(arguments, str):
            return _refusal(call, arguments)
        return ToolRequest(
            agent_id=settings.id,
            run_id=turn.run_id,
            step_id=turn.step_id,
            call_id=call.call_id,
            tool=tool,
            arguments=arguments,
        )

    async def _tools_of(self, settings: AgentSettings) -> Mapping[str, Tool]:
        return {tool.name: tool for tool in await self._catalog.present(settings.tools)}

    # -- reading ----------------------------------------------------------------------------------------

    async def _settings(self, thread: Thread) -> AgentSettings:
        return await read_settings(self.records, thread)

    async def _blocks(self, settings: AgentSettings) -> list[Found[Block]]:
        found = await self.records.get_all([BLOCKS.at(ref.id) for ref in settings.blocks])
        return [each for each in found if each is not None]


def _reply_failed(turn: Turn, error: KelpieError) -> ReplyFailed:
    overflow = isinstance(error, WindowOverflow)
    return ReplyFailed(step_id=turn.step_id, error=error_of(error.code, error.sentence), overflow=overflow)


def _refusal(call: ToolCallPart, text: str) -> ToolReturnPart:
    return ToolReturnPart(call_id=call.call_id, name=call.name, text=text, ok=False)


def _marked(policy: Policy, hear: OnDelta) -> OnDelta:
    """Pieces are heard with what is known of them beforehand: that their call will ask, that they are an aside."""
    asking: dict[int, bool] = {}  # by part: the name comes with the first piece only

    def mark(delta: Delta) -> None:
        if isinstance(delta, ToolCallDelta):
            if delta.name is not None:
                asking[delta.part] = asked_of(policy, delta.name) is not None
            delta = msgspec.structs.replace(delta, asks=asking.get(delta.part, False))
        elif isinstance(delta, TextDelta) and policy.speaks is not None:
            delta = msgspec.structs.replace(delta, aside=True)
        hear(delta)

    return mark


def _check_reply(reply: ModelReply) -> None:
    """A reply that could not be stored would be asked for again and again."""
    size, calls = len(_ENCODER.encode(reply.parts)), sum(isinstance(part, ToolCallPart) for part in reply.parts)
    _check_bound(f"the model's reply has {size} bytes", size, "MESSAGE_BYTES_MAX", MESSAGE_BYTES_MAX)
    _check_bound(f"the model's reply calls {calls} tools", calls, "REPLY_CALLS_MAX", REPLY_CALLS_MAX)
    told = len(bytes(reply.logprobs))
    what = f"the probabilities of the reply's tokens (ask for fewer, or for a shorter reply) have {told} bytes"
    _check_bound(what, told, "LOGPROBS_BYTES_MAX", LOGPROBS_BYTES_MAX)


def _check_bound(what: str, size: int, limit: str, maximum: int) -> None:
    if size > maximum:
        raise LimitExceeded(f"{what} and may have {maximum}", limit=limit, maximum=maximum)


def _check_system(system: str) -> None:
    """What the model was shown is kept in the history, where it must fit."""
    if len(system) * JSON_BYTES_PER_CHAR_MAX <= SYSTEM_PROMPT_BYTES_MAX:
        return
    size = len(_ENCODER.encode(system))
    if size > SYSTEM_PROMPT_BYTES_MAX:
        raise LimitExceeded(
            f"the system prompt and its memory blocks have {size} bytes and may have {SYSTEM_PROMPT_BYTES_MAX}",
            limit="SYSTEM_PROMPT_BYTES_MAX",
            maximum=SYSTEM_PROMPT_BYTES_MAX,
        )


def _result(turn: Turn, call: ToolCallPart, outcome: ToolOutcome) -> ToolReturnPart:
    share_bytes = STEP_RETURNS_BYTES_MAX // max(1, len(turn.calls))
    result = ToolReturnPart(
        call_id=call.call_id,
        name=call.name,
        text=outcome.text,
        ok=outcome.ok,
        stdout=outcome.stdout,
        stderr=outcome.stderr,
        chars_total=outcome.chars_total,
    )
    return fit_return(result, share_bytes)
