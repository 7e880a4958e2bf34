"""The folders and files of an agent: given, taken, listed, opened, closed."""

from typing import Any, Literal

import msgspec
from msgspec import Struct

from kelpie.agent.file_desk import AgentFile
from kelpie.api.errors import Malformed
from kelpie.api.letta.agent_shapes import AGENT_SHAPES, AgentOut, show_agent
from kelpie.api.letta.folder_shapes import AgentFilesOut, FolderOut, show_agent_file, show_known_folder
from kelpie.api.letta.house import House
from kelpie.api.letta.paging import Order, PageLimit
from kelpie.api.route import Ask, Route
from kelpie.ids import AgentId, FileId, FolderId
from kelpie.limits import FOLDERS_PER_AGENT_MAX


class PageOfFolders(Struct, frozen=True, kw_only=True):
    """Which page of an agent's folders."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = 100
    order: Order = "desc"
    order_by: Literal["created_at"] = "created_at"


class PageOfFiles(Struct, frozen=True, kw_only=True):
    """Which page of an agent's files; `cursor` is an older word for `after`."""

    before: str | None = None
    after: str | None = None
    cursor: str | None = None
    limit: PageLimit | None = 100
    order: Order = "desc"
    order_by: Literal["created_at"] = "created_at"
    is_open: bool | None = None


async def list_folders(house: House, ask: Ask[PageOfFolders, None]) -> list[FolderOut]:
    """The agent's folders."""
    settings = await house.roster.get_settings(AgentId(ask.path["agent_id"]))
    folders = await house.files.folders_of(settings)
    folders.sort(key=lambda folder: (folder.created_at_us, folder.id), reverse=ask.query.order == "desc")
    ids: list[str] = [folder.id for folder in folders]
    start, end = _between(ids, ask.query.after, ask.query.before)
    limit = ask.query.limit or FOLDERS_PER_AGENT_MAX
    return [await show_known_folder(house, folder) for folder in folders[start:end][:limit]]


async def attach_folder(house: House, ask: Ask[None, None]) -> AgentOut:
    """Give the agent a folder."""
    agent_id = AgentId(ask.path["agent_id"])
    await house.files.attach(agent_id, _folder_id(ask))
    return await show_agent(house, await house.roster.get(agent_id))


async def detach_folder(house: House, ask: Ask[None, None]) -> AgentOut:
    """Take a folder from the agent."""
    agent_id = AgentId(ask.path["agent_id"])
    await house.files.detach(agent_id, _folder_id(ask))
    return await show_agent(house, await house.roster.get(agent_id))


async def list_files(house: House, ask: Ask[PageOfFiles, None]) -> AgentFilesOut:
    """A page of the agent's files, with what it sees of those that are open."""
    settings = await house.roster.get_settings(AgentId(ask.path["agent_id"]))
    query = ask.query
    views = {one.file.id: one.view for one in await house.files.open_files(settings)}
    files = [one for one in await house.files.files_of(settings) if query.is_open in (None, one.state.is_open)]
    if query.order == "asc":
        files.reverse()
    ids = [one.id for one in files]
    after = query.after or query.cursor
    for field, cursor in (("after", after), ("before", query.before)):
        if cursor is not None and not cursor.startswith("file_agent-"):
            raise Malformed(f"'{cursor[:80]}' is no file of an agent", place=("query", field))
    start, end = _between(ids, after, query.before)
    limit = query.limit or 100
    page = files[start:end]
    return AgentFilesOut(
        files=[show_agent_file(_viewed(one, views)) for one in page[:limit]],
        next_cursor=page[:limit][-1].id if page else None,
        has_more=len(page) > limit,
    )


async def open_file(house: House, ask: Ask[None, None]) -> list[str]:
    """Open a file for the agent; the names of those that were closed to make room."""
    closed = await house.files.open(AgentId(ask.path["agent_id"]), FileId(ask.path["file_id"]))
    return [file.name for file in closed]


async def close_file(house: House, ask: Ask[None, None]) -> None:
    """Close a file for the agent."""
    await house.files.close(AgentId(ask.path["agent_id"]), [FileId(ask.path["file_id"])])


async def close_all(house: House, ask: Ask[None, None]) -> list[str]:
    """Close all files of the agent; the names of those that were open."""
    return [file.name for file in await house.files.close(AgentId(ask.path["agent_id"]), None)]


def _viewed(one: AgentFile, views: dict[FileId, str]) -> AgentFile:
    return msgspec.structs.replace(one, view=views.get(one.file.id, ""))


def _folder_id(ask: Ask[Any, Any]) -> FolderId:
    return FolderId(ask.path.get("folder_id") or ask.path["source_id"])


def _between(ids: list[str], after: str | None, before: str | None) -> tuple[int, int]:
    start = ids.index(after) + 1 if after in ids else 0
    end = ids.index(before) if before in ids else len(ids)
    return start, end


def _both(method: Any, path: str, names: tuple[str, str], summary: str, handler: Any, **fields: Any) -> list[Route]:
    """An operation under both names of folders; the older one is deprecated."""
    return [
        Route(
            method=method, path=f"/v1/agents/{{agent_id}}/{path.format(word)}", name=name, summary=summary,
            tag="agents", handler=handler, refusals=(404, 409), deprecated=word == "source", **fields,
        )
        for word, name in zip(("folder", "source"), names, strict=True)
    ]  # fmt: skip


def _file(method: Any, path: str, name: str, summary: str, handler: Any, answer: Any, **fields: Any) -> Route:
    return Route(
        method=method, path=f"/v1/agents/{{agent_id}}/files{path}", name=name, summary=summary, tag="agents",
        handler=handler, answer=answer, refusals=(404,), **fields,
    )  # fmt: skip


AGENT: dict[str, Any] = {"answer": AgentOut, "shapes": AGENT_SHAPES}
ROUTES = (
    *_both("GET", "{}s", ("list_folders_for_agent", "list_agent_sources"), "List the folders of an agent", list_folders,
           query=PageOfFolders, answer=list[FolderOut]),
    *_both("PATCH", "{0}s/attach/{{{0}_id}}", ("attach_folder_to_agent", "attach_source_to_agent"),
           "Give an agent a folder", attach_folder, **AGENT),
    *_both("PATCH", "{0}s/detach/{{{0}_id}}", ("detach_folder_from_agent", "detach_source_from_agent"),
           "Take a folder from an agent", detach_folder, **AGENT),
    _file("GET", "", "list_files_for_agent", "List the files of an agent", list_files, AgentFilesOut,
          query=PageOfFiles),
    _file("PATCH", "/close-all", "close_all_files_for_agent", "Close all files of an agent", close_all, list[str]),
    _file("PATCH", "/{file_id}/open", "open_file_for_agent", "Open a file for an agent", open_file, list[str]),
    _file("PATCH", "/{file_id}/close", "close_file_for_agent", "Close a file for an agent", close_file, None),
)  # fmt: skip
