"""The model's own hands on its memory: tools that edit the agent's blocks and search its history.

They touch no storage. They take the blocks as they were read and answer with the edited ones, so that a tool's
result and what it did to memory become one commit, checked against the versions that were read. A tool that loses
there is run again on what is stored by then; one that was interrupted before the commit has done nothing. What the
model did wrong is told to it in a sentence that says what to do instead.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC
from typing import Literal

import msgspec
from msgspec import Struct

from kelpie import __version__
from kelpie.agent.block_set import BlockSet, BlockSetEdit, put_block_set
from kelpie.agent.hits import show_hits
from kelpie.agent.moments import read_moment
from kelpie.agent.patches import Unfit, apply_patch
from kelpie.errors import AlreadyExists, InvalidInput, LimitExceeded, NotFound
from kelpie.limits import (
    HISTORY_HITS_DEFAULT,
    HISTORY_HITS_MAX,
    HISTORY_QUERY_CHARS_MAX,
)
from kelpie.memory.blocks import Block, check_block, check_value, put_changed
from kelpie.memory.history import HistoryHits, HistoryQuery, MessageKind
from kelpie.storage.records import Batch, Found
from kelpie.tools.function import serve_function
from kelpie.tools.mcp_server import McpServer, ServedTool
from kelpie.tools.tool import Tool, ToolOutcome, ToolRequest

SearchHistory = Callable[[HistoryQuery], Awaitable[HistoryHits]]
SENT = "The message was sent."
FINISHED = "Noted: you are done."
_SEARCHED_KINDS: tuple[Literal["assistant", "user", "tool"], ...] = ("assistant", "user", "tool")
_UNSEARCHED = ("conversation_search",)  # a search does not find itself


class MemoryEdit(Struct, frozen=True, kw_only=True):
    """A block as it was read, and as the tool leaves it."""

    found: Found[Block]
    block: Block


AnyEdit = MemoryEdit | BlockSetEdit


class MemoryDesk(Struct, frozen=True, kw_only=True):
    """What a memory tool works on: the agent's blocks by label, in their order, as a set, and its history."""

    blocks: Mapping[str, Found[Block]]
    block_set: BlockSet
    search: SearchHistory
    now_us: int
    edited: Mapping[str, Block] = {}  # what earlier calls of the same commit left

    def __post_init__(self) -> None:
        assert all(found.value.label == label for label, found in self.blocks.items())

    def block(self, label: str) -> Block:
        """The block as this commit leaves it so far."""
        return self.edited.get(label, self.blocks[label].value)

    def with_edits(self, edits: Sequence[AnyEdit]) -> "MemoryDesk":
        """The desk for the next call whose edits go into the same commit; what changes the set is a commit's last."""
        assert all(isinstance(edit, MemoryEdit) for edit in edits)
        assert all(edit.block.label in self.blocks for edit in edits)
        edited = {**self.edited, **{edit.block.label: edit.block for edit in edits}}
        return msgspec.structs.replace(self, edited=edited)


class MemorySession:
    """One caller's desk, and the edits made at it so far."""

    def __init__(self, desk: MemoryDesk) -> None:
        self.desk = desk
        self.edits: list[AnyEdit] = []

    def write(self, label: str, value: str) -> ToolOutcome:
        """Give the block a new value, and answer with it; or say why not."""
        block = self.desk.block(label)
        refusal = _refusal(block, value)
        if refusal is not None:
            return _failed(refusal)
        if value != block.value:
            self._keep(msgspec.structs.replace(block, value=value))
        return ToolOutcome(text=value)

    def describe(self, label: str, description: str) -> None:
        """Say anew what the block is for. Raises LimitExceeded."""
        block = msgspec.structs.replace(self.desk.block(label), description=description)
        check_block(block)
        self._keep(block)

    def change_set(self, edit: BlockSetEdit) -> None:
        """Make, give up or rename a block; the only edit of its call."""
        assert not self.edits and not self.desk.edited
        self.edits.append(edit)

    def _keep(self, block: Block) -> None:
        edited = msgspec.structs.replace(block, updated_at_us=max(self.desk.now_us, block.updated_at_us))
        edit = MemoryEdit(found=self.desk.blocks[block.label], block=edited)
        self.edits.append(edit)
        self.desk = self.desk.with_edits([edit])


