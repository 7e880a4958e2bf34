"""Archives and their passages, with the official client: what an agent keeps is found, shared, listed and forgotten."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import letta_client
import pytest
from letta_client import Letta

from tests.system.talk import OPENAI, REHEARSED, mark
from tests.wire.conftest import MakeAgent
from tests.wire.wire import Wire

BUILT_IN = "kelpie/lexical-512"
SMALL = "openai/text-embedding-3-small"
NOBODY = "agent-00000000-0000-4000-8000-000000000000"
NOWHERE = "archive-00000000-0000-4000-8000-000000000000"
NOTHING = "passage-00000000-0000-4000-8000-000000000000"
SENTENCES = ("The sky is blue", "We deploy on Friday", "Ada is allergic to peanuts")


@pytest.fixture
def archive(client: Letta) -> Iterator[letta_client.types.Archive]:
    """An archive of its own."""
    made = client.archives.create(name=mark("archive"), description="d")
    yield made
    try:
        client.archives.delete(made.id)
    except letta_client.NotFoundError:
        pass  # the test deleted it


def test_an_archive_is_made_read_changed_listed_and_deleted(client: Letta) -> None:
    name = mark("archive")
    made = client.archives.create(name=name, description="d", embedding=SMALL)
    assert (made.name, made.description, made.vector_db_provider) == (name, "d", "native")
    assert made.embedding_config is not None
    assert (made.embedding_config.handle, made.embedding_config.embedding_dim) == (SMALL, 1_536)
    assert client.archives.retrieve(made.id).to_dict() == made.to_dict()
    changed = client.archives.update(made.id, description="e")
    assert (changed.name, changed.description, changed.created_at) == (name, "e", made.created_at)
    assert [one.to_dict() for one in client.archives.list(name=name)] == [changed.to_dict()]
    client.archives.delete(made.id)
    for late in (lambda: client.archives.retrieve(made.id), lambda: client.archives.delete(made.id)):
        with pytest.raises(letta_client.NotFoundError):
            late()
    assert client.archives.list(name=name).items == []


@pytest.mark.parametrize("named", [{}, {"embedding": "letta/letta-free"}, {"embedding": BUILT_IN}])
def test_an_archive_shows_the_model_that_is_used(client: Letta, named: dict) -> None:
    made = client.archives.create(name=mark("archive"), **named)
    assert made.embedding_config is not None and made.embedding_config.handle == BUILT_IN
    client.archives.delete(made.id)


def test_an_embedding_model_that_its_provider_does_not_list_is_refused(client: Letta) -> None:
    with pytest.raises(letta_client.NotFoundError, match="no-such-embedding"):
        client.archives.create(name=mark("archive"), embedding="openai/no-such-embedding")


def test_archives_are_paged(client: Letta) -> None:
    """Newest first or oldest first, joined by cursors."""
    made = [client.archives.create(name=mark("archive")).id for _ in range(3)]
    assert [one.id for one in client.archives.list(limit=3).items] == made[::-1]
    assert [one.id for one in client.archives.list(limit=2, after=made[2]).items] == [made[1], made[0]]
    assert [one.id for one in client.archives.list(order="asc", after=made[0]).items] == made[1:]
    assert [one.id for one in client.archives.list(order="asc", after=made[0], before=made[2]).items] == [made[1]]
    with pytest.raises(letta_client.NotFoundError):
        client.archives.list(after=NOWHERE)
    for archive_id in made:
        client.archives.delete(archive_id)


def test_passages_are_added_to_an_archive_and_removed(client: Letta, archive: letta_client.types.Archive) -> None:
    one = client.archives.passages.create(
        archive.id, text="x", tags=["a", "b", "a"], metadata={"k": [1]}, created_at="2024-05-01T12:00:00+02:00"
    )
    assert (one.text, one.tags, one.metadata, one.archive_id) == ("x", ["a", "b"], {"k": [1]}, archive.id)
    assert one.created_at == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert one.embedding is not None and len(one.embedding) == 512
    many = client.archives.passages.create_many(archive.id, passages=[{"text": text} for text in SENTENCES])
    assert [(passage.text, passage.tags) for passage in many] == [(text, None) for text in SENTENCES]
    client.archives.passages.delete(one.id or "", archive_id=archive.id)
    with pytest.raises(letta_client.NotFoundError):
        client.archives.passages.delete(one.id or "", archive_id=archive.id)
    found = client.passages.search(archive_id=archive.id)
    assert [hit.passage.to_dict() for hit in found] == [passage.to_dict() for passage in many[::-1]], "newest first"


@pytest.mark.parametrize("embedding", [BUILT_IN, SMALL])
def test_what_an_agent_keeps_is_found_again(client: Letta, make_agent: MakeAgent, embedding: str) -> None:
    """In an archive that is made with the first passage."""
    agent = make_agent(embedding=embedding)
    assert client.agents.passages.list(agent.id) == []
    assert client.agents.passages.search(agent.id, query="sky").results == []
    for text in SENTENCES:
        (kept,) = client.agents.passages.create(agent.id, text=text, tags=[text.split()[0]])
        assert kept.text == text and kept.embedding_config is not None
        assert kept.embedding_config.handle == embedding
    found = client.agents.passages.search(agent.id, query="deploy Friday")
    assert (found.count, len(found.results)) == (3, 3)
    first = found.results[0]
    assert (first.content, first.tags, first.timestamp[-6:]) == (SENTENCES[1], ["We"], "+00:00")
    (archive,) = client.archives.list(agent_id=agent.id)
    assert archive.id == kept.archive_id and agent.name in archive.name
    client.archives.delete(archive.id)
    assert client.agents.passages.list(agent.id) == []


def test_the_passages_of_an_agent_are_listed(client: Letta, make_agent: MakeAgent) -> None:
    """Oldest first, in pages, narrowed by a piece of text; and removed."""
    agent = make_agent()
    day = datetime(2024, 1, 1, tzinfo=UTC)
    kept = [
        client.agents.passages.create(agent.id, text=f"note {number}", created_at=day - timedelta(days=number))[0].id
        for number in range(5)
    ]
    assert [one.id for one in client.agents.passages.list(agent.id)] == kept[::-1]
    assert [one.id for one in client.agents.passages.list(agent.id, ascending=False)] == kept
    assert [one.id for one in client.agents.passages.list(agent.id, limit=2, after=kept[3])] == [kept[2], kept[1]]
    assert [one.id for one in client.agents.passages.list(agent.id, before=kept[3])] == [kept[4]]
    assert [one.text for one in client.agents.passages.list(agent.id, search="NOTE 3")] == ["note 3"]
    client.agents.passages.delete(kept[3] or "", agent_id=agent.id)
    assert [one.text for one in client.agents.passages.list(agent.id, search="note 3")] == []
    for late in (NOTHING, kept[3] or ""):
        with pytest.raises(letta_client.NotFoundError):
            client.agents.passages.delete(late, agent_id=agent.id)
        with pytest.raises(letta_client.NotFoundError):
            client.agents.passages.list(agent.id, after=late)


def test_a_search_is_narrowed_by_tags_and_times(client: Letta, make_agent: MakeAgent) -> None:
    """Times without an offset are in the agent's time zone; both ends belong to it."""
    agent = make_agent(timezone="Europe/Berlin")
    for text, tags, at in (
        ("one", ["a"], "2024-06-01T21:59:59Z"),
        ("two", ["a", "b"], "2024-06-01T22:00:00Z"),
        ("three", ["b"], "2024-06-02T21:59:59Z"),
    ):
        client.agents.passages.create(agent.id, text=f"memo {text}", tags=tags, created_at=at)

    def texts(**fields) -> set[str]:
        found = client.agents.passages.search(agent.id, query="memo", **fields)
        return {one.content.removeprefix("memo ") for one in found.results}

    assert texts() == {"one", "two", "three"}
    assert texts(tags=["a", "b"]) == {"one", "two", "three"}
    assert texts(tags=["a", "b"], tag_match_mode="all") == {"two"}
    assert texts(start_datetime="2024-06-02", end_datetime="2024-06-02") == {"two", "three"}
    assert texts(start_datetime="2024-06-02T00:00:00Z") == {"three"}
    assert texts(end_datetime="2024-06-01T23:59:59") == {"one"}
    assert len(texts(top_k=2)) == 2
    times = {one.content: one.timestamp for one in client.agents.passages.search(agent.id, query="memo").results}
    assert times["memo two"] == "2024-06-02T00:00:00+02:00"
    with pytest.raises(letta_client.UnprocessableEntityError, match="start_datetime"):
        texts(start_datetime="yesterday")


