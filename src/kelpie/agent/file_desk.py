"""The folders of agents: given and taken, their files opened and closed, and what of them the model sees.

Which folders an agent has stands in its settings and as links, written by one commit. Which of their files are open,
and where, are rows of their own. At most so many are open at once; opening one more closes the one that was used
longest ago. What does not fit into the view is not there in silence: the view says which lines it shows of how many.
"""

import hashlib
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from kelpie.agent.drafts import check_settings
from kelpie.agent.state import AGENTS, AgentSettings
from kelpie.errors import Conflict, LimitExceeded, NotFound
from kelpie.ids import AgentId, FileId, FolderId, ToolId, uuid_from_bytes
from kelpie.limits import (
    EDIT_ATTEMPTS_MAX,
    FILES_PER_FOLDER_MAX,
    FILES_VIEW_CHARS_MAX,
    FOLDERS_PER_AGENT_MAX,
    SCAN_ROWS_MAX,
)
from kelpie.memory.folders import File, Folder, Folders, folder_agents
from kelpie.memory.render import escape_attribute, escape_marks
from kelpie.storage.paging import Page
from kelpie.storage.records import Batch, Found, Records, Space, stand_back
from kelpie.world import World


class OpenFile(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="form", tag=1):
    """How an agent has a file: open or not, and which lines it looks at, counted from 1, both inclusive."""

    file_id: FileId
    folder_id: FolderId
    is_open: bool
    accessed_at_us: int
    first_line: int | None = None
    last_line: int | None = None


class AgentFile(Struct, frozen=True, kw_only=True):
    """A file of an agent's folder, as the agent has it. `view` is what it sees of it; empty unless open."""

    id: str
    file: File
    folder: Folder
    state: OpenFile
    view: str = ""


OPEN_FILES = Space("agent_file", OpenFile)  # at(agent_id, file_id)


