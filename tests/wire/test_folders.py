"""Folders: files are uploaded, read, cut, embedded, shown to agents, searched and removed, by both names of folders."""

import io
import time
from collections.abc import Iterator
from typing import Any

import letta_client
import pytest
from letta_client import Letta

from tests.system.talk import REHEARSED
from tests.wire.wire import Wire

UNKNOWN = "source-123e4567-e89b-42d3-a456-426614174000"
UNKNOWN_FILE = "file-123e4567-e89b-42d3-a456-426614174000"
STORY = "The kelpie lives in a lake.\nIt looks like a horse.\nNobody rides it twice.\n"


@pytest.fixture
def folder(client: Letta) -> Iterator[Any]:
    """A folder, removed after the test."""
    folder = client.folders.create(name="water", description="Of lakes", instructions="Read them first.")
    yield folder
    try:
        client.folders.delete(folder.id)
    except letta_client.NotFoundError:
        pass  # the test removed it


def upload(client: Letta, folder_id: str, file_name: str, content: bytes | str, **options: Any) -> Any:
    """Upload a file and wait until it is processed."""
    raw = content.encode() if isinstance(content, str) else content
    file = client.folders.files.upload(folder_id, file=(file_name, raw), **options)
    assert file.processing_status in ("pending", "parsing", "embedding", "completed")
    for _ in range(300):
        found = client.folders.files.retrieve(file.id, folder_id=folder_id)
        if found.processing_status in ("completed", "error"):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{file_name} is still {found.processing_status}")


def test_a_folder_is_made_listed_found_changed_and_removed(client: Letta, wire: Wire, folder: Any) -> None:
    assert (folder.name, folder.description, folder.instructions) == ("water", "Of lakes", "Read them first.")
    assert [one.id for one in client.folders.list(name="water")] == [folder.id]
    assert client.folders.retrieve(folder.id).embedding_config.handle == "kelpie/lexical-512"
    assert client.folders.update(folder.id, description="Of rivers").description == "Of rivers"
    assert (wire.get("/v1/folders/count"), wire.get("/v1/folders/name/water")) == (1, folder.id)
    stats = wire.get("/v1/folders/metadata", include_detailed_per_source_metadata=True)
    assert (stats["total_sources"], stats["sources"][0]["file_count"]) == (1, 0)
    with pytest.raises(letta_client.ConflictError):
        client.folders.create(name="water")
    client.folders.delete(folder.id)
    with pytest.raises(letta_client.NotFoundError):
        client.folders.retrieve(folder.id)


def test_a_file_becomes_text_and_passages_and_is_gone_when_it_is_removed(
    client: Letta, wire: Wire, folder: Any
) -> None:
    file = upload(client, folder.id, "story.txt", STORY)
    assert (file.processing_status, file.total_chunks, file.chunks_embedded) == ("completed", 1, 1)
    listed = list(client.folders.files.list(folder.id, include_content=True))
    assert [(one.file_name, one.content) for one in listed] == [("story.txt", STORY)]
    (passage,) = wire.get(f"/v1/folders/{folder.id}/passages")
    assert (passage["text"], passage["source_id"], passage["file_id"]) == (STORY, folder.id, file.id)
    client.folders.files.delete(file.id, folder_id=folder.id)
    assert list(client.folders.files.list(folder.id)) == []
    for _ in range(100):
        if not wire.get(f"/v1/folders/{folder.id}/passages"):
            break
        time.sleep(0.1)
    assert wire.get(f"/v1/folders/{folder.id}/passages") == []
    wire.refuse("GET", f"/v1/folders/{folder.id}/files/{file.id}", 404)


def test_files_of_one_name_are_handled_as_asked(client: Letta, wire: Wire, folder: Any) -> None:
    first = upload(client, folder.id, "a.txt", "one")
    second = upload(client, folder.id, "a.txt", "two")
    assert (first.file_name, second.file_name) == ("a.txt", "a_(1).txt")
    assert client.folders.files.upload(folder.id, file=("a.txt", b"x"), duplicate_handling="skip").id == first.id
    with pytest.raises(letta_client.BadRequestError):
        client.folders.files.upload(folder.id, file=("a.txt", b"x"), duplicate_handling="error")
    third = upload(client, folder.id, "a.txt", "three", duplicate_handling="replace")
    texts = {one.file_name: one.content for one in client.folders.files.list(folder.id, include_content=True)}
    assert texts == {"a.txt": "three", "a_(1).txt": "two"} and third.id != first.id
    assert upload(client, folder.id, "b.txt", "four", name="c.txt").file_name == "c.txt"


def test_what_cannot_be_read_says_why(client: Letta, folder: Any) -> None:
    broken = {
        "x.pdf": b"%PDF-1.4 nothing",
        "x.zip": b"PK\x03\x04 nothing",
        "x.bin": bytes(range(256)),
        "x.doc": b"\xd0\xcf\x11\xe0 old",
    }
    for name, content in broken.items():
        file = upload(client, folder.id, name, content)
        assert file.processing_status == "error" and file.error_message, name
    with pytest.raises(letta_client.BadRequestError):
        client.folders.files.upload(folder.id, file=("empty.txt", b""))
    with pytest.raises(letta_client.APIStatusError) as caught:
        client.folders.files.upload(folder.id, file=("large.txt", bytes(21_000_000)))
    assert caught.value.status_code == 413


