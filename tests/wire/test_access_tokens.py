"""Access tokens: what they permit is permitted, and nothing else, until they end or are deleted."""

from datetime import UTC, datetime, timedelta
from typing import Any

import letta_client
import pytest
from letta_client import Letta

from tests.system.server import KelpieServer
from tests.system.talk import REHEARSED
from tests.wire.wire import Wire

HOST = "https://app.example"


def a_token(client: Letta, agent_id: str, *access: Any, **fields: Any) -> Any:
    return client.access_tokens.create(
        hostname=HOST, policy=[{"id": agent_id, "access": list(access), "type": "agent"}], **fields
    )


def test_a_token_permits_what_it_says(client: Letta, server: KelpieServer, make_agent: Any) -> None:
    """Reading is not writing, messages are not the agent, one agent is not another; nothing else is open."""
    agent, other = make_agent(REHEARSED), make_agent(REHEARSED)
    token = a_token(client, agent.id, "read_messages", "write_messages")
    with Letta(base_url=server.url, api_key=token.token, max_retries=0) as held:
        assert held.agents.messages.create(agent.id, input="Hello").messages
        assert held.agents.messages.list(agent.id).items
        for refused in (
            lambda: held.agents.retrieve(agent.id),
            lambda: held.agents.update(agent.id, name="mine"),
            lambda: held.agents.delete(agent.id),
            lambda: held.agents.messages.list(other.id),
            lambda: held.agents.list(),
            lambda: held.access_tokens.list(),
        ):
            with pytest.raises(letta_client.PermissionDeniedError):
                refused()
    reader = a_token(client, agent.id, "read_agent")
    with Letta(base_url=server.url, api_key=reader.token, max_retries=0) as held:
        assert held.agents.retrieve(agent.id).id == agent.id
        with pytest.raises(letta_client.PermissionDeniedError):
            held.agents.messages.create(agent.id, input="Hello")


def test_tokens_are_listed_and_deleted(client: Letta, server: KelpieServer, make_agent: Any) -> None:
    agent = make_agent(REHEARSED)
    tokens = [a_token(client, agent.id, "read_agent") for _ in range(3)]
    listed = client.access_tokens.list(agent_id=agent.id, limit=2)
    assert ([one.token for one in listed.tokens], listed.has_next_page) == (
        [tokens[2].token, tokens[1].token],
        True,
    )
    assert listed.tokens[0].policy.data[0].id == agent.id and listed.tokens[0].hostname == HOST
    client.access_tokens.delete(tokens[0].token, body={})
    assert len(client.access_tokens.list(agent_id=agent.id).tokens) == 2
    with Letta(base_url=server.url, api_key=tokens[0].token, max_retries=0) as held:
        with pytest.raises(letta_client.AuthenticationError):
            held.agents.retrieve(agent.id)
    with pytest.raises(letta_client.NotFoundError):
        client.access_tokens.delete(tokens[0].token, body={})


def test_what_is_wrong_with_a_token_is_told(client: Letta, wire: Wire, make_agent: Any) -> None:
    agent = make_agent(REHEARSED)
    soon = datetime.now(UTC) + timedelta(hours=1)
    assert (
        datetime.fromisoformat(a_token(client, agent.id, "read_agent", expires_at=soon.isoformat()).expires_at) == soon
    )
    for fields in ({"expires_at": "2020-01-01"}, {"hostname": "app.example"}, {"policy": []}):
        grant = {"id": agent.id, "access": ["read_agent"], "type": "agent"}
        body = {"hostname": HOST, "policy": [grant], **fields}
        wire.refuse("POST", "/v1/client-side-access-tokens", 400, body)
    with pytest.raises(letta_client.UnprocessableEntityError):
        a_token(client, agent.id, "fly")
    with pytest.raises(letta_client.NotFoundError):
        a_token(client, "agent-123e4567-e89b-42d3-a456-426614174000", "read_agent")
