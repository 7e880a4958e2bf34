"""Messages that an agent is sent at a time, by the official client; a killed server sends them once."""

import time
from pathlib import Path

import letta_client
import pytest
from letta_client import Letta

from tests.system.server import ModelServer, running_kelpie
from tests.system.talk import REHEARSED, create_agent, history, mark, text_of, wait_for
from tests.wire.conftest import MakeAgent
from tests.wire.reading import user


def test_a_schedule_is_made_read_listed_and_forgotten(client: Letta, make_agent: MakeAgent) -> None:
    agent = make_agent()
    daily = {"type": "recurring", "cron_expression": "0 9 * * *"}
    made = client.agents.schedule.create(agent.id, messages=user("good morning"), schedule=daily)  # type: ignore[arg-type]
    assert made.next_scheduled_at is not None and "T09:00:00" in made.next_scheduled_at
    once = {"type": "one-time", "scheduled_at": (time.time() + 3_600) * 1_000}
    other = client.agents.schedule.create(agent.id, messages=user("later"), schedule=once, max_steps=3)  # type: ignore[arg-type]
    listed = client.agents.schedule.list(agent.id)
    assert [one.id for one in listed.scheduled_messages] == [made.id, other.id] and not listed.has_next_page
    assert client.agents.schedule.list(agent.id, limit="1").has_next_page
    read = client.agents.schedule.retrieve(made.id, agent_id=agent.id)
    assert (read.agent_id, read.message.messages[0].content) == (agent.id, "good morning")
    assert read.next_scheduled_time == made.next_scheduled_at
    assert client.agents.schedule.delete(made.id, agent_id=agent.id).success
    with pytest.raises(letta_client.NotFoundError):
        client.agents.schedule.retrieve(made.id, agent_id=agent.id)
    with pytest.raises(letta_client.BadRequestError):
        never = {"type": "recurring", "cron_expression": "never"}
        client.agents.schedule.create(agent.id, messages=user("x"), schedule=never)  # type: ignore[arg-type]


def test_a_schedule_outlives_a_killed_server(tmp_path: Path, models: ModelServer) -> None:
    """Due while nothing runs, and killed again while it is sent: it is sent when the server is back, once."""
    word = mark("word")
    with running_kelpie(tmp_path, models) as server:
        with server.client() as http:
            agent = create_agent(http, model=REHEARSED)["id"]
            when = {"type": "one-time", "scheduled_at": (time.time() + 0.5) * 1_000}
            body = {"messages": [{"role": "user", "content": word}], "schedule": when}
            assert http.post(f"/v1/agents/{agent}/schedule", json=body).status_code == 200
        server.kill()
        time.sleep(0.7)
        for _ in range(3):
            server.start()
            time.sleep(0.6)
            server.kill()
        server.start()
        with server.client() as http:
            wait_for(lambda: str(history(http, agent)), lambda seen: word in seen)
            time.sleep(2.5)
            heard = [text_of(one) for one in history(http, agent) if one["message_type"] == "user_message"]
            assert heard == [word]
            assert http.get(f"/v1/agents/{agent}/schedule").json()["scheduled_messages"] == []