async def use_memory_tool(
    server: McpServer[MemorySession], request: ToolRequest, desk: MemoryDesk
) -> tuple[ToolOutcome, list[AnyEdit]]:
    """Run one of MEMORY_TOOLS; raises what `desk.search` raises. Edits are to be committed with the outcome."""
    session = MemorySession(desk)
    outcome = await server.call_tool(request.tool.name, bytes(request.arguments).decode(), session)
    assert outcome.ok or not session.edits, "what failed changed nothing"
    return outcome, session.edits


def put_edits(batch: Batch, edits: Sequence[AnyEdit], by: str | None = None) -> None:
    """Write what the edits of one commit leave: each block once, if it is still as it was read."""
    last = {edit.block.id: edit for edit in edits}
    for edit in last.values():
        if isinstance(edit, MemoryEdit):
            put_changed(batch, edit.found, edit.block, by)
        else:
            put_block_set(batch, edit, by)


def memory_server() -> McpServer[MemorySession]:
    """The MCP server of the memory tools."""
    return McpServer(
        name="kelpie-memory",
        version=__version__,
        instructions="Tools with which an agent edits its own memory blocks and searches its own conversation.",
        tools=_SERVED,
    )


async def memory(
    session: MemorySession,
    /,
    command: Literal["create", "str_replace", "insert", "delete", "rename"],
    path: str | None = None,
    file_text: str | None = None,
    description: str | None = None,
    old_string: str | None = None,
    new_string: str | None = None,
    insert_line: int | None = None,
    insert_text: str | None = None,
    old_path: str | None = None,
    new_path: str | None = None,
) -> ToolOutcome:
    """Change your memory: make, edit, rename or give up one of its blocks, each of which has a path /memories/LABEL.

    create needs path and description, and may have file_text. str_replace needs path, old_string and new_string.
    insert needs path and insert_text. delete needs path. rename needs old_path and new_path; or, to say anew what a
    block is for, path and description.

    Args:
    command: What to do.
    path: The block to make, edit, describe or give up.
    file_text: What a new block begins with; nothing if not given.
    description: What the block is for.
    old_string: Text to replace, exactly as it stands in the block, where it must occur once.
    new_string: Text to put in its place; empty to delete it.
    insert_line: Number of the line after which to insert: 0 for the beginning; the end if not given.
    insert_text: Text to insert, as lines of its own.
    old_path: The block to rename.
    new_path: Its new path.
    """
    assert not session.edits, "one call, one session"
    label = _label(session, path)
    try:
        match command:
            case "create" if path is not None and description is not None:
                return await _create(session, _strip_path(path), file_text or "", description)
            case "str_replace" if label is not None and old_string is not None and new_string is not None:
                return _replace(session, label, old_string, new_string)
            case "insert" if label is not None and insert_text is not None:
                return await memory_insert(session, label, insert_text, -1 if insert_line is None else insert_line)
            case "delete" if label is not None:
                return await _drop(session, label)
            case "rename" if label is not None and description is not None:
                return _describe(session, label, description)
            case "rename" if old_path is not None and new_path is not None:
                return await _rename(session, _label(session, old_path) or "", _strip_path(new_path).replace("/", "_"))
            case _:
                return _failed(f"Nothing was changed: {command} needs {_NEEDS[command]}.")
    except (AlreadyExists, InvalidInput, LimitExceeded, NotFound) as error:
        assert not session.edits, "what failed changed nothing"
        return _failed(f"Nothing was changed: {error.sentence}.")


