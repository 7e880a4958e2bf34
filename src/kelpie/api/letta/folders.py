"""Folders: made, listed, counted, changed, removed; their files uploaded, read and removed. Sources are the same."""

import mimetypes
from typing import Any, Literal

from msgspec import Struct

from kelpie.api.form import Form, Upload
from kelpie.api.letta.folder_shapes import (
    AllStatsOut,
    Duplicates,
    FileOut,
    FileStatsOut,
    FolderEdit,
    FolderIn,
    FolderOut,
    FolderStatsOut,
    read_changes,
    show_file,
    show_known_folder,
)
from kelpie.api.letta.house import House
from kelpie.api.letta.models import EmbeddingConfigOut
from kelpie.api.letta.paging import Order, PageLimit, read_page
from kelpie.api.letta.passage_shapes import PassageOut, show_passages
from kelpie.api.route import Ask, Route
from kelpie.errors import AlreadyExists, InvalidInput, NotFound
from kelpie.ids import FileId, FolderId
from kelpie.limits import FILE_CHUNK_TOKENS_DEFAULT, PAGE_ROWS_MAX, UPLOAD_BYTES_MAX
from kelpie.memory.folders import File, Folder, check_file_name
from kelpie.storage.paging import Page

NAMES_TRIED_MAX = 1_000
PLAIN = "text/plain"


class ListFolders(Struct, frozen=True, kw_only=True):
    """Which page of the folders."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = 50
    order: Order = "asc"
    order_by: Literal["created_at"] = "created_at"
    name: str | None = None


class PageOfFolder(Struct, frozen=True, kw_only=True):
    """Which page of what a folder has."""

    before: str | None = None
    after: str | None = None
    limit: PageLimit | None = None
    order: Order = "desc"
    order_by: Literal["created_at"] = "created_at"
    include_content: bool = False
    check_status_updates: bool = True  # said by clients; the status is always that of now


class FileQuery(Struct, frozen=True, kw_only=True):
    """Whether the text is wanted, too."""

    include_content: bool = False


class UploadQuery(Struct, frozen=True, kw_only=True):
    """What to do when the folder has a file of that name, and the name, if not the file's own."""

    duplicate_handling: Duplicates = "suffix"
    name: str | None = None


class StatsQuery(Struct, frozen=True, kw_only=True):
    """Whether each folder and file is wanted."""

    include_detailed_per_source_metadata: bool = False


async def create_folder(house: House, ask: Ask[None, FolderIn]) -> FolderOut:
    """A new folder."""
    config = ask.body.embedding_config or {}
    given = config.get("handle")
    info = await house.embeddings.find(ask.body.embedding or (given if isinstance(given, str) else None))
    size = ask.body.embedding_chunk_size or config.get("embedding_chunk_size")
    tokens = size if isinstance(size, int) and size > 0 else FILE_CHUNK_TOKENS_DEFAULT
    folder = await house.folders.create(ask.body.name, info.handle, tokens, read_changes(ask.body))
    return await show_known_folder(house, folder)


async def list_folders(house: House, ask: Ask[ListFolders, None]) -> list[FolderOut]:
    """A page of folders, the oldest first unless asked otherwise."""
    query = ask.query
    page = read_page(
        "source", before=query.before, after=query.after, limit=query.limit, order=query.order, limit_default=50
    )
    folders = await house.folders.all.page(page, lambda folder: query.name in (None, folder.name))
    return [await show_known_folder(house, folder) for folder in folders]


async def list_sources(house: House, ask: Ask[None, None]) -> list[FolderOut]:
    """Every folder, in the older words. LimitExceeded where there are more than one page holds."""
    folders = await house.folders.all.page(Page(limit=PAGE_ROWS_MAX, newest_first=False))
    return [await show_known_folder(house, folder) for folder in folders]


async def count_folders(house: House, ask: Ask[None, None]) -> int:
    """How many folders there are."""
    return await house.folders.all.count()


async def count_all(house: House, ask: Ask[StatsQuery, None]) -> AllStatsOut:
    """How much there is in all folders."""
    folders = await house.folders.all.page(Page(limit=PAGE_ROWS_MAX, newest_first=False))
    counted: list[FolderStatsOut] = []
    for folder in folders:
        files = await house.folders.page(folder.id, Page(limit=PAGE_ROWS_MAX, newest_first=False))
        counted.append(
            FolderStatsOut(
                source_id=folder.id,
                source_name=folder.name,
                file_count=len(files),
                total_size=sum(file.size_bytes for file in files),
                files=[FileStatsOut(file_id=file.id, file_name=file.name, file_size=file.size_bytes) for file in files],
            )
        )
    return AllStatsOut(
        total_sources=len(counted),
        total_files=sum(one.file_count for one in counted),
        total_size=sum(one.total_size for one in counted),
        sources=counted if ask.query.include_detailed_per_source_metadata else [],
    )


