"""Goal: what an agent did is told in a terminal. Method: a scripted server; and one turn on a real one."""

import io
import subprocess
import sys

import httpx2
from rich.console import Console

from kelpie.cli.client import Client
from kelpie.cli.runs import duration, ending, line_of, show_run, show_runs
from kelpie.cli.wire import CallPiece, Event, RunAnswer
from tests.unit.cli.test_serve_process import serving

RUN = {
    "id": "run-1",
    "agent_id": "agent-1",
    "status": "failed",
    "stop_reason": "llm_api_error",
    "created_at": "2026-11-26T04:00:00.000000Z",
    "total_duration_ns": 1_500_000_000,
    "metadata": {"run_type": "send_message", "error": {"type": "x", "message": "no such key"}},
}
STEP = {"id": "step-1", "model_handle": "acme/m", "status": "success", "prompt_tokens": 7, "completion_tokens": 3}
PENDING = {"id": "step-2", "model_handle": None, "status": "pending"}
SAID = [
    {"message_type": "user_message", "content": "hi\nthere"},
    {"message_type": "tool_call_message", "tool_call": {"name": "roll", "arguments": "{}", "tool_call_id": "c"}},
    {"message_type": "tool_return_message", "tool_return": "4", "status": "success"},
]


def told(show, *arguments) -> str:
    """What is printed of a server that has one run of two steps, the second of which is being asked."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        match request.url.path:
            case "/v1/runs/":
                return httpx2.Response(200, json=[RUN])
            case "/v1/runs/run-1":
                return httpx2.Response(200, json=RUN)
            case "/v1/runs/run-1/steps":
                return httpx2.Response(200, json=[STEP, PENDING])
            case "/v1/steps/step-1/metrics":
                return httpx2.Response(200, json={"llm_request_ns": 12_000_000, "tool_execution_ns": 2_000_000})
            case "/v1/steps/step-1/messages":
                return httpx2.Response(200, json=SAID)
            case _:
                return httpx2.Response(404, json={"detail": "not found"})

    written = io.StringIO()
    client = Client("http://kelpie", transport=httpx2.MockTransport(answer))
    show(client, *arguments, Console(file=written, width=200))
    return written.getvalue()


def test_runs_are_a_table_and_a_run_is_told_step_by_step() -> None:
    table = told(show_runs, None, 5)
    assert "2026-11-26 04:00:00" in table and "failed (llm_api_error)" in table and "1500 ms" in table
    assert table.splitlines()[1].split()[-5:-2] == ["2", "7", "3"]
    story = told(show_run, "run-1")
    for words in (
        "run-1 of agent-1: failed (llm_api_error), 2 steps, 7 tokens in, 3 out, 1500 ms",
        "step 1  acme/m  7 in, 3 out  model 12 ms, tools 2 ms  success",
        "is told: hi there",
        "calls roll({})",
        "returned (success): 4",
        "(the model is being asked)",
        "no such key",
    ):
        assert words in story, words


def test_lines_are_clipped_with_a_count_and_cannot_steer_the_terminal() -> None:
    long = line_of(Event(message_type="assistant_message", content="x" * 500))
    assert long.startswith("says: x") and long.endswith("… (106 characters more)")
    assert "\x1b" not in line_of(Event(message_type="assistant_message", content="\x1b[2J"))
    assert line_of(Event(message_type="approval_request_message", tool_call=CallPiece(name="f", arguments="{}"))) == (
        "calls f({})"
    )


def test_small_words() -> None:
    assert [duration(None), duration(1_000_000), duration(61_000_000_000)] == ["-", "1 ms", "61 s"]
    done = RunAnswer(id="r", status="completed", stop_reason="end_turn")
    assert (ending(done), ending(RunAnswer(id="r", status="cancelled", stop_reason="cancelled"))) == (
        "completed",
        "cancelled",
    )


def test_the_command_on_a_real_server(tmp_path) -> None:
    """An agent that used its memory; its name, and then its run, are asked for."""

    def command(http: httpx2.Client, *words: str) -> str:
        line = [sys.executable, "-m", "kelpie.cli.main", "runs", *words, "--url", str(http.base_url)]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, check=True).stdout

    with serving(tmp_path) as (_, http):
        assert "There is no run yet" in command(http)
        agent = http.post("/v1/agents/", json={"name": "ada", "model": "kelpie/rehearsed", "memory_blocks": [
            {"label": "human", "value": "H"}]}).json()  # fmt: skip
        text = "Call the memory_insert tool with label 'human' and new_string 'tea'"
        http.post(f"/v1/agents/{agent['id']}/messages", json={"input": text})
        table = command(http, "ada")
        assert agent["id"] in table and "completed" in table
        (run_id,) = [word for word in table.split() if word.startswith("run-")]
        story = command(http, run_id)
        assert "step 2" in story and "calls memory_insert(" in story and "kelpie/rehearsed" in story