async def memory_insert(session: MemorySession, /, label: str, new_string: str, insert_line: int = -1) -> ToolOutcome:
    """Insert text into one of your memory blocks as new lines, leaving what is there. Answers with the whole block.

    Args:
    label: Label of the memory block to edit.
    new_string: Text to insert; it becomes one or more lines of its own.
    insert_line: Number of the line after which to insert: 0 for the beginning, -1 (if not given) for the end.
    """
    value = _value_of(session, label)
    if isinstance(value, ToolOutcome):
        return value
    lines = value.split("\n") if value else []
    if not -1 <= insert_line <= len(lines):
        return _failed(
            f"The block '{label}' has {len(lines)} lines, so nothing can be inserted after line {insert_line}."
            f" Use a number from 0 to {len(lines)}, or -1 for the end."
        )
    at = len(lines) if insert_line == -1 else insert_line
    return session.write(label, "\n".join([*lines[:at], new_string, *lines[at:]]))


async def memory_replace(session: MemorySession, /, label: str, old_string: str, new_string: str) -> ToolOutcome:
    """Replace a piece of text in one of your memory blocks. Answers with the whole block.

    The text to replace must occur in the block exactly once: include the words around it if it would occur more often.

    Args:
    label: Label of the memory block to edit.
    old_string: Text to replace, exactly as it stands in the block, with its spaces and line breaks.
    new_string: Text to put in its place; empty to delete it.
    """
    return _replace(session, label, old_string, new_string)


async def memory_rethink(session: MemorySession, /, label: str, new_memory: str) -> ToolOutcome:
    """Rewrite one of your memory blocks as a whole, for instance to reorganise or shorten it. Answers with the block.

    What you do not repeat is lost: carry over whatever is still true and useful.

    Args:
    label: Label of the memory block to rewrite.
    new_memory: The whole new content of the block.
    """
    value = _value_of(session, label)
    return value if isinstance(value, ToolOutcome) else session.write(label, new_memory)


async def core_memory_append(session: MemorySession, /, label: str, content: str) -> ToolOutcome:
    """Add text at the end of one of your memory blocks. Answers with the whole block.

    Args:
    label: Label of the memory block to add to.
    content: Text to add, as a new line.
    """
    value = _value_of(session, label)
    if isinstance(value, ToolOutcome):
        return value
    return session.write(label, f"{value}\n{content}" if value else content)


async def core_memory_replace(session: MemorySession, /, label: str, old_content: str, new_content: str) -> ToolOutcome:
    """Replace a piece of text, which must occur exactly once, in one of your memory blocks. Answers with the block.

    Args:
    label: Label of the memory block to edit.
    old_content: Text to replace, exactly as it stands in the block.
    new_content: Text to put in its place; empty to delete it.
    """
    return _replace(session, label, old_content, new_content)


async def memory_apply_patch(session: MemorySession, /, label: str, patch: str) -> ToolOutcome:
    """Change several places of one of your memory blocks at once, by a patch. Answers with the whole block.

    Each line of the patch begins with one sign: a blank for a line that stays, - for one to take out, + for one to put
    in. A line @@ begins another place. Lines that stay or go must stand in the block exactly so, in one place only.

    Args:
    label: Label of the memory block to edit.
    patch: The patch, without line numbers.
    """
    value = _value_of(session, label)
    if isinstance(value, ToolOutcome):
        return value
    try:
        return session.write(label, apply_patch(value, patch))
    except Unfit as unfit:
        return _failed(f"The block '{label}' was not changed. {unfit}")