class FileDesk:
    """What agents have of folders. `file_tools` are given with the first folder and taken with the last."""

    def __init__(self, records: Records, world: World, folders: Folders, file_tools: Sequence[ToolId]) -> None:
        self._records = records
        self._world = world
        self.folders = folders
        self._tools = tuple(file_tools)

    # -- folders of an agent -------------------------------------------------------------------------------

    async def attach(self, agent_id: AgentId, folder_id: FolderId) -> None:
        """Give the agent the folder, its newest files open; no change if it has it. Raises NotFound, LimitExceeded."""

        def change(now: AgentSettings) -> AgentSettings:
            if folder_id in now.folders:
                return now
            tools = (*now.tools, *[tool for tool in self._tools if tool not in now.tools])
            return msgspec.structs.replace(now, folders=(*now.folders, folder_id), tools=tools)

        if await self._edit(agent_id, folder_id, change):
            most = (await self._settings(agent_id)).files_open
            files = await self.folders.page(folder_id, Page(limit=most))
            for file in files[::-1]:
                await self.open(agent_id, file.id)

    async def detach(self, agent_id: AgentId, folder_id: FolderId) -> None:
        """Take the folder from the agent; no change if it has not got it. Raises NotFound."""

        def change(now: AgentSettings) -> AgentSettings:
            left = tuple(one for one in now.folders if one != folder_id)
            tools = now.tools if left else tuple(tool for tool in now.tools if tool not in self._tools)
            return now if left == now.folders else msgspec.structs.replace(now, folders=left, tools=tools)

        await self._edit(agent_id, folder_id, change)

    async def set_folders(self, agent_id: AgentId, folder_ids: Sequence[FolderId]) -> None:
        """Give the agent these folders and no others. Raises NotFound, LimitExceeded."""
        for folder_id in (await self._settings(agent_id)).folders:
            if folder_id not in folder_ids:
                await self.detach(agent_id, folder_id)
        for folder_id in folder_ids:
            await self.attach(agent_id, folder_id)

    async def delete_folder(self, folder_id: FolderId) -> None:
        """Take the folder from every agent that has it, then remove it. Raises NotFound."""
        await self.folders.all.get(folder_id)
        for agent_id in await self.folders.agents.rights_of(folder_id):
            try:
                await self.detach(AgentId(agent_id), folder_id)
            except NotFound:
                pass  # its removal takes the link with it
        await self.folders.delete(folder_id)

    async def folders_of(self, settings: AgentSettings) -> list[Folder]:
        """The agent's folders, in the order in which it was given them."""
        return await self.folders.all.get_many(settings.folders)

    # -- files of an agent ---------------------------------------------------------------------------------

    async def files_of(self, settings: AgentSettings) -> list[AgentFile]:
        """Every file of the agent's folders, the newest first, views left out."""
        rows = await self._records.scan(OPEN_FILES, settings.id, limit=SCAN_ROWS_MAX)
        states = {row.value.file_id: row.value for row in rows}
        found: list[AgentFile] = []
        for folder in await self.folders_of(settings):
            for file in await self.folders.page(folder.id, Page(limit=FILES_PER_FOLDER_MAX)):
                state = states.get(file.id) or _closed(file)
                found.append(AgentFile(id=agent_file_id(settings.id, file.id), file=file, folder=folder, state=state))
        assert len(found) <= FOLDERS_PER_AGENT_MAX * FILES_PER_FOLDER_MAX
        return sorted(found, key=lambda one: (one.file.created_at_us, one.file.id), reverse=True)

    async def open_files(self, settings: AgentSettings) -> list[AgentFile]:
        """Those that are open, with their views, the one that was used last first."""
        if not settings.folders:
            return []
        files = [one for one in await self.files_of(settings) if one.state.is_open]
        files.sort(key=lambda one: (-one.state.accessed_at_us, one.file.id))
        chars_max = settings.file_view
        room = FILES_VIEW_CHARS_MAX
        shown: list[AgentFile] = []
        for one in files[: settings.files_open]:
            view = view_lines(await self.folders.text(one.file), one.state, min(chars_max, room), one.file)
            room = max(0, room - len(view))
            shown.append(msgspec.structs.replace(one, view=view))
        assert len(shown) <= len(files)
        return shown

    async def open(
        self, agent_id: AgentId, file_id: FileId, first_line: int | None = None, last_line: int | None = None
    ) -> list[File]:
        """Open a file for the agent; those that were closed to make room. Raises NotFound."""
        settings = await self._settings(agent_id)
        file = await self.folders.file(None, file_id)
        if file.folder_id not in settings.folders:
            raise NotFound(f"File with id '{file_id}' not found for agent '{agent_id}'", file_id=file_id)
        most = settings.files_open
        now_us = self._world.wall.now_us()
        rows = [row.value for row in await self._records.scan(OPEN_FILES, agent_id, limit=SCAN_ROWS_MAX)]
        others = [row for row in rows if row.is_open and row.file_id != file_id]
        others.sort(key=lambda row: (-row.accessed_at_us, row.file_id))
        at_us = max([now_us, *(row.accessed_at_us + 1 for row in others)])
        batch = Batch()
        state = OpenFile(
            file_id=file_id,
            folder_id=file.folder_id,
            is_open=True,
            accessed_at_us=at_us,
            first_line=first_line,
            last_line=last_line,
        )
        batch.put(OPEN_FILES.at(agent_id, file_id), state)
        closed = others[max(0, most - 1) :]
        for row in closed:
            batch.put(OPEN_FILES.at(agent_id, row.file_id), msgspec.structs.replace(row, is_open=False))
        await self._records.commit(batch)
        assert len(others) - len(closed) < most
        assert all(row.file_id != file_id for row in closed)
        return await self.folders.files.get_many([row.file_id for row in closed])

    async def open_if_there(self, agent_id: str, file_id: FileId) -> None:
        """Open a new file for an agent that has its folder; nothing if the agent is gone meanwhile."""
        try:
            await self.open(AgentId(agent_id), file_id)
        except NotFound:
            pass

    async def close(self, agent_id: AgentId, file_ids: Sequence[FileId] | None) -> list[File]:
        """Close these files of the agent, or all; those that were open. Raises NotFound for a file it has not got."""
        settings = await self._settings(agent_id)
        if file_ids is not None:
            for file in [await self.folders.file(None, file_id) for file_id in file_ids]:
                if file.folder_id not in settings.folders:
                    raise NotFound(f"File with id '{file.id}' not found for agent '{agent_id}'", file_id=file.id)
        rows = [row.value for row in await self._records.scan(OPEN_FILES, agent_id, limit=SCAN_ROWS_MAX)]
        closing = [row for row in rows if row.is_open and (file_ids is None or row.file_id in file_ids)]
        if closing:
            batch = Batch()
            for row in closing:
                batch.put(OPEN_FILES.at(agent_id, row.file_id), msgspec.structs.replace(row, is_open=False))
            await self._records.commit(batch)
        return await self.folders.files.get_many([row.file_id for row in closing])

    async def prompt(self, settings: AgentSettings) -> str:
        """What the system prompt says of the agent's folders; empty without any."""
        if not settings.folders:
            return ""
        folders = await self.folders_of(settings)
        open_files = await self.open_files(settings)
        assert len(folders) <= len(settings.folders)
        assert all(one.view for one in open_files), "a view says at least what it is a view of"
        lines = [
            "<folders>",
            "Files that you can read. Those that are open stand here; open, search and close them with your tools.",
        ]
        for folder in folders:
            about = f' description="{escape_attribute(folder.description)}"' if folder.description else ""
            lines.append(f'<folder name="{escape_attribute(folder.name)}"{about}>')
            if folder.instructions:
                lines.append(f"<instructions>{escape_marks(folder.instructions)}</instructions>")
            for one in open_files:
                if one.folder.id == folder.id:
                    name = escape_attribute(f"{folder.name}/{one.file.name}")
                    lines += [f'<file name="{name}">', escape_marks(one.view), "</file>"]
            lines.append("</folder>")
        return "\n".join([*lines, "</folders>"])

    # -- inside --------------------------------------------------------------------------------------------

    async def _settings(self, agent_id: AgentId) -> AgentSettings:
        return (await self._found(agent_id)).value

    async def _found(self, agent_id: AgentId) -> Found[AgentSettings]:
        found = await self._records.get(AGENTS.at(agent_id))
        if found is None:
            raise NotFound(f"Agent with id '{agent_id}' not found", agent_id=agent_id)
        return found

    async def _edit(
        self, agent_id: AgentId, folder_id: FolderId, change: Callable[[AgentSettings], AgentSettings]
    ) -> bool:
        """Whether the settings changed; the link follows them in the same commit."""
        for attempt in range(EDIT_ATTEMPTS_MAX):
            found, folder = await self._found(agent_id), await self.folders.all.get(folder_id)
            changed = change(found.value)
            if changed == found.value:
                return False
            assert changed.id == agent_id
            assert set(changed.folders) ^ set(found.value.folders) == {folder_id}
            if len(changed.folders) > FOLDERS_PER_AGENT_MAX:
                raise LimitExceeded(
                    f"an agent has at most {FOLDERS_PER_AGENT_MAX} folders",
                    limit="FOLDERS_PER_AGENT_MAX",
                    maximum=FOLDERS_PER_AGENT_MAX,
                )
            now_us = max(self._world.wall.now_us(), found.value.updated_at_us)
            changed = msgspec.structs.replace(changed, updated_at_us=now_us)
            check_settings(changed)
            batch = Batch()
            batch.check(found)
            batch.check(folder)
            batch.put(AGENTS.at(agent_id), changed)
            if folder_id in changed.folders:
                self.folders.agents.put(batch, folder_id, agent_id, now_us)
            else:
                self.folders.agents.remove(batch, folder_id, agent_id)
            try:
                await self._records.commit(batch)
            except Conflict:
                await stand_back(attempt, self._world.entropy)
                continue
            return True
        raise Conflict(f"agent '{agent_id}' is being changed by others; {EDIT_ATTEMPTS_MAX} attempts lost")


