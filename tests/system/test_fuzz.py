"""A schema-driven fuzzer against our own OpenAPI document: no server error, and every answer as documented."""

import re
import subprocess
from pathlib import Path

import httpx2
import pytest

from kelpie.api.letta.table import ROUTES
from tests.system.server import BIN, KelpieServer, running_kelpie
from tests.system.talk import create_agent, reply_with, say, words

SEED = 8_283
EXAMPLES = 2  # for each operation, beside the systematic cases of the coverage phase
SECONDS_MAX = 420
LEFT_OUT = sorted({re.escape(route.path) for route in ROUTES if route.refusals == (501,)})
NOT_FUZZED = (
    "^/v1/(anthropic|zai)/",  # what is passed on is not ours to answer
    "^/v1/providers/.*(check|refresh)$",  # asks a provider, and there is no network
    "^/v1/(mcp-servers|tools/mcp)/",  # starts programs and connects to whatever is drawn
    *(f"^{path}$" for path in LEFT_OUT),  # answers 501, which is no error of the server's
)
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory):
    """An own server, because the fuzzer leaves a mess; only the offline model."""
    with running_kelpie(tmp_path_factory.mktemp("fuzz")) as server:
        yield server


def test_the_fuzzer_finds_no_server_error_and_no_undocumented_answer(fuzzed: KelpieServer, tmp_path: Path) -> None:
    """Goal: the document is true. Method: schemathesis, bounded, seeded; then the server is used as ever."""
    arguments = [  # one worker: CPython 3.11 parses lambdas wrongly in two threads at once (a SystemError)
        *("run", f"{fuzzed.url}/openapi.json", "--phases", "examples,coverage,fuzzing"),
        *("--max-examples", str(EXAMPLES), "--seed", str(SEED), "--workers", "1", "--checks", ",".join(CHECKS)),
        *("--exclude-path-regex", "|".join(NOT_FUZZED)),
        *("--request-timeout", "20", "--no-color", "--suppress-health-check", "all", "--warnings", "off"),
    ]
    done = subprocess.run(
        [str(BIN / "schemathesis"), *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS_MAX
    )
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2_000:]
    assert "Traceback" not in fuzzed.log(), fuzzed.log()[-4_000:]
    with fuzzed.client() as http:
        agent = create_agent(http, model="kelpie/rehearsed")["id"]
        assert words(say(http, agent, reply_with("still here"))["messages"]) == ["still here"]


def test_every_route_that_is_served_is_documented(fuzzed: KelpieServer) -> None:
    """Goal: nothing that a client needs is missing from the document. Method: the routes that the other tests use."""
    document = httpx2.get(f"{fuzzed.url}/openapi.json").raise_for_status().json()
    served = {(method.upper(), path.rstrip("/")) for path, item in document["paths"].items() for method in item}
    needed = {
        ("GET", "/v1/health"), ("GET", "/v1/models"), ("GET", "/v1/tools"), ("GET", "/v1/runs"),
        ("GET", "/v1/agents"), ("POST", "/v1/agents"), ("GET", "/v1/agents/count"),
        ("GET", "/v1/agents/{agent_id}"), ("PATCH", "/v1/agents/{agent_id}"), ("DELETE", "/v1/agents/{agent_id}"),
        ("GET", "/v1/agents/{agent_id}/messages"), ("POST", "/v1/agents/{agent_id}/messages"),
        ("POST", "/v1/agents/{agent_id}/messages/async"), ("POST", "/v1/agents/{agent_id}/messages/stream"),
        ("POST", "/v1/agents/{agent_id}/messages/cancel"), ("GET", "/v1/agents/{agent_id}/tools"),
        ("GET", "/v1/agents/{agent_id}/core-memory/blocks"),
        ("PATCH", "/v1/agents/{agent_id}/core-memory/blocks/{block_label}"),
        ("PATCH", "/v1/agents/{agent_id}/core-memory/blocks/attach/{block_id}"),
        ("GET", "/v1/blocks"), ("POST", "/v1/blocks"), ("GET", "/v1/blocks/{block_id}"),
        ("GET", "/v1/runs/{run_id}"), ("POST", "/v1/runs/{run_id}/stream"), ("GET", "/v1/runs/{run_id}/messages"),
    }  # fmt: skip
    assert needed - served == set()