async def conversation_search(
    session: MemorySession,
    /,
    query: str | None = None,
    roles: list[Literal["assistant", "user", "tool"]] | None = None,
    limit: int | None = None,
    start_date: str | None = None,
    end_date: str | None = None,
) -> ToolOutcome:
    """Search your whole conversation, also what you no longer see. Answers with the newest matches first.

    A message matches when it contains every word of the query. All times are UTC unless they name an offset.

    Args:
    query: Words to look for; without it, every message that fits the other arguments matches.
    roles: Whose messages to search; everybody's if not given.
    limit: How many messages to answer with at most.
    start_date: Only messages of this time or later: YYYY-MM-DD for the whole day, or YYYY-MM-DDTHH:MM.
    end_date: Only messages of this time or earlier: YYYY-MM-DD for the whole day, or YYYY-MM-DDTHH:MM.
    """
    text = query or ""
    wanted = HISTORY_HITS_DEFAULT if limit is None else limit
    if len(text) > HISTORY_QUERY_CHARS_MAX:
        return _failed(f"The query has {len(text)} characters; use at most {HISTORY_QUERY_CHARS_MAX}.")
    if not 1 <= wanted <= HISTORY_HITS_MAX:
        return _failed(f"limit is {wanted}; use a number from 1 to {HISTORY_HITS_MAX}.")
    kinds: tuple[MessageKind, ...] = tuple(dict.fromkeys(roles or _SEARCHED_KINDS))
    try:
        from_us = read_moment("start_date", start_date, UTC, end_of_day=False)
        to_us = read_moment("end_date", end_date, UTC, end_of_day=True)
    except InvalidInput as error:
        return _failed(error.sentence)
    asked = HistoryQuery(text=text, kinds=kinds, from_us=from_us, to_us=to_us, limit=wanted, skip_tools=_UNSEARCHED)
    hits = await session.desk.search(asked)
    assert len(hits.messages) <= wanted, "a searcher keeps to the limit"
    assert all(message.kind in kinds for message in hits.messages)
    return ToolOutcome(text=show_hits(hits, text.casefold().split(), _UNSEARCHED))


async def send_message(session: MemorySession, /, message: str) -> ToolOutcome:
    """Say something to the user. It is the only way in which the user hears from you.

    Args:
    message: What to say, in full; all characters are understood.
    """
    assert session.desk.now_us >= 0
    return _failed("The message is empty; say something.") if not message.strip() else ToolOutcome(text=SENT)


async def memory_finish_edits(session: MemorySession, /) -> ToolOutcome:
    """Say that your memory blocks are as they should be. Call it when you are done with editing them."""
    return ToolOutcome(text=FINISHED)


async def rethink_user_memory(session: MemorySession, /, new_memory: str) -> ToolOutcome:
    """Rewrite what you remember of the user, the block 'human', as a whole. Answers with the block.

    What you do not repeat is lost: carry over whatever is still true and useful.

    Args:
    new_memory: The whole new content of the block.
    """
    value = _value_of(session, "human")
    return value if isinstance(value, ToolOutcome) else session.write("human", new_memory)


async def finish_rethinking_memory(session: MemorySession, /) -> ToolOutcome:
    """Say that what you remember of the user is as it should be. Call it when you are done with rewriting it."""
    return ToolOutcome(text=FINISHED)


def _strip_path(path: str) -> str:
    return path.removeprefix("/memories/").removeprefix("/")


def _label(session: MemorySession, path: str | None) -> str | None:
    """The label that a path names: as it is, or, if no block is called so, with its slashes as underscores."""
    if path is None:
        return None
    label = _strip_path(path)
    return label if label in session.desk.blocks else label.replace("/", "_")


async def _create(session: MemorySession, label: str, value: str, description: str) -> ToolOutcome:
    session.change_set(await session.desk.block_set.create(label, value, description))
    return ToolOutcome(text=f"The block '{label}' was made. You see it among your memory blocks from now on.")


async def _drop(session: MemorySession, label: str) -> ToolOutcome:
    value = _value_of(session, label)
    if isinstance(value, ToolOutcome):
        return value
    session.change_set(await session.desk.block_set.drop(session.desk.block(label)))
    return ToolOutcome(text=f"The block '{label}' is no longer among your memory blocks.")


async def _rename(session: MemorySession, label: str, new_label: str) -> ToolOutcome:
    value = _value_of(session, label)
    if isinstance(value, ToolOutcome):
        return value
    edit = await session.desk.block_set.rename(session.desk.blocks[label], new_label, session.desk.now_us)
    session.change_set(edit)
    return ToolOutcome(text=f"The block '{label}' has the label '{new_label}' from now on.")


