"""Tool rules, agent types, pictures, forms of replies and probabilities, with the official client on a real server."""

import json
from typing import Any

import pytest
from letta_client import Letta

from tests.system.server import ModelServer
from tests.system.talk import ANTHROPIC, OPENAI, REHEARSED, mark, reply_with
from tests.wire.conftest import MakeAgent
from tests.wire.reading import kinds, only, user
from tests.wire.wire import Wire

RULES: list[dict[str, Any]] = [
    {"tool_name": "memory_insert", "type": "run_first", "prompt_template": None, "args": {"label": "human"}},
    {
        "tool_name": "memory_insert", "type": "constrain_child_tools", "prompt_template": None,
        "children": ["conversation_search"], "child_arg_nodes": [{"name": "conversation_search", "args": {"limit": 1}}],
    },
    {
        "tool_name": "memory_replace", "type": "conditional", "prompt_template": "p", "default_child": None,
        "child_output_mapping": {"yes": "memory_insert"}, "require_output_mapping": False,
    },
    {"tool_name": "conversation_search", "type": "exit_loop", "prompt_template": None},
    {"tool_name": "memory_replace", "type": "continue_loop", "prompt_template": None},
    {"tool_name": "memory_replace", "type": "max_count_per_step", "prompt_template": None, "max_count_limit": 2},
    {"tool_name": "x", "type": "parent_last_tool", "prompt_template": None, "children": ["y"]},
    {"tool_name": "x", "type": "required_before_exit", "prompt_template": None},
]  # fmt: skip


def test_rules_are_kept_shown_and_changed(client: Letta, make_agent: MakeAgent) -> None:
    """Each type, with all its fields."""
    agent = make_agent(tool_rules=RULES)
    shown = [rule.model_dump() for rule in client.agents.retrieve(agent.id).tool_rules or []]
    assert [{name: rule[name] for name in asked} for rule, asked in zip(shown, RULES, strict=True)] == RULES
    assert client.agents.update(agent.id, tool_rules=[]).tool_rules == []


def test_rules_force_bar_and_end(client: Letta, make_agent: MakeAgent, models: ModelServer) -> None:
    """The first tool is forced, its child follows with the arguments given, and ends the turn."""
    agent, word = make_agent(OPENAI, tool_rules=RULES[:2] + RULES[3:4]), mark()
    reply = client.agents.messages.create(agent.id, messages=user(reply_with(word)))
    assert reply.stop_reason.stop_reason == "tool_rule"
    calls = [one.tool_call for one in reply.messages if one.message_type == "tool_call_message"]
    assert [call.name for call in calls] == ["memory_insert", "conversation_search"]
    assert json.loads(calls[0].arguments)["label"] == "human" and json.loads(calls[1].arguments) == {"limit": 1}
    first = models.requests(word)[0]
    assert [tool["function"]["name"] for tool in first["tools"]] == ["memory_insert"]
    assert first["tool_choice"] == {"type": "function", "function": {"name": "memory_insert"}}


@pytest.mark.parametrize("kind", ["memgpt_agent", "memgpt_v2_agent"])
def test_older_types_speak_with_a_tool(client: Letta, make_agent: MakeAgent, model: str, kind: str) -> None:
    """Which is shown as what they said, unless it is asked for as it was; it ends the turn."""
    agent, word = make_agent(model, agent_type=kind), mark()
    assert "send_message" in [tool.name for tool in agent.tools]
    ends = [rule.tool_name for rule in agent.tool_rules or [] if rule.type == "exit_loop"]
    assert ends == ["send_message"]
    reply = client.agents.messages.create(agent.id, messages=user(reply_with(word)))
    assert kinds(reply.messages) == ["assistant_message"]
    assert only(reply.messages, "assistant_message").content == word
    assert reply.stop_reason.stop_reason == "tool_rule"
    raw = client.agents.messages.create(agent.id, messages=user(reply_with(word)), use_assistant_message=False)
    assert kinds(raw.messages) == ["tool_call_message", "tool_return_message"]
    with client.agents.messages.create(
        agent.id, messages=user(reply_with(f"{word} again")), streaming=True, stream_tokens=True
    ) as stream:
        said = [event.content for event in stream if event.message_type == "assistant_message"]
    assert "".join(said) == f"{word} again"


def test_the_memory_tool_changes_the_set_of_blocks(client: Letta, make_agent: MakeAgent) -> None:
    """In a turn: a block is made, renamed, edited and another given up; each is seen by the client, and no half."""
    agent = make_agent(REHEARSED, tools=["memory"])
    human = client.agents.blocks.retrieve("human", agent_id=agent.id)
    calls: list[dict[str, Any]] = [
        {"command": "create", "path": "/memories/notes", "description": "What to keep.", "file_text": "tea"},
        {"command": "rename", "old_path": "/memories/notes", "new_path": "/memories/drinks"},
        {"command": "str_replace", "path": "/memories/drinks", "old_string": "tea", "new_string": "coffee"},
        {"command": "delete", "path": "/memories/human"},
        {"command": "delete", "path": "/memories/human"},
    ]
    asked = " then ".join(f"call the memory tool with {json.dumps(call)}" for call in calls)
    reply = client.agents.messages.create(agent.id, messages=user(asked))
    returns = [one.status for one in reply.messages if one.message_type == "tool_return_message"]
    assert returns == ["success"] * 4 + ["error"]
    blocks = {block.label: block for block in client.agents.blocks.list(agent.id).items}
    assert (blocks["drinks"].value, blocks["drinks"].description) == ("coffee", "What to keep.")
    assert "human" not in blocks and "notes" not in blocks
    assert client.blocks.retrieve(human.id).value == human.value, "given up, not destroyed"


