"""Agents talk to each other, over the official client; a killed server loses nothing of it and says nothing twice."""

import json
import time
from pathlib import Path

from letta_client import Letta

from tests.system.server import ModelServer, running_kelpie
from tests.system.talk import REHEARSED, create_agent, history, mark, post_async, reply_with, wait_for, wait_run
from tests.wire.conftest import MakeAgent
from tests.wire.reading import only, user

ASK, TELL = "send_message_to_agent_and_wait_for_reply", "send_message_to_agent_async"
SLOW = "openai/slow-1000"


def call(tool: str, target: str, message: str) -> str:
    """What makes the scripted models call that tool."""
    return f"Call the {tool} tool with {json.dumps({'other_agent_id': target, 'message': message})}"


def test_an_agent_asks_another(client: Letta, make_agent: MakeAgent) -> None:
    """The tools come with `include_multi_agent_tools`, under their names; the answer is the tool's result."""
    ada, bob = make_agent(name="Ada", extra_body={"include_multi_agent_tools": True}), make_agent()
    tools = {tool.name: tool.tool_type for tool in ada.tools}
    assert tools[ASK] == tools[TELL] == "letta_multi_agent_core"
    answer = client.agents.messages.create(ada.id, messages=user(call(ASK, bob.id, reply_with("forty-two"))))
    assert "forty-two" in only(answer.messages, "tool_return_message").tool_return
    heard = [one for one in client.agents.messages.list(bob.id) if one.message_type == "user_message"]
    assert [one.sender_id for one in heard] == [ada.id]


def test_messages_between_agents_outlive_a_killed_server(tmp_path: Path, models: ModelServer) -> None:
    """Killed while one agent waits for another: afterwards the answer arrives, of the one message that was sent."""
    words = [mark("word") for _ in range(3)]
    with running_kelpie(tmp_path, models) as server:
        with server.client() as http:
            ada = create_agent(http, model=REHEARSED, include_multi_agent_tools=True)["id"]
            bob = create_agent(http, model=SLOW)["id"]
        for word in words:
            with server.client() as http:
                run_id = post_async(http, ada, call(ASK, bob, reply_with(word))).json()["id"]
                wait_for(lambda: str(history(http, bob)), lambda seen, word=word: word in seen)
                time.sleep(0.2)
            server.kill()
            server.start()
            with server.client() as http:
                assert wait_run(http, run_id)["status"] == "completed"
        with server.client() as http:
            returns = [one["tool_return"] for one in history(http, ada) if one["message_type"] == "tool_return_message"]
            assert len(returns) == len(words) and all(word in told for word, told in zip(words, returns, strict=True))
            heard = [one["content"] for one in history(http, bob) if one["message_type"] == "user_message"]
            assert [sum(word in said for said in heard) for word in words] == [1] * len(words)