def test_an_agent_sees_searches_and_closes_the_files_of_its_folders(
    client: Letta, wire: Wire, folder: Any, make_agent: Any
) -> None:
    """Attached folders bring their tools; open files stand in the prompt; tools and operations do the same."""
    upload(client, folder.id, "story.txt", STORY)
    agent = make_agent(REHEARSED)
    client.agents.folders.attach(folder.id, agent_id=agent.id)
    assert [one.id for one in client.agents.folders.list(agent.id)] == [folder.id]
    assert list(client.folders.agents.list(folder.id)) == [agent.id]
    shown = client.agents.retrieve(agent.id)
    assert {"open_files", "grep_files", "semantic_search_files"} <= {tool.name for tool in shown.tools}
    assert [one.id for one in shown.sources] == [folder.id]
    (file,) = client.agents.files.list(agent.id)
    assert file.visible_content == "[Viewing file start (out of 3 lines)]\n" + "\n".join(
        f"{number}: {line}" for number, line in enumerate(STORY.splitlines(), 1)
    )
    prompt = client.agents.recompile(agent.id)
    assert "1: The kelpie lives in a lake." in prompt and "Read them first." in prompt
    said = call(client, agent.id, "grep_files", "pattern 'HORSE'")
    assert "1 matches in 1 files" in said and "> 2: It looks like a horse." in said
    assert "It looks like a horse." in call(client, agent.id, "semantic_search_files", "query 'riding horses'")
    assert client.agents.files.close(file.file_id, agent_id=agent.id) is None
    assert [one.is_open for one in client.agents.files.list(agent.id)] == [False]
    assert client.agents.files.open(file.file_id, agent_id=agent.id) == []
    assert client.agents.files.close_all(agent.id) == ["story.txt"]
    client.agents.folders.detach(folder.id, agent_id=agent.id)
    assert list(client.agents.files.list(agent.id)) == []
    assert "open_files" not in {tool.name for tool in client.agents.retrieve(agent.id).tools}


def test_a_part_of_a_file_is_opened_by_the_agent(client: Letta, folder: Any, make_agent: Any) -> None:
    upload(client, folder.id, "story.txt", STORY)
    agent = make_agent(REHEARSED, folder_ids=[folder.id])
    request = '[{"file_name": "water/story.txt", "offset": 1, "length": 1}]'
    assert "Open now" in call(client, agent.id, "open_files", f"file_requests {request}")
    (file,) = client.agents.files.list(agent.id)
    assert file.visible_content == "[Viewing lines 2 to 2 (out of 3 lines)]\n2: It looks like a horse."
    assert "There is no file" in call(client, agent.id, "open_files", 'file_requests [{"file_name": "other"}]')


def test_the_older_name_of_folders_is_the_same_thing(client: Letta, wire: Wire, make_agent: Any) -> None:
    source = wire.post("/v1/sources/", {"name": "old words"})
    try:
        assert wire.get(f"/v1/folders/{source['id']}")["name"] == "old words"
        assert wire.get("/v1/sources/count") == len(wire.get("/v1/sources/"))
        assert wire.get("/v1/sources/name/old words") == source["id"]
        assert wire.get("/v1/sources/metadata")["total_sources"] >= 1
        assert wire.patch(f"/v1/sources/{source['id']}", {"name": "older words"})["name"] == "older words"
        assert wire.get(f"/v1/sources/{source['id']}")["name"] == "older words"
        file = wire.ask(
            "POST", f"/v1/sources/{source['id']}/upload", query={}, files={"file": ("n.md", io.BytesIO(b"# Note"))}
        )
        for _ in range(100):
            found = wire.get(f"/v1/sources/{source['id']}/files/{file['id']}", include_content=True)
            if found["processing_status"] == "completed":
                break
            time.sleep(0.1)
        assert found["content"] == "# Note"
        assert [one["id"] for one in wire.get(f"/v1/sources/{source['id']}/files")] == [file["id"]]
        assert [one["text"] for one in wire.get(f"/v1/sources/{source['id']}/passages")] == ["# Note"]
        agent = make_agent(REHEARSED)
        wire.patch(f"/v1/agents/{agent.id}/sources/attach/{source['id']}")
        assert [one["id"] for one in wire.get(f"/v1/agents/{agent.id}/sources")] == [source["id"]]
        assert wire.get(f"/v1/sources/{source['id']}/agents") == [agent.id]
        wire.patch(f"/v1/agents/{agent.id}/sources/detach/{source['id']}")
        wire.delete(f"/v1/sources/{source['id']}/{file['id']}")
    finally:
        wire.delete(f"/v1/sources/{source['id']}")


def test_what_is_not_there_is_told(wire: Wire, make_agent: Any) -> None:
    agent = make_agent(REHEARSED)
    for method, path in [
        ("GET", f"/v1/folders/{UNKNOWN}"),
        ("DELETE", f"/v1/folders/{UNKNOWN}"),
        ("GET", f"/v1/folders/{UNKNOWN}/files"),
        ("GET", "/v1/folders/name/nothing"),
        ("PATCH", f"/v1/agents/{agent.id}/folders/attach/{UNKNOWN}"),
        ("PATCH", f"/v1/agents/{agent.id}/files/{UNKNOWN_FILE}/open"),
    ]:
        wire.refuse(method, path, 404)
    wire.refuse("GET", "/v1/folders/nothing", 422)
    wire.refuse("POST", "/v1/folders/", 422, {})
    wire.refuse("POST", "/v1/folders/", 400, {"name": " "})


def call(client: Letta, agent_id: str, tool: str, arguments: str) -> str:
    """What the tool returned to the agent."""
    reply = client.agents.messages.create(agent_id, input=f"Call the {tool} tool with {arguments}")
    returned = [one for one in reply.messages if one.message_type == "tool_return_message"]
    assert returned, [one.message_type for one in reply.messages]
    return str(returned[0].tool_return)
