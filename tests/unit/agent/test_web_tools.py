"""Searching, reading, running code: what is asked of the outside, and what the model is told of the answers."""

from collections.abc import Mapping

import msgspec
import pytest

from kelpie.access.vault import Vault
from kelpie.agent.web_tools import SearchProvider, WebDesk, fetch_webpage, run_code, web_box, web_search
from kelpie.errors import KelpieError, ToolServerUnavailable
from kelpie.ids import AgentId
from kelpie.sandbox.sandbox import Ended, Job
from kelpie.storage.checked import CheckedStore
from kelpie.storage.memory import MemoryStore
from kelpie.storage.records import Records
from kelpie.system import system_world
from kelpie.tools.tool import ToolOutcome
from kelpie.tools.web import Page
from kelpie_sim.sandbox import Behaviour, Ends, SimSandbox

WORLD = system_world()
RESULT = {"url": "http://a/", "title": "A", "publishedDate": "2026-01-02", "text": "long", "highlights": ["short"]}


class FakeWeb:
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self, answer: Page | KelpieError) -> None:
        self.answer = answer
        self.asked: list[tuple[str, Mapping[str, str], bytes]] = []

    async def fetch(self, url: str) -> Page:
        return await self.post(url, {}, b"")

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Page:
        self.asked.append((url, headers, body))
        if isinstance(self.answer, KelpieError):
            raise self.answer
        return self.answer


def page(content: bytes, status: int = 200, kind: str = "text/html; charset=utf-8") -> Page:
    return Page(url="http://site/dir/x.bin", status=status, content_type=kind, content=content)


def a_desk(answer: Page | KelpieError, *, key: str = "", **result: object) -> WebDesk:
    def behave(job: Job) -> Behaviour:
        return Ends(
            ended=Ended(result=msgspec.json.encode(result), stdout="out") if result else Ended(result=None, died="d")
        )

    return WebDesk(
        records=Records(CheckedStore(MemoryStore(WORLD))),
        vault=Vault(bytes(32), WORLD.entropy),
        web=FakeWeb(answer),
        sandbox=SimSandbox(behave),
        provider=SearchProvider(url="http://search", key=key),
        agent_id=AgentId("agent-1"),
    )


def test_tools_are_declared_as_clients_know_them() -> None:
    """Names, arguments and required ones as in 0.16.8."""
    desk = a_desk(page(b""))
    box = web_box(desk.records, desk.vault, desk.web, desk.sandbox, desk.provider)
    shown = {}
    for tool in box.list_tools():
        schema = msgspec.json.decode(tool.parameters)
        shown[tool.name] = (list(schema["properties"]), schema["required"], tool.kind)
    search = "query num_results category include_text include_domains exclude_domains start_published_date"
    assert shown == {
        "web_search": ([*search.split(), "end_published_date", "user_location"], ["query"], "builtin"),
        "fetch_webpage": (["url"], ["url"], "builtin"),
        "run_code": (["code", "language"], ["code", "language"], "builtin"),
    }


def test_a_search_asks_the_provider_and_shows_what_it_found(run) -> None:
    """The key goes into a header and nowhere else; the text only if it was wanted."""
    desk = a_desk(page(msgspec.json.encode({"results": [RESULT]})), key="k")
    outcome = run(web_search(desk, "q", 3, category="news", include_domains=["a"]))
    ((url, headers, body),) = desk.web.asked  # type: ignore[attr-defined]
    assert (url, headers) == ("http://search/search", {"x-api-key": "k"})
    assert msgspec.json.decode(body) == {
        "query": "q",
        "numResults": 3,
        "type": "auto",
        "category": "news",
        "includeDomains": ["a"],
        "contents": {"text": False, "highlights": True},
    }
    hit = {"title": "A", "url": "http://a/", "published_date": "2026-01-02", "highlights": ["short"]}
    assert outcome.ok and msgspec.json.decode(outcome.text) == {"query": "q", "results": [hit]}
    whole = run(web_search(desk, "q", include_text=True))
    assert msgspec.json.decode(whole.text)["results"] == [{**hit, "text": "long"}]


@pytest.mark.parametrize(
    ("answer", "key", "sentence"),
    [
        (page(b""), "", "neither this agent nor this server has a key of the search provider (EXA_API_KEY)"),
        (page(b"bad key", 401), "k", "The search provider answered with status 401: bad key"),
        (page(b"no json"), "k", "The search provider's answer cannot be read"),
        (ToolServerUnavailable("it is away"), "k", "The search failed: it is away."),
    ],
)
def test_a_search_that_fails_says_why(run, answer: Page | KelpieError, key: str, sentence: str) -> None:
    """In an outcome that the model reads."""
    outcome = run(web_search(a_desk(answer, key=key), "q"))
    assert (outcome.ok, sentence in outcome.text) == (False, True), outcome
    assert "use a number from 1 to" in run(web_search(a_desk(answer, key=key), "q", 0)).text


def test_a_page_is_made_text_in_the_sandbox(run) -> None:
    """By what its server says it is."""
    desk = a_desk(page(b"<p>hi"), ok=True, text="hi", kind="html", clipped=False)
    assert run(fetch_webpage(desk, "http://site")) == ToolOutcome(text="hi")
    (job,) = desk.sandbox.jobs  # type: ignore[attr-defined]
    assert (job.program, msgspec.json.decode(job.input)["name"]) == ("parse_document", "page.html")
    plain = a_desk(page(b"hi", kind="application/octet-stream"), ok=True, text="hi")
    run(fetch_webpage(plain, "http://site"))
    assert msgspec.json.decode(plain.sandbox.jobs[0].input)["name"] == "x.bin"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("answer", "result", "sentence"),
    [
        (ToolServerUnavailable("it is away"), {}, "The page was not read: it is away."),
        (page(b"x", 404), {"ok": True, "text": "Not there"}, "answered with status 404: Not there"),
        (page(b"x"), {"ok": True, "text": " \n"}, "There is no text at"),
        (page(b"x"), {"ok": False, "error": "binary"}, "could not be read: binary."),
        (page(b"x"), {}, "could not be read: d."),
    ],
)
def test_a_page_that_cannot_be_read_says_why(run, answer: Page | KelpieError, result: dict, sentence: str) -> None:
    """In an outcome that the model reads."""
    outcome = run(fetch_webpage(a_desk(answer, **result), "http://site"))
    assert (outcome.ok, sentence in outcome.text) == (False, True), outcome


def test_code_is_run_in_the_sandbox(run) -> None:
    """Its value, what it printed, its error; and languages that are not there are refused."""
    outcome = run(run_code(a_desk(page(b""), ok=True, value="3"), "1 + 2", "python"))
    assert outcome.ok
    assert msgspec.json.decode(outcome.text) == {"results": ["3"], "logs": {"stdout": ["out"], "stderr": []}}
    failed = run(run_code(a_desk(page(b""), ok=False, error="E: x"), "x", "js"))
    assert (failed.ok, msgspec.json.decode(failed.text)["error"]) == (False, "E: x")
    assert run(run_code(a_desk(page(b"")), "x", "r")) == ToolOutcome(
        text="r is not run on this server; use python, js or ts.", ok=False
    )
