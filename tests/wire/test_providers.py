"""Providers that clients store: kept, checked, asked, and gone; nothing of their keys ever comes back."""

from typing import Any

import pytest
from letta_client import Letta

from tests.system.server import ModelServer, running_kelpie
from tests.system.talk import create_agent, mark, reply_with, say, words
from tests.wire.conftest import MakeAgent
from tests.wire.reading import only, user
from tests.wire.wire import Wire

KEY = "sk-never-to-be-seen-again"
UNKNOWN = "provider-00000000-0000-4000-8000-000000000000"


def stored(wire: Wire, models: ModelServer, **fields: Any) -> dict[str, Any]:
    """A new provider that is the scripted model server."""
    body = {"name": mark("prov"), "provider_type": "vllm", "api_key": KEY, "base_url": models.url, **fields}
    return wire.post("/v1/providers/", body)


def test_a_stored_provider_is_a_handle_at_once(
    wire: Wire, client: Letta, models: ModelServer, make_agent: MakeAgent
) -> None:
    """Goal: store, list its models, talk. Method: its key is what the model server is sent."""
    made = stored(wire, models)
    assert (made["provider_category"], made["base_url"]) == ("byok", f"{models.url}/v1")
    assert KEY not in str(made)
    handle = f"{made['name']}/gpt-4o-mini"
    listed = {one.handle: one for one in client.models.list(provider_category=["byok"])}
    assert (listed[handle].provider_type, listed[handle].provider_category) == ("vllm", "byok")
    assert {one.provider_name for one in client.models.list(provider_name=made["name"])} == {made["name"]}
    assert handle not in {one.handle for one in client.models.list(provider_category=["base"])}
    agent = make_agent(handle)
    word = mark("w")
    answer = client.agents.messages.create(agent.id, messages=user(reply_with(word)))
    assert only(answer.messages, "assistant_message").content == word
    assert agent.llm_config.to_dict()["model_endpoint_type"] == "vllm"


def test_providers_are_listed_read_changed_and_deleted(wire: Wire, models: ModelServer) -> None:
    """The records, their filters and cursors."""
    first, second = stored(wire, models), stored(wire, models, provider_type="groq")
    assert wire.get(f"/v1/providers/{first['id']}") == first
    assert [one["id"] for one in wire.get("/v1/providers/", name=second["name"])] == [second["id"]]
    assert second["id"] in [one["id"] for one in wire.get("/v1/providers/", provider_type="groq")]
    newest = wire.get("/v1/providers/", limit=1)
    assert [one["id"] for one in newest] == [second["id"]]
    assert [one["id"] for one in wire.get("/v1/providers/", limit=1, after=second["id"])] == [first["id"]]
    changed = wire.patch(f"/v1/providers/{first['id']}", {"api_key": "sk-2", "region": "eu"})
    assert (changed["region"], changed["base_url"], changed["name"]) == ("eu", first["base_url"], first["name"])
    wire.delete(f"/v1/providers/{first['id']}")
    wire.refuse("GET", f"/v1/providers/{first['id']}", 404)
    wire.refuse("DELETE", f"/v1/providers/{first['id']}", 404)


def test_keys_are_checked_before_and_after_they_are_stored(wire: Wire, models: ModelServer) -> None:
    """A provider that answers; one that does not know the path; one that is not there."""
    wire.post("/v1/providers/check", {"provider_type": "vllm", "api_key": KEY, "base_url": models.url})
    made = stored(wire, models)
    wire.post(f"/v1/providers/{made['id']}/check")
    assert made["last_synced"] is None
    assert wire.patch(f"/v1/providers/{made['id']}/refresh")["last_synced"] is not None
    nobody = {"provider_type": "openai", "api_key": KEY, "base_url": "http://127.0.0.1:9/v1"}
    assert "could not be connected to" in wire.refuse("POST", "/v1/providers/check", 503, nobody)
    elsewhere = {"provider_type": "openai", "api_key": KEY, "base_url": f"{models.url}/elsewhere"}
    assert KEY not in wire.refuse("POST", "/v1/providers/check", 400, elsewhere)


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ({"provider_type": "nothing-known"}, 422, "provider_type"),
        ({"provider_type": "chatgpt_oauth"}, 400, "ChatGPT"),
        ({"provider_type": "google_vertex"}, 400, "google_ai"),
        ({"provider_type": "letta"}, 400, "retired"),
        ({"provider_type": "bedrock", "access_key": "AKIA"}, 400, "access_key"),
        ({"provider_type": "azure", "base_url": None}, 400, "needs a base_url"),
        ({"base_url": "ftp://x"}, 400, "base URL"),
        ({"name": "a/b"}, 400, "slash"),
        ({"name": "openai"}, 409, "belongs to"),
        ({"name": "kelpie"}, 409, "belongs to"),
    ],
)
def test_what_could_never_be_asked_is_refused_when_it_is_stored(
    wire: Wire, models: ModelServer, fields: dict[str, Any], status: int, words: str
) -> None:
    """In a sentence that says what to do instead."""
    body = {"name": mark("bad"), "provider_type": "vllm", "api_key": KEY, "base_url": models.url, **fields}
    assert words in wire.refuse("POST", "/v1/providers/", status, body)


def test_a_name_is_taken_once_and_ids_have_their_form(wire: Wire, models: ModelServer) -> None:
    """409 for the second, 404 for an unknown id, 422 for what is no id."""
    made = stored(wire, models)
    body = {"name": made["name"], "provider_type": "vllm", "api_key": KEY, "base_url": models.url}
    assert "already exists" in wire.refuse("POST", "/v1/providers/", 409, body)
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/check"), ("PATCH", "/refresh")):
        assert UNKNOWN in wire.refuse(method, f"/v1/providers/{UNKNOWN}{path}", 404)
        wire.refuse(method, f"/v1/providers/nope{path}", 422)


def test_agents_of_a_stored_provider_work_after_a_restart_and_are_told_when_it_is_deleted(
    models: ModelServer, tmp_path
) -> None:
    """Goal: the record alone is enough. Method: kill -9 between two messages; then the provider is deleted in use."""
    with running_kelpie(tmp_path, models) as server:
        with server.client() as http:
            body = {"name": "mine", "provider_type": "openai", "api_key": KEY, "base_url": f"{models.url}/v1"}
            made = http.post("/v1/providers/", json=body).json()
            agent = create_agent(http, model="mine/gpt-4o-mini")["id"]
            assert words(say(http, agent, reply_with("before"))["messages"]) == ["before"]
        server.kill()
        server.start()
        assert KEY.encode() not in b"".join(file.read_bytes() for file in (tmp_path / "data").iterdir())
        with server.client() as http:
            assert words(say(http, agent, reply_with("after"))["messages"]) == ["after"]
            assert http.delete(f"/v1/providers/{made['id']}").status_code == 200
            answer = http.post(f"/v1/agents/{agent}/messages", json={"input": "x"})
            assert "no model 'mine/gpt-4o-mini' is configured" in answer.json()["detail"]
            assert http.get(f"/v1/agents/{agent}").json()["model"] == "mine/gpt-4o-mini"
