"""The `letta` command line tool, unmodified and headless, against a real server: it starts, talks, works, resumes.

It is a coding agent: its tools run in its own process, so the server asks it by an approval and it answers with what
came of the call. Each run is a process of its own with a home that nothing else uses.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from letta_client import Letta

from tests.system.server import KelpieServer
from tests.system.talk import OPENAI, mark, reply_with
from tests.wire.installed import importing, installed
from tests.wire.reading import kinds, only

START = "from letta_code import main; main()"
RUN_SECONDS_MAX = 120

Tool = Callable[..., Any]


@pytest.fixture(scope="module")
def letta(server: KelpieServer, tmp_path_factory: pytest.TempPathFactory) -> Tool:
    """Runs the tool once; what it prints, which is JSON. `home` and `work` are directories of this module's runs."""
    home, work = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("work")
    env = importing(
        installed(Path(__file__).with_name("command_line_tool")),
        HOME=str(home),
        LETTA_BASE_URL=server.url,
        LETTA_API_KEY="anything",
        DISABLE_AUTOUPDATER="1",
        NO_PROXY="127.0.0.1",
    )

    def run(*arguments: str) -> Any:
        """What one run prints. Into files: programs that it leaves behind would hold a pipe open."""
        printed, complained = work.with_suffix(".out"), work.with_suffix(".err")
        with printed.open("w") as output, complained.open("w") as errors:
            process = subprocess.Popen(
                [sys.executable, "-c", START, *arguments],
                cwd=work,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
            try:
                status = process.wait(RUN_SECONDS_MAX)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        told = f"{printed.read_text()[-4000:]}\n{complained.read_text()[-4000:]}\n{server.log()[-2000:]}"
        assert status == 0, told
        return json.loads(printed.read_text())

    return run


def ask(tool: Tool, prompt: str, *arguments: str) -> dict[str, Any]:
    """One headless turn."""
    answer = tool("-p", prompt, "--output-format", "json", *arguments)
    assert (answer["type"], answer["subtype"], answer["is_error"]) == ("result", "success", False)
    return answer


def execute(command: str) -> str:
    """A prompt that makes the scripted model run a command on the client's machine."""
    return f"Call the exec_command tool with cmd='{command}' and description='what a test asks for'"


@pytest.fixture(scope="module")
def begun(letta: Tool) -> dict[str, Any]:
    """A new agent with a first turn in a conversation."""
    return ask(letta, reply_with("begun"), "--new-agent", "-m", OPENAI, "--base-tools", "memory_insert", "--yolo")


def test_it_makes_an_agent_and_talks_with_it(client: Letta, begun: dict[str, Any]) -> None:
    assert (begun["result"], begun["num_turns"], begun["usage"]["step_count"]) == ("begun", 1, 1)
    agent = client.agents.retrieve(begun["agent_id"], include=["agent.tags", "agent.tools", "agent.blocks"])
    assert (agent.model, agent.agent_type) == (OPENAI, "letta_v1_agent")
    assert "origin:letta-code" in agent.tags
    assert "memory_insert" in [one.name for one in agent.tools]
    assert {"human", "persona"} <= {one.label for one in agent.blocks}
    talk = client.conversations.retrieve(begun["conversation_id"])
    assert talk.agent_id == agent.id


def test_its_own_tool_is_run_where_it_is(client: Letta, letta: Tool, begun: dict[str, Any]) -> None:
    word = mark("said")
    answer = ask(letta, execute(f"echo {word}"), "--conversation", begun["conversation_id"], "--yolo")
    assert f"Output:\n{word}" in answer["result"] and answer["num_turns"] == 2
    messages = client.conversations.messages.list(begun["conversation_id"], order="asc").items
    assert kinds(messages)[-5:] == [
        "user_message",
        "approval_request_message",
        "approval_response_message",
        "tool_return_message",
        "assistant_message",
    ]
    assert messages[-4].tool_call.name == "exec_command"
    assert messages[-2].status == "success" and word in messages[-2].tool_return


def test_a_tool_that_its_user_forbids_is_not_run(client: Letta, letta: Tool, begun: dict[str, Any]) -> None:
    conversation = ["--conversation", begun["conversation_id"]]
    answer = ask(letta, execute("touch made"), *conversation, "--disallowedTools", "exec_command")
    assert "Permission denied by rule" in answer["result"]
    latest = client.conversations.messages.list(begun["conversation_id"], order="desc", limit=4).items
    (decision,) = only(latest, "approval_response_message").approvals
    assert (decision.approve, "Permission denied by rule" in decision.reason) == (False, True)
    assert only(latest, "tool_return_message").status == "error"


def test_the_agent_edits_its_memory(client: Letta, letta: Tool, begun: dict[str, Any]) -> None:
    fact = mark("fact")
    prompt = f"Call the memory_insert tool with label 'human' and new_string '{fact}'"
    ask(letta, prompt, "--conversation", begun["conversation_id"], "--yolo")
    assert fact in client.agents.blocks.retrieve("human", agent_id=begun["agent_id"]).value


def test_a_conversation_is_resumed(client: Letta, letta: Tool, begun: dict[str, Any]) -> None:
    word = mark("resumed")
    answer = ask(letta, reply_with(word), "--conversation", begun["conversation_id"], "--yolo")
    assert (answer["result"], answer["agent_id"]) == (word, begun["agent_id"])
    assert answer["conversation_id"] == begun["conversation_id"]
    transcript = letta("messages", "transcript", "--conversation", begun["conversation_id"])["transcript"]
    assert reply_with("begun") in transcript and transcript.rindex(word) > transcript.index(reply_with("begun"))


def test_another_conversation_of_the_agent_is_another_one(letta: Tool, begun: dict[str, Any]) -> None:
    answer = ask(letta, reply_with("apart"), "--agent", begun["agent_id"], "--new", "--yolo")
    assert (answer["result"], answer["agent_id"]) == ("apart", begun["agent_id"])
    assert answer["conversation_id"] not in (None, begun["conversation_id"])


def test_its_lists_are_those_of_the_server(client: Letta, letta: Tool, begun: dict[str, Any]) -> None:
    assert begun["agent_id"] in [one["id"] for one in letta("agents", "list", "--limit", "50")["body"]]
    assert {one["handle"] for one in letta("model", "list")} == {one.handle for one in client.models.list()}
