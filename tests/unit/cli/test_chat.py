"""A conversation against a scripted server: what is sent, what is written where, what it ends with."""

import io
import json
from collections.abc import Callable

import httpx2
import pytest
from rich.console import Console

from kelpie.cli.chat import Conversation, choose_agent, choose_model, read_blocks
from kelpie.cli.client import Client
from kelpie.cli.wire import AgentAnswer
from kelpie.errors import InvalidInput, KelpieError, NotFound, Refused, ServerUnreachable

ANSWER = (
    b'data: {"message_type":"ping","id":"p"}\n\n'
    b'data: {"message_type":"reasoning_message","id":"m","reasoning":"Hm."}\n\n'
    b'data: {"message_type":"assistant_message","id":"m","content":"Hi."}\n\n'
    b'data: {"message_type":"stop_reason","stop_reason":"end_turn"}\n\ndata: [DONE]\n\n'
)


class Server:
    """Answers by (method, path), and keeps what it was asked."""

    def __init__(self, **answers: object) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str, object]] = []

    def client(self) -> Client:
        """A client of this server."""
        return Client("http://kelpie", transport=httpx2.MockTransport(self.answer))

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        """The scripted answer for the last part of the path."""
        self.asked.append((request.method, request.url.path, json.loads(request.content or b"null")))
        name = request.url.path.strip("/").split("/")[-1]
        answer = self.answers.get(f"{request.method}_{name}", self.answers.get(name))
        if isinstance(answer, httpx2.Response):
            return answer
        if isinstance(answer, bytes):
            return httpx2.Response(200, content=answer, headers={"content-type": "text/event-stream"})
        return httpx2.Response(200, json=answer)


def converse(server: Server, *lines: str, live: bool = False) -> tuple[int, str, str]:
    """Exit status, the agent's words, the rest."""
    words, notices = io.StringIO(), io.StringIO()
    agent = AgentAnswer(id="agent-1", name="Ada")
    consoles = Console(file=words, soft_wrap=True), Console(file=notices, soft_wrap=True)
    status = Conversation(server.client(), agent, *consoles, live=live).hold(iter(lines))
    return status, words.getvalue(), notices.getvalue()


def test_a_line_is_a_message_and_its_answer_is_written() -> None:
    """The message asks for tokens; words and thinking go to different places; blank lines say nothing."""
    server = Server(messages=ANSWER)
    assert converse(server, "Hello\n", "\n") == (0, "Hi.\n", "Hm.\n")
    assert server.asked == [
        (
            "POST",
            "/v1/agents/agent-1/messages",
            {
                "messages": [{"role": "user", "content": "Hello"}],
                "streaming": True,
                "stream_tokens": True,
                "include_pings": True,
            },
        )
    ]


def test_commands_are_not_messages() -> None:
    """/memory shows the blocks, /exit ends before the next line, an unknown one is named."""
    blocks = [{"label": "human", "value": "Name: Bo", "limit": 100}, {"label": "law", "value": "x", "read_only": True}]
    server = Server(blocks=blocks)
    status, words, notices = converse(server, "/memory", "/what now", "/exit", "never said")
    assert (status, words) == (0, "")
    assert notices == (
        "human (8 of 100 characters)\nName: Bo\nlaw (1 characters, read-only)\nx\n"
        "/what is no command; /help lists them\n"
    )
    assert [path for _, path, _ in server.asked] == ["/v1/agents/agent-1/core-memory/blocks"]


def test_a_refusal_is_read_out_and_the_conversation_goes_on() -> None:
    """The server's own words; the status tells a script that not all went well."""
    server = Server(messages=httpx2.Response(404, json={"detail": "Agent not found"}))
    assert converse(server, "a", "b") == (1, "", "Agent not found\nAgent not found\n")


def test_ctrl_c_cancels_the_turn_and_not_the_program() -> None:
    """An interrupt in the middle of the stream becomes a cancel request."""

    class Interrupted(httpx2.SyncByteStream):
        def __iter__(self):
            yield b'data: {"message_type":"assistant_message","id":"m","content":"Ha"}\n\n'
            raise KeyboardInterrupt

    server = Server(messages=httpx2.Response(200, stream=Interrupted()), cancel={})
    assert converse(server, "go") == (0, "Ha\n", "[cancelled]\n")
    assert server.asked[-1] == ("POST", "/v1/agents/agent-1/messages/cancel", {})