def test_an_archive_is_shared_and_an_agent_has_one(
    client: Letta, wire: Wire, make_agent: MakeAgent, archive: letta_client.types.Archive
) -> None:
    first, second = make_agent(), make_agent()
    for agent in (first, second):
        client.agents.archives.attach(archive.id, agent_id=agent.id)
        client.agents.archives.attach(archive.id, agent_id=agent.id)
    (kept,) = client.agents.passages.create(first.id, text="The sky is blue")
    assert kept.archive_id == archive.id
    assert [one.id for one in client.agents.passages.list(second.id)] == [kept.id]
    agents = wire.get(f"/v1/archives/{archive.id}/agents", order="asc")
    assert [one["id"] for one in agents] == [first.id, second.id]
    assert [one["id"] for one in wire.get(f"/v1/archives/{archive.id}/agents", limit=1)] == [second.id]
    other = client.archives.create(name=mark("archive"))
    with pytest.raises(letta_client.ConflictError, match="already has the archive"):
        client.agents.archives.attach(other.id, agent_id=first.id)
    client.agents.archives.detach(archive.id, agent_id=first.id)
    client.agents.archives.detach(archive.id, agent_id=first.id)
    client.agents.archives.attach(other.id, agent_id=first.id)
    assert client.agents.passages.list(first.id) == []
    client.agents.delete(second.id)
    assert wire.get(f"/v1/archives/{archive.id}/agents") == []
    assert [hit.passage.id for hit in client.passages.search(archive_id=archive.id)] == [kept.id], "it stays"
    client.archives.delete(other.id)
    assert client.archives.list(agent_id=first.id).items == []