async def find_by_name(house: House, ask: Ask[None, None]) -> str:
    """The id of the folder of a name."""
    name = ask.path.get("folder_name") or ask.path["source_name"]
    found = await house.folders.all.find_named(name)
    if found is None:
        raise NotFound(f"Folder with name '{name[:200]}' not found", name=name[:200])
    return found.value.id


async def retrieve_folder(house: House, ask: Ask[None, None]) -> FolderOut:
    """One folder."""
    return await show_known_folder(house, await _folder(house, ask))


async def modify_folder(house: House, ask: Ask[None, FolderEdit]) -> FolderOut:
    """Change a folder; what its texts are embedded with stays as it is."""
    folder = await _folder(house, ask)
    handle = (ask.body.embedding_config or {}).get("handle")
    if handle not in (None, folder.embedding):
        raise InvalidInput(
            f"embedding_config: the passages of a folder are embedded with '{folder.embedding}' for good",
            field="embedding_config",
        )
    return await show_known_folder(house, await house.folders.edit(folder.id, read_changes(ask.body)))


async def delete_folder(house: House, ask: Ask[None, None]) -> None:
    """Take a folder from every agent, and remove it with its files."""
    await house.files.delete_folder((await _folder(house, ask)).id)


async def list_folder_agents(house: House, ask: Ask[PageOfFolder, None]) -> list[str]:
    """The ids of the agents that have the folder."""
    ids = await house.folders.agents.rights_of((await _folder(house, ask)).id)
    if ask.query.order == "desc":
        ids.reverse()
    start = ids.index(ask.query.after) + 1 if ask.query.after in ids else 0
    end = ids.index(ask.query.before) if ask.query.before in ids else len(ids)
    return ids[start:end][: ask.query.limit or 50]


async def list_source_agents(house: House, ask: Ask[None, None]) -> list[str]:
    """The ids of the agents that have the folder, in the older words."""
    return await house.folders.agents.rights_of((await _folder(house, ask)).id)


async def list_folder_passages(house: House, ask: Ask[PageOfFolder, None]) -> list[PassageOut]:
    """A page of the passages that the folder's files were cut into."""
    folder = await _folder(house, ask)
    query = ask.query
    page = read_page(
        "passage", before=query.before, after=query.after, limit=query.limit, order=query.order, limit_default=100
    )
    return await show_passages(house, await house.passages.page(folder.id, page), folder.embedding)


async def list_files(house: House, ask: Ask[PageOfFolder, None]) -> list[FileOut]:
    """A page of the folder's files."""
    folder = await _folder(house, ask)
    query = ask.query
    page = read_page(
        "file", before=query.before, after=query.after, limit=query.limit, order=query.order, limit_default=1_000
    )
    files = await house.folders.page(folder.id, page)
    return [show_file(file, await _content(house, file, query.include_content)) for file in files]


async def retrieve_file(house: House, ask: Ask[FileQuery, None]) -> FileOut:
    """One file."""
    folder = await _folder(house, ask)
    file = await house.folders.file(folder.id, FileId(ask.path["file_id"]))
    return show_file(file, await _content(house, file, ask.query.include_content))


async def upload_file(house: House, ask: Ask[UploadQuery, Form]) -> FileOut:
    """Accept a file; its text is read and embedded afterwards."""
    folder = await _folder(house, ask)
    upload = ask.body.file("file")
    name = ask.query.name or upload.name.rpartition("/")[2].rpartition("\\")[2]
    check_file_name(name)
    if not upload.content:
        raise InvalidInput(f"the file '{name}' is empty", field="file")
    handling = ask.query.duplicate_handling
    existing = await house.folders.named(folder.id, name)
    if existing is not None and handling == "skip":
        return show_file(existing, folder_name=folder.name)
    if existing is not None and handling == "error":
        raise InvalidInput(f"File '{name}' already exists in folder '{folder.name}'", field="duplicate_handling")
    if existing is not None and handling == "replace":
        await house.folders.hide(existing.id)
    file = await _stored(house, folder, name, upload, suffix=handling == "suffix")
    await house.door.nudge(file.id)
    for agent_id in await house.folders.agents.rights_of(folder.id):
        await house.files.open_if_there(agent_id, file.id)
    return show_file(file, folder_name=folder.name)


async def delete_file(house: House, ask: Ask[None, None]) -> None:
    """Remove a file with its passages."""
    folder = await _folder(house, ask)
    file = await house.folders.file(folder.id, FileId(ask.path["file_id"]))
    await house.folders.hide(file.id)
    await house.door.nudge(file.id)


async def _stored(house: House, folder: Folder, name: str, upload: Upload, *, suffix: bool) -> File:
    """The stored file, under the first free name if others may be tried."""
    media_type = upload.content_type or mimetypes.guess_type(upload.name)[0] or PLAIN
    stem, dot, ending = name.rpartition(".")
    for number in range(NAMES_TRIED_MAX):
        tried = name if number == 0 else f"{stem}_({number}){dot}{ending}" if stem else f"{name}_({number})"
        if number and await house.folders.named(folder.id, tried) is not None:
            continue
        try:
            return await house.folders.store(folder, tried, upload.name or name, media_type, upload.content)
        except AlreadyExists:
            if not suffix:
                raise
    raise AlreadyExists(f"there are {NAMES_TRIED_MAX} files named like '{name}' in the folder", name=name)