def test_a_person_may_wait_for_the_server_and_a_script_may_not() -> None:
    """A server that breaks off: said to a person, who may try again; the end of a script."""

    class Broken(httpx2.SyncByteStream):
        def __iter__(self):
            yield b'data: {"message_type":"assistant_message","id":"m","content":"Ha"}\n\n'
            raise httpx2.ReadError("connection reset")

    status, words, notices = converse(Server(messages=httpx2.Response(200, stream=Broken())), "go", live=True)
    assert (status, words) == (1, "Ha\n") and "stopped answering (connection reset)" in notices
    with pytest.raises(ServerUnreachable):
        converse(Server(messages=httpx2.Response(200, stream=Broken())), "go")


def choose(server: Server, agent: str | None = None, **options) -> AgentAnswer:
    return choose_agent(server.client(), agent, **{"new": False, "model": None, "blocks": [], **options})


def test_the_agent_used_last_is_taken() -> None:
    """By its last run, or by its making if it had none."""
    agents = [
        {"id": "agent-1", "created_at": "2026-01-03T00:00:00Z"},
        {"id": "agent-2", "created_at": "2026-01-01T00:00:00Z", "last_run_completion": "2026-01-04T00:00:00Z"},
    ]
    assert choose(Server(agents=agents)).id == "agent-2"


def test_an_agent_is_found_by_name_or_id() -> None:
    """An id is asked for directly, a name through the list; an unknown name says what to do."""
    server = Server(**{"agent-7": {"id": "agent-7"}, "agents": [{"id": "agent-8", "name": "Bo"}]})
    assert (choose(server, "agent-7").id, choose(server, "Bo").id) == ("agent-7", "agent-8")
    with pytest.raises(NotFound, match="no agent is named 'Cy'"):
        choose(Server(agents=[]), "Cy")


def test_a_new_agent_has_what_was_asked_for() -> None:
    """Name, model and blocks, as the server is told."""
    server = Server(POST_agents={"id": "agent-1"})
    choose(server, "Ada", new=True, model="openai/x", blocks=["human=Name: Bo", "a=b=c"])
    assert server.asked[-1][2] == {
        "name": "Ada",
        "model": "openai/x",
        "memory_blocks": [{"label": "human", "value": "Name: Bo"}, {"label": "a", "value": "b=c"}],
    }


def test_the_first_agent_makes_itself() -> None:
    """On an empty server a conversation can begin at once."""
    server = Server(GET_agents=[], POST_agents={"id": "agent-1"}, models=[{"handle": "kelpie/rehearsed"}])
    assert choose(server).id == "agent-1"
    body = server.asked[-1][2]
    assert isinstance(body, dict) and body["model"] == "kelpie/rehearsed"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: choose(Server(), model="x"),
        lambda: choose(Server(), blocks=["a=b"]),
        lambda: read_blocks(["no value"]),
        lambda: read_blocks(["=value"]),
        lambda: choose_model(["kelpie/rehearsed", "openai/a", "openai/b"]),
    ],
)
def test_what_cannot_be_guessed_is_asked_for(wrong: Callable[[], object]) -> None:
    """Options of a new agent without --new, a malformed block, and a choice among several real models."""
    with pytest.raises(InvalidInput):
        wrong()


def test_the_only_real_model_is_taken() -> None:
    """The rehearsed one is for when there is none."""
    assert choose_model(["kelpie/rehearsed", "openai/a"]) == "openai/a"
    assert choose_model(["kelpie/rehearsed"]) == "kelpie/rehearsed"


@pytest.mark.parametrize(
    ("response", "kind", "sentence"),
    [
        (httpx2.Response(404, json={"detail": "gone"}), NotFound, "gone"),
        (httpx2.Response(422, json={"detail": [{"loc": ["body", "x"], "msg": "no"}]}), InvalidInput, "body.x: no"),
        (httpx2.Response(503, json={"detail": "draining"}), ServerUnreachable, "status 503): draining"),
        (httpx2.Response(409, text="<html>"), Refused, "status 409"),
        (httpx2.Response(200, text="<html>"), ServerUnreachable, "is not a Kelpie server"),
    ],
)
def test_what_the_server_says_is_passed_on(response: httpx2.Response, kind: type[KelpieError], sentence: str) -> None:
    """Each refusal becomes a typed error with the server's words."""
    with pytest.raises(kind) as caught:
        Server(agents=response).client().list_agents(limit=1)
    assert type(caught.value) is kind and sentence in caught.value.sentence


def test_no_server_is_said_with_the_way_to_one() -> None:
    """The sentence names the address, the command and the variable."""

    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("Connection refused")

    with pytest.raises(ServerUnreachable) as caught:
        Client("http://kelpie", transport=httpx2.MockTransport(refuse)).health()
    assert all(word in caught.value.sentence for word in ("http://kelpie", "kelpie serve", "KELPIE_URL"))