def test_passages_are_searched_over_all_archives(client: Letta, make_agent: MakeAgent) -> None:
    """Those of one agent, of one archive, or all; ranked together."""
    word = mark("quokka")
    agent = make_agent()
    (kept,) = client.agents.passages.create(agent.id, text=f"about the {word} and the sky", tags=["t"])
    other = client.archives.create(name=mark("archive"), embedding=SMALL)
    also = client.archives.passages.create(other.id, text=f"the {word} again")
    client.archives.passages.create(other.id, text="nothing of the kind")
    everywhere = client.passages.search(query=word, limit=2)
    assert {hit.passage.id for hit in everywhere} == {kept.id, also.id}
    assert all(hit.score > 0 and (hit.metadata or {})["fts_rank"] for hit in everywhere)
    assert [hit.passage.id for hit in client.passages.search(query=word, agent_id=agent.id)] == [kept.id]
    assert len(client.passages.search(query=word, archive_id=other.id)) == 2
    assert client.passages.search(query=word, tags=["other"]) == []
    assert [hit.passage.id for hit in client.passages.search(query=word, tags=["t", "u"])] == [kept.id]
    assert client.passages.search(query=word, end_date="2020-01-01") == []
    assert client.passages.search(query=word, agent_id=make_agent().id) == []
    client.archives.delete(other.id)


def test_what_is_not_there_is_not_found(client: Letta, wire: Wire, archive: letta_client.types.Archive) -> None:
    for call in (
        lambda: client.archives.retrieve(NOWHERE),
        lambda: client.archives.update(NOWHERE, name="n"),
        lambda: client.archives.passages.create(NOWHERE, text="x"),
        lambda: client.archives.passages.create_many(NOWHERE, passages=[]),
        lambda: client.archives.passages.delete(NOTHING, archive_id=archive.id),
        lambda: client.agents.archives.attach(archive.id, agent_id=NOBODY),
        lambda: client.agents.passages.create(NOBODY, text="x"),
        lambda: client.agents.passages.list(NOBODY),
        lambda: client.agents.passages.search(NOBODY, query="x"),
        lambda: client.passages.search(archive_id=NOWHERE),
        lambda: client.passages.search(agent_id=NOBODY),
        lambda: client.archives.list(agent_id=NOBODY),
    ):
        with pytest.raises(letta_client.NotFoundError):
            call()
    assert "query" in wire.refuse("GET", f"/v1/agents/{NOBODY}/archival-memory/search", 422)
    wire.refuse("GET", "/v1/archives/nonsense", 422)
    wire.refuse("POST", f"/v1/archives/{archive.id}/passages", 422, {"text": None})
    wire.refuse("POST", f"/v1/archives/{archive.id}/passages", 422, {"text": "x", "created_at": "soon"})
    wire.refuse("POST", f"/v1/archives/{archive.id}/passages", 422, {"text": "x" * 300_000})
    wire.refuse("POST", "/v1/passages/search", 422, {"query": "x", "limit": 101})


def test_the_room_that_vectors_take_is_told(wire: Wire, archive: letta_client.types.Archive, client: Letta) -> None:
    """In the unit that the header names; gigabytes if it names none."""

    def size(**headers: str) -> float:
        return wire.ask("GET", "/v1/embeddings/total_storage_size", query={}, headers=headers)

    before = size(storage_unit="B")
    client.archives.passages.create_many(archive.id, passages=[{"text": text} for text in SENTENCES])
    assert size(storage_unit="B") == before + 3 * 512 * 4
    assert size(storage_unit="KB") == (before + 3 * 512 * 4) / 1024
    assert 0 < size() < 1
    refused = wire.raw("GET", "/v1/embeddings/total_storage_size", query={}, headers={"storage_unit": "acre"})
    assert refused.status_code == 422


def test_a_model_keeps_something_and_finds_it(client: Letta, make_agent: MakeAgent) -> None:
    """By its own tools; what it kept is in the list."""
    agent = make_agent(OPENAI, tools=["archival_memory_insert", "archival_memory_search"])
    said = client.agents.messages.create(
        agent.id,
        input='Call the archival_memory_insert tool with content "The sky is green" and call the '
        'archival_memory_search tool with query "which green sky"',
    )
    returns = [one for one in said.messages if one.message_type == "tool_return_message"]
    assert returns and all(one.status == "success" for one in returns), said.messages
    (kept,) = client.agents.passages.list(agent.id)
    assert kept.text == "The sky is green"


def test_archives_need_no_key(client: Letta, make_agent: MakeAgent) -> None:
    """Everything above works with the offline models alone."""
    agent = make_agent(REHEARSED)
    client.agents.passages.create(agent.id, text="kept")
    assert [one.text for one in client.agents.passages.list(agent.id)] == ["kept"]