@pytest.mark.parametrize("kind", ["react_agent", "workflow_agent", "split_thread_agent", "sleeptime_agent"])
def test_all_types_answer(client: Letta, make_agent: MakeAgent, kind: str) -> None:
    agent = make_agent(agent_type=kind)
    reply = client.agents.messages.create(agent.id, messages=user("hello"))
    assert agent.agent_type == kind and kinds(reply.messages)
    assert agent.message_buffer_autoclear is (kind == "workflow_agent")


@pytest.mark.parametrize("handle", [OPENAI, ANTHROPIC])
def test_pictures_are_kept_shown_and_sent(
    client: Letta, make_agent: MakeAgent, models: ModelServer, handle: str
) -> None:
    agent, word = make_agent(handle), mark()
    sources: list[dict[str, Any]] = [
        {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo=", "detail": None},
        {"type": "url", "url": "https://example.com/a.png"},
    ]
    content = [{"type": "text", "text": reply_with(word)}, *[{"type": "image", "source": one} for one in sources]]
    reply = client.agents.messages.create(agent.id, messages=[{"role": "user", "content": content}])
    assert only(reply.messages, "assistant_message").content == word
    listed = only(client.agents.messages.list(agent.id).items, "user_message").content
    assert [part.source.model_dump() for part in listed[1:]] == sources
    sent = str(models.requests(word)[-1])
    assert "iVBORw0KGgo=" in sent and "https://example.com/a.png" in sent


@pytest.mark.parametrize("handle", [OPENAI, ANTHROPIC])
def test_replies_have_the_form_that_is_asked_for(client: Letta, make_agent: MakeAgent, handle: str) -> None:
    schema = {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}
    form = {"type": "json_schema", "json_schema": {"name": "mood", "schema": schema}}
    agent, word = make_agent(handle, response_format=form), mark()
    assert client.agents.retrieve(agent.id).response_format.model_dump() == form  # pyright: ignore
    reply = client.agents.messages.create(agent.id, messages=user(reply_with(word)))
    assert json.loads(only(reply.messages, "assistant_message").content) == {"mood": word}
    changed = client.agents.update(agent.id, response_format={"type": "text"})
    assert changed.response_format is None


def test_probabilities_of_the_tokens(client: Letta, make_agent: MakeAgent) -> None:
    agent, word = make_agent(OPENAI), mark()
    options: dict[str, Any] = {"return_logprobs": True, "top_logprobs": 2}
    reply = client.agents.messages.create(agent.id, messages=user(reply_with(word)), **options)
    (token,) = reply.logprobs.content  # pyright: ignore
    assert (token.token, token.logprob, len(token.top_logprobs)) == (word, -0.5, 2)


def test_the_system_prompt_is_replaced_for_one_run(client: Letta, make_agent: MakeAgent, models: ModelServer) -> None:
    agent, word, system = make_agent(OPENAI), mark(), mark("system")
    client.agents.messages.create(agent.id, messages=user(reply_with(word)), override_system=system)
    assert models.requests(word)[-1]["messages"][0] == {"role": "system", "content": system}


def test_the_model_is_asked_beside_the_agent(client: Letta, make_agent: MakeAgent, model: str, wire: Wire) -> None:
    """With words, and in a form; the agent knows nothing of it."""
    agent, word = make_agent(model), mark()
    path = f"/v1/agents/{agent.id}/generate"
    told = wire.post(path, {"prompt": reply_with(word), "system_prompt": "Be brief."})
    assert told["content"] == word and told["usage"]["step_count"] == 1
    schema = {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}
    formed = wire.post(path, {"prompt": reply_with(word), "response_schema": schema})
    assert json.loads(formed["content"]) == {"mood": word}
    assert kinds(client.agents.messages.list(agent.id).items) == ["system_message"]
    assert wire.refuse("POST", path, 404, {"prompt": "x", "override_model": "openai/nope"})
    assert wire.refuse("POST", path, 422, {"prompt": ""})


@pytest.mark.parametrize(("window", "files", "chars"), [(8_000, 3, 5_000), (32_000, 5, 15_000), (250_000, 15, 40_000)])
def test_what_is_not_said_follows_from_the_window_and_the_label(
    make_agent: MakeAgent, window: int, files: int, chars: int
) -> None:
    blocks: Any = [{"label": "persona", "value": "x"}, {"label": "other", "value": "y"}]
    agent = make_agent(context_window_limit=window, memory_blocks=blocks)
    assert (agent.max_files_open, agent.per_file_view_window_char_limit) == (files, chars)
    described = {block.label: bool(block.description) for block in agent.memory.blocks}
    assert described == {"persona": True, "other": False}
    assert make_agent(context_window_limit=window, max_files_open=7).max_files_open == 7