def _describe(session: MemorySession, label: str, description: str) -> ToolOutcome:
    value = _value_of(session, label)
    if isinstance(value, ToolOutcome):
        return value
    session.describe(label, description)
    return ToolOutcome(text=f"The block '{label}' has its new description.")


def _value_of(session: MemorySession, label: str) -> str | ToolOutcome:
    """The value of a block that the model may edit, or why it may not."""
    if label not in session.desk.blocks:
        labels = ", ".join(session.desk.blocks) or "none"
        return _failed(f"You have no memory block with the label '{label[:80]}'. The labels of your blocks: {labels}.")
    block = session.desk.block(label)
    if block.read_only:
        return _failed(f"The block '{label}' is read-only: you cannot edit it. Use another block.")
    return block.value


def _replace(session: MemorySession, label: str, old: str, new: str) -> ToolOutcome:
    value = _value_of(session, label)
    if isinstance(value, ToolOutcome):
        return value
    if not old:
        return _failed("The text to replace is empty. To add text, insert it instead.")
    count = value.count(old)
    if count == 1:
        return session.write(label, value.replace(old, new))
    if count == 0:
        problem = "does not contain that text, so nothing was replaced. Copy it exactly as it stands in the block."
    else:
        problem = f"contains that text {count} times, so nothing was replaced. Include more of the text around it."
    return _failed(f"The block '{label}' {problem}")


def _refusal(block: Block, value: str) -> str | None:
    """Why the value may not be written. One that is over the limit may at least be made shorter."""
    size = len(value)
    if size > block.limit_chars and size >= len(block.value):
        return (
            f"The block '{block.label}' may have {block.limit_chars} characters and would have {size}, so it was not"
            f" changed. Leave out {size - block.limit_chars} characters, or shorten what is there first."
        )
    try:
        check_value(value)
    except LimitExceeded as error:
        return f"The block '{block.label}' was not changed: {error.sentence}. Write less."
    return None


def _failed(sentence: str) -> ToolOutcome:
    return ToolOutcome(text=sentence, ok=False)


_NEEDS = {
    "create": "path and description",
    "str_replace": "path, old_string and new_string",
    "insert": "path and insert_text",
    "delete": "path",
    "rename": "old_path and new_path, or path and description",
}
_SERVED: tuple[ServedTool[MemorySession], ...] = (
    serve_function(memory_insert, MemorySession, kind="sleeptime", title="Insert into memory"),
    serve_function(memory_replace, MemorySession, kind="sleeptime", title="Replace in memory", destructive=True),
    serve_function(
        memory_rethink, MemorySession, kind="sleeptime", title="Rewrite memory", destructive=True, idempotent=True
    ),
    serve_function(memory, MemorySession, kind="memory_core", title="Change memory", destructive=True),
    serve_function(memory_apply_patch, MemorySession, kind="memory_core", title="Patch memory", destructive=True),
    serve_function(core_memory_append, MemorySession, kind="memory_core", title="Append to memory"),
    serve_function(core_memory_replace, MemorySession, kind="memory_core", title="Replace in memory", destructive=True),
    serve_function(
        conversation_search,
        MemorySession,
        kind="core",
        title="Search the conversation",
        read_only=True,
        idempotent=True,
    ),
    serve_function(send_message, MemorySession, kind="core", title="Say something"),
    serve_function(memory_finish_edits, MemorySession, kind="sleeptime", title="Finish editing", idempotent=True),
    serve_function(
        rethink_user_memory, MemorySession, kind="voice_sleeptime", title="Rewrite what is known of the user"
    ),
    serve_function(
        finish_rethinking_memory, MemorySession, kind="voice_sleeptime", title="Finish rewriting", idempotent=True
    ),
)
MEMORY_TOOLS: tuple[Tool, ...] = tuple(served.tool for served in _SERVED)
"""All memory tools, in a stable order."""
