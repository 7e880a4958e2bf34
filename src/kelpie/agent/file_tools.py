"""The model's own hands on the files of its folders: open some, look for a pattern, look for a meaning."""

import fnmatch
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from kelpie.agent.file_desk import FileDesk
from kelpie.agent.state import AGENTS, AgentSettings
from kelpie.errors import KelpieError, NotFound
from kelpie.ids import AgentId, FileId
from kelpie.limits import FILE_SEARCH_CHARS_MAX, GREP_MATCHES_MAX, GREP_MS_MAX, GREP_PATTERN_CHARS_MAX
from kelpie.memory.archive import Embedder
from kelpie.memory.folders import File, Folder
from kelpie.memory.passages import FoundPassage, Passages
from kelpie.memory.search_index import Wanted
from kelpie.sandbox.sandbox import Job, Sandbox
from kelpie.storage.records import Records
from kelpie.tools.function import ServedBox, builtin_tool_id, serve_function
from kelpie.tools.tool import ToolOutcome

FOUND_MAX = 20
GREP_TEXT_CHARS_MAX = 8_000_000  # of all files that one call looks through
CONTEXT_LINES_MAX = 10
FILE_TOOLS = tuple(builtin_tool_id(name) for name in ("open_files", "grep_files", "semantic_search_files"))


class FileRequest(Struct, frozen=True, kw_only=True):
    """One file to open."""

    file_name: Annotated[str, Meta(description="The file's name as your folders show it: folder/file.")]
    offset: Annotated[int | None, Meta(description="How many lines to leave out at its beginning.")] = None
    length: Annotated[int | None, Meta(description="How many lines to show.")] = None


class FilesAt(Struct, frozen=True, kw_only=True):
    """What a file tool works with: the rooms, and who calls."""

    desk: FileDesk
    records: Records
    passages: Passages
    embedder: Embedder
    sandbox: Sandbox
    agent_id: AgentId


class Grepped(Struct, frozen=True, kw_only=True):
    """What came of looking for a pattern: name, line, and the lines around it."""

    ok: bool
    error: str = ""
    matches: tuple[tuple[str, int, tuple[tuple[int, str], ...]], ...] = ()
    total: int = 0


_GREPPED = msgspec.json.Decoder(Grepped)


def file_box(
    desk: FileDesk, records: Records, passages: Passages, embedder: Embedder, sandbox: Sandbox
) -> ServedBox[FilesAt]:
    """The file tools."""
    shared = {"desk": desk, "records": records, "passages": passages, "embedder": embedder, "sandbox": sandbox}
    functions = (
        (open_files, "Open files", False),
        (grep_files, "Search files for a pattern", True),
        (semantic_search_files, "Search files by meaning", True),
    )
    served = [
        serve_function(function, FilesAt, kind="files", title=title, read_only=read_only, idempotent=True)
        for function, title, read_only in functions
    ]
    return ServedBox(served, lambda request: FilesAt(agent_id=request.agent_id, **shared))


async def open_files(
    files: FilesAt, /, file_requests: list[FileRequest], close_all_others: bool = False
) -> ToolOutcome:
    """Open files of your folders, or parts of them, so that their lines stand before you from now on.

    Only so many files are open at once; opening more closes those that you have not used for longest.

    Args:
    file_requests: Which files, and which of their lines; without offset and length from the beginning.
    close_all_others: Whether all other files are to be closed.
    """
    if not file_requests:
        return ToolOutcome(text="file_requests is empty: name at least one file.", ok=False)
    named = [(request, await _named(files, request.file_name)) for request in file_requests]
    unknown = [request.file_name for request, found in named if found is None]
    if unknown:
        return ToolOutcome(text=await _unknown(files, unknown), ok=False)
    wanted = [found for _, found in named if found is not None]
    if close_all_others:
        keep = {file.id for file in wanted}
        others = [one.file.id for one in await files.desk.files_of(await _settings(files)) if one.state.is_open]
        await files.desk.close(files.agent_id, [file_id for file_id in others if file_id not in keep])
    closed: dict[str, str] = {}
    for (request, _), file in zip(named, wanted, strict=True):
        first = None if request.offset is None else request.offset + 1
        last = None if request.length is None else (first or 1) + request.length - 1
        if (first or 1) < 1 or (last is not None and last < (first or 1)):
            return ToolOutcome(text="offset is 0 or more, and length is 1 or more.", ok=False)
        for one in await files.desk.open(files.agent_id, file.id, first, last):
            closed[one.id] = one.name
    assert len(wanted) == len(file_requests)
    assert not closed.keys() & {file.id for file in wanted[-1:]}, "what was opened last is open"
    said = f"Open now: {', '.join(request.file_name for request in file_requests)}."
    return ToolOutcome(text=said + (f" Closed to make room: {', '.join(closed.values())}." if closed else ""))