async def _folder(house: House, ask: Ask[Any, Any]) -> Folder:
    folder_id = ask.path.get("folder_id") or ask.path["source_id"]
    return (await house.folders.all.get(FolderId(folder_id))).value


async def _content(house: House, file: File, wanted: bool) -> str | None:
    return await house.folders.text(file) if wanted else None


def _routes(root: str, one: str, names: dict[str, str], **older: Any) -> tuple[Route, ...]:
    """The operations that folders and sources share; `names` are the operation ids by what is done."""

    def route(method: Any, path: str, deed: str, summary: str, handler: Any, answer: Any, **fields: Any) -> Route:
        given = {**older, **fields}
        return Route(
            method=method, path=f"{root}{path}", name=names[deed], summary=summary, tag=root.rpartition("/")[2],
            handler=handler, answer=answer, **given,
        )  # fmt: skip

    item = f"/{{{one}_id}}"
    return (
        route("POST", "/", "create", "Create a folder", create_folder, FolderOut, body=FolderIn,
              refusals=(400, 404, 409)),
        route("GET", "/count", "count", "Count folders", count_folders, int),
        route("GET", "/metadata", "stats", "How much there is in all folders", count_all, AllStatsOut,
              query=StatsQuery),
        route("GET", f"/name/{{{one}_name}}", "by_name", "Find a folder by name", find_by_name, str,
              **({} if older else {"deprecated": True}), refusals=(404,)),
        route("GET", item, "retrieve", "Read a folder", retrieve_folder, FolderOut, refusals=(404,)),
        route("PATCH", item, "modify", "Change a folder", modify_folder, FolderOut, body=FolderEdit,
              refusals=(400, 404, 409)),
        route("DELETE", item, "delete", "Remove a folder with its files", delete_folder, None, refusals=(404, 409)),
        route("GET", f"{item}/passages", "passages", "List the passages of a folder", list_folder_passages,
              list[PassageOut], query=PageOfFolder, shapes=(EmbeddingConfigOut,), refusals=(404,)),
        route("GET", f"{item}/files", "files", "List the files of a folder", list_files, list[FileOut],
              query=PageOfFolder, refusals=(404,)),
        route("GET", f"{item}/files/{{file_id}}", "file", "Read a file", retrieve_file, FileOut, query=FileQuery,
              refusals=(404,)),
        route("POST", f"{item}/upload", "upload", "Upload a file", upload_file, FileOut, query=UploadQuery, form=True,
              body_bytes_max=UPLOAD_BYTES_MAX, refusals=(400, 404, 409, 413)),
        route("DELETE", f"{item}/{{file_id}}", "delete_file", "Remove a file", delete_file, None, status=204,
              refusals=(404,)),
    )  # fmt: skip


FOLDER_NAMES = {
    "create": "create_folder", "count": "count_folders", "stats": "retrieve_metadata", "by_name": "get_folder_by_name",
    "retrieve": "retrieve_folder", "modify": "modify_folder", "delete": "delete_folder",
    "passages": "list_folder_passages", "files": "list_files_for_folder", "file": "retrieve_file",
    "upload": "upload_file_to_folder", "delete_file": "delete_file_from_folder",
}  # fmt: skip
SOURCE_NAMES = {
    "create": "create_source", "count": "count_sources", "stats": "get_sources_metadata",
    "by_name": "get_source_id_by_name", "retrieve": "retrieve_source", "modify": "modify_source",
    "delete": "delete_source", "passages": "list_source_passages", "files": "list_source_files",
    "file": "get_file_metadata", "upload": "upload_file_to_source", "delete_file": "delete_file_from_source",
}  # fmt: skip
ROUTES = (
    *_routes("/v1/folders", "folder", FOLDER_NAMES),
    *_routes("/v1/sources", "source", SOURCE_NAMES, deprecated=True),
    Route(
        method="GET",
        path="/v1/folders/",
        name="list_folders",
        summary="List folders",
        tag="folders",
        handler=list_folders,
        query=ListFolders,
        answer=list[FolderOut],
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/sources/",
        name="list_sources",
        summary="List folders",
        tag="sources",
        handler=list_sources,
        answer=list[FolderOut],
        deprecated=True,
    ),
    Route(
        method="GET",
        path="/v1/folders/{folder_id}/agents",
        name="list_agents_for_folder",
        summary="List the agents that have a folder",
        tag="folders",
        handler=list_folder_agents,
        query=PageOfFolder,
        answer=list[str],
        refusals=(404,),
    ),
    Route(
        method="GET",
        path="/v1/sources/{source_id}/agents",
        name="get_agents_for_source",
        summary="List the agents that have a folder",
        tag="sources",
        handler=list_source_agents,
        answer=list[str],
        refusals=(404,),
        deprecated=True,
    ),
)