def view_lines(text: str, state: OpenFile, chars_max: int, file: File) -> str:
    """The lines that the agent looks at, numbered, under a line that says which they are."""
    if not file.text_pieces:
        return f"[{file.status}: the text of this file is not there{'' if file.note is None else f': {file.note}'}]"
    lines = text.splitlines()
    first = max(1, state.first_line or 1)
    last = min(len(lines), state.last_line or len(lines))
    numbered: list[str] = []
    room = chars_max
    for number in range(first, last + 1):
        line = f"{number}: {lines[number - 1]}"
        if len(line) + 1 > room:
            break
        numbered.append(line)
        room -= len(line) + 1
    shown_to = first + len(numbered) - 1
    assert shown_to <= len(lines)
    assert room >= 0
    if state.first_line is None and state.last_line is None:
        head = f"[Viewing file start (out of {len(lines)} lines)]"
    else:
        head = f"[Viewing lines {first} to {shown_to} (out of {len(lines)} lines)]"
    if shown_to < last:
        hidden = f"lines {shown_to + 1} to {last} are not shown"
        numbered.append(f"[... {hidden}: the view is full at {chars_max} characters]")
    return "\n".join([head, *numbered])


def _closed(file: File) -> OpenFile:
    return OpenFile(file_id=file.id, folder_id=file.folder_id, is_open=False, accessed_at_us=file.created_at_us)


def agent_file_id(agent_id: AgentId, file_id: FileId) -> str:
    """The id of a file as one agent has it."""
    return f"file_agent-{uuid_from_bytes(hashlib.sha256(f'{agent_id} {file_id}'.encode()).digest()[:16])}"


def forget_agent(records: Records, batch: Batch, settings: AgentSettings) -> None:
    """The agent is gone: its links and open files go in the caller's commit."""
    links = folder_agents(records)
    for folder_id in settings.folders:
        links.remove(batch, folder_id, settings.id)
    batch.delete_below(OPEN_FILES, settings.id)