async def grep_files(
    files: FilesAt,
    /,
    pattern: str,
    include: str | None = None,
    context_lines: int | None = 1,
    offset: int | None = None,
) -> ToolOutcome:
    """Look for a regular expression in the lines of all your files, in upper and lower case alike.

    Args:
    pattern: The regular expression.
    include: Only files whose names match this pattern of a shell, such as *.py.
    context_lines: How many lines to show before and after each match.
    offset: How many matches to leave out, to see further ones.
    """
    around, skip = context_lines or 0, offset or 0
    if not 0 < len(pattern) <= GREP_PATTERN_CHARS_MAX or not 0 <= around <= CONTEXT_LINES_MAX or skip < 0:
        text = f"pattern has 1 to {GREP_PATTERN_CHARS_MAX} characters, context_lines is 0 to {CONTEXT_LINES_MAX}."
        return ToolOutcome(text=text, ok=False)
    texts: list[tuple[str, str]] = []
    left_out: list[str] = []
    room = GREP_TEXT_CHARS_MAX
    for name, file in await _all(files):
        if include is not None and not (fnmatch.fnmatch(file.name, include) or fnmatch.fnmatch(name, include)):
            continue
        if file.text_chars > room:
            left_out.append(name)
            continue
        room -= file.text_chars
        texts.append((name, await files.desk.folders.text(file)))
    given = {"pattern": pattern, "texts": texts, "context_lines": around, "skip": skip, "matches_max": GREP_MATCHES_MAX}
    job = Job(program="grep_texts", input=msgspec.json.encode(given), deadline_ms=GREP_MS_MAX)
    ended = await files.sandbox.run(job)
    if ended.result is None:
        text = f"The search did not end within {GREP_MS_MAX // 1000} s: {ended.died}. Use a simpler pattern."
        return ToolOutcome(text=text, ok=False)
    found = _GREPPED.decode(ended.result)
    if not found.ok:
        return ToolOutcome(text=found.error, ok=False)
    assert len(found.matches) <= GREP_MATCHES_MAX
    assert len(found.matches) <= found.total
    return ToolOutcome(text=_tell_matches(found, skip, len(texts), left_out))


async def semantic_search_files(files: FilesAt, /, query: str, limit: int = 5) -> ToolOutcome:
    """Look for a meaning in all your files: passages that say what you look for, in whatever words, the best first.

    Args:
    query: What you look for, in your own words.
    limit: How many passages to show at most.
    """
    if not query.strip() or not 1 <= limit <= FOUND_MAX:
        return ToolOutcome(text=f"query is not empty, and limit is 1 to {FOUND_MAX}.", ok=False)
    hits: list[tuple[Folder, FoundPassage]] = []
    files_by_id: dict[FileId | None, str] = {file.id: name for name, file in await _all(files)}
    try:
        for folder in await files.desk.folders_of(await _settings(files)):
            vector = (await files.embedder.embed(folder.embedding, [query]))[0]
            wanted = Wanted(text=query, vector=vector, limit=limit * 2)
            hits += [(folder, hit) for hit in await files.passages.search(folder.id, wanted)]
    except KelpieError as error:
        return ToolOutcome(text=error.sentence, ok=False)
    there = [(folder, hit) for folder, hit in hits if hit.passage.file_id in files_by_id]
    there.sort(key=lambda pair: (-pair[1].hit.score, pair[1].passage.id))
    if not there:
        return ToolOutcome(text="Nothing was found.")
    chars_max = FILE_SEARCH_CHARS_MAX // limit
    shown = [_tell_passage(files_by_id, hit, chars_max) for _, hit in there[:limit]]
    assert len(shown) <= limit
    assert all(shown), "a passage is never empty"
    return ToolOutcome(text="\n\n".join(shown))


async def _settings(files: FilesAt) -> AgentSettings:
    found = await files.records.get(AGENTS.at(files.agent_id))
    if found is None:
        raise NotFound(f"Agent with id '{files.agent_id}' not found", agent_id=files.agent_id)
    return found.value


async def _all(files: FilesAt) -> list[tuple[str, File]]:
    """Every file of the agent's folders, under the name that the model knows it by."""
    return [
        (f"{one.folder.name}/{one.file.name}", one.file) for one in await files.desk.files_of(await _settings(files))
    ]


async def _named(files: FilesAt, name: str) -> File | None:
    """The file that is meant: by folder and name, or by its name alone where that is unique."""
    everything = await _all(files)
    exact = [file for known, file in everything if known == name]
    alone = [file for _, file in everything if file.name == name]
    return exact[0] if exact else alone[0] if len(alone) == 1 else None


async def _unknown(files: FilesAt, names: list[str]) -> str:
    known = [name for name, _ in await _all(files)][:50]
    return f"There is no file {', '.join(names)}. Your files: {', '.join(known) or 'none'}."


def _tell_matches(found: Grepped, skip: int, looked: int, left_out: list[str]) -> str:
    lines = [f"{found.total} matches in {looked} files."]
    if found.matches:
        lines[0] += f" Shown: {skip + 1} to {skip + len(found.matches)}."
    for name, line, around in found.matches:
        lines.append(f"{name}:{line}")
        lines += [f"{'>' if number == line else ' '} {number}: {text}" for number, text in around]
    if skip + len(found.matches) < found.total:
        lines.append(f"For further ones: offset {skip + len(found.matches)}.")
    if left_out:
        lines.append(f"Not looked through, for it is too much at once: {', '.join(left_out)}. Use include.")
    return "\n".join(lines)


def _tell_passage(names: Mapping[FileId | None, str], hit: FoundPassage, chars_max: int) -> str:
    text = hit.passage.text
    if len(text) > chars_max:
        text = f"{text[:chars_max]} [... {len(text)} characters in all]"
    return f"{names[hit.passage.file_id]}:\n{text}"
