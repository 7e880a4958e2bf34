"""Built-in tools that reach out: search the web, read a page, run a piece of code.

A page's bytes are made text in the sandbox: they are hostile until proved otherwise. Search needs a provider's key, the
agent's own or the server's; without one the model is told so.
"""

import base64
from typing import Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import UNSET, Struct, UnsetType

from kelpie.access.vault import Vault
from kelpie.agent.secrets import open_secrets
from kelpie.agent.state import AGENTS
from kelpie.errors import KelpieError
from kelpie.ids import AgentId
from kelpie.limits import SEARCH_RESULTS_MAX, TOOL_RETURN_CHARS_DEFAULT, WEB_PARSE_MS
from kelpie.sandbox.sandbox import Job, Sandbox
from kelpie.storage.records import Records
from kelpie.tools.function import ServedBox, serve_function
from kelpie.tools.mcp_server import ServedTool
from kelpie.tools.sources import script_job, show_script
from kelpie.tools.tool import ToolOutcome, ToolRequest
from kelpie.tools.web import Page, Web

SEARCH_KEY = "EXA_API_KEY"  # the agent's secret, or the server's setting of the same name
SEARCH_URL = "https://api.exa.ai"
RESULTS_DEFAULT = 10
PAGE_CHARS_MAX = TOOL_RETURN_CHARS_DEFAULT * 9 // 10
ERROR_CHARS_MAX = 500  # of what a search provider says
Category = Literal[
    "company",
    "research paper",
    "news",
    "pdf",
    "github",
    "tweet",
    "personal site",
    "linkedin profile",
    "financial report",
]


class SearchProvider(Struct, frozen=True, kw_only=True):
    """Where to search, and the server's own key."""

    url: str = SEARCH_URL
    key: str = ""


class WebDesk(Struct, frozen=True, kw_only=True):
    """What these tools work with, and who calls."""

    records: Records
    vault: Vault
    web: Web
    sandbox: Sandbox
    provider: SearchProvider
    agent_id: AgentId

    async def search_key(self) -> str:
        """The agent's own key, else the server's, else nothing. Raises SecretUnreadable."""
        found = await self.records.get(AGENTS.at(self.agent_id))
        secrets = {} if found is None else open_secrets(self.vault, found.value.secrets)
        return secrets.get(SEARCH_KEY) or self.provider.key


class _Contents(Struct, frozen=True, kw_only=True, rename="camel"):
    text: bool
    highlights: bool = True


class _Search(Struct, frozen=True, kw_only=True, rename="camel"):
    query: str
    num_results: int
    type: str = "auto"
    category: str | UnsetType = UNSET
    include_domains: list[str] | UnsetType = UNSET
    exclude_domains: list[str] | UnsetType = UNSET
    start_published_date: str | UnsetType = UNSET
    end_published_date: str | UnsetType = UNSET
    user_location: str | UnsetType = UNSET
    contents: _Contents


class _Hit(Struct, frozen=True, kw_only=True, rename="camel"):
    url: str
    title: str | None = None
    published_date: str | None = None
    author: str | None = None
    text: str | None = None
    highlights: list[str] | None = None


class _Hits(Struct, frozen=True, kw_only=True):
    results: list[_Hit]


class _Shown(Struct, frozen=True, kw_only=True, omit_defaults=True):
    title: str | None
    url: str
    published_date: str | None = None
    author: str | None = None
    highlights: list[str] | None = None
    text: str | None = None


class _Found(Struct, frozen=True, kw_only=True):
    query: str
    results: list[_Shown]


class _Parsed(Struct, frozen=True, kw_only=True):
    """What the sandbox makes of a page."""

    ok: bool
    text: str = ""
    error: str = ""


def web_box(records: Records, vault: Vault, web: Web, sandbox: Sandbox, provider: SearchProvider) -> ServedBox[WebDesk]:
    """The three tools."""

    def desk(request: ToolRequest) -> WebDesk:
        return WebDesk(
            records=records,
            vault=vault,
            web=web,
            sandbox=sandbox,
            provider=provider,
            agent_id=request.agent_id,
        )

    return ServedBox(_served(), desk)


def _served() -> list[ServedTool[WebDesk]]:
    return [
        serve_function(web_search, WebDesk, kind="builtin", title="Search the web", read_only=True),
        serve_function(fetch_webpage, WebDesk, kind="builtin", title="Read a web page", read_only=True),
        serve_function(run_code, WebDesk, kind="builtin", title="Run code", destructive=True, parallel=True),
    ]


async def web_search(
    desk: WebDesk,
    /,
    query: str,
    num_results: int = RESULTS_DEFAULT,
    category: Category | None = None,
    include_text: bool = False,
    include_domains: list[str] | None = None,
    exclude_domains: list[str] | None = None,
    start_published_date: str | None = None,
    end_published_date: str | None = None,
    user_location: str | None = None,
) -> ToolOutcome:
    """Search the web. Answers with titles, addresses and the passages that fit; read a page as a whole by its address.

    Args:
    query: What to look for, in words or as a question.
    num_results: How many results to answer with at most.
    category: What kind of page to look for; any if not given.
    include_text: Whether to answer with each page's text, which may be long.
    include_domains: Only pages of these domains.
    exclude_domains: No pages of these domains.
    start_published_date: Only pages of this date or later, as YYYY-MM-DD.
    end_published_date: Only pages of this date or earlier, as YYYY-MM-DD.
    user_location: Two-letter code of the country to search from.
    """
    if not 1 <= num_results <= SEARCH_RESULTS_MAX:
        return _failed(f"num_results is {num_results}; use a number from 1 to {SEARCH_RESULTS_MAX}.")
    key = await desk.search_key()
    if not key:
        return _failed(
            f"The web cannot be searched: neither this agent nor this server has a key of the search provider "
            f"({SEARCH_KEY}). Tell whoever runs the server. Pages whose address you know can still be read."
        )
    asked = _Search(
        query=query,
        num_results=num_results,
        category=category or UNSET,
        include_domains=include_domains or UNSET,
        exclude_domains=exclude_domains or UNSET,
        start_published_date=start_published_date or UNSET,
        end_published_date=end_published_date or UNSET,
        user_location=user_location or UNSET,
        contents=_Contents(text=include_text),
    )
    try:
        page = await desk.web.post(f"{desk.provider.url}/search", {"x-api-key": key}, msgspec.json.encode(asked))
    except KelpieError as error:
        return _failed(f"The search failed: {error.sentence}.")
    assert key not in page.url
    assert page.status >= 100
    return _show_hits(query, page, include_text=include_text)


async def fetch_webpage(desk: WebDesk, /, url: str) -> ToolOutcome:
    """Read a page of the web as text. HTML, PDF, Office documents and plain text are read; nothing on it is run.

    Args:
    url: The page's address, beginning with http:// or https://.
    """
    try:
        page = await desk.web.fetch(url)
    except KelpieError as error:
        return _failed(f"The page was not read: {error.sentence}.")
    text = await _text_of(desk.sandbox, page)
    if isinstance(text, ToolOutcome):
        return text
    if page.status >= 400:
        return _failed(f"{page.url} answered with status {page.status}: {text[:ERROR_CHARS_MAX]}")
    assert page.status >= 200
    if not text.strip():
        return _failed(f"There is no text at {page.url}. It may be made by scripts, which are not run.")
    return ToolOutcome(text=text)


async def run_code(desk: WebDesk, /, code: str, language: Literal["python", "js", "ts", "r", "java"]) -> ToolOutcome:
    """Run a piece of code by itself, in a fresh process without your secrets. Answers with what it printed.

    The value of the last line of Python is answered as well. Nothing is kept from one run to the next.

    Args:
    code: The code.
    language: What it is written in; python, js and ts are run here.
    """
    if language not in ("python", "js", "ts"):
        return _failed(f"{language} is not run on this server; use python, js or ts.")
    return show_script(await desk.sandbox.run(script_job(code, language)))


async def _text_of(sandbox: Sandbox, page: Page) -> str | ToolOutcome:
    """The page's text, or why there is none."""
    kind = page.content_type.partition(";")[0].strip().lower()
    name = urlsplit(page.url).path.rpartition("/")[2] or "page"
    if kind in ("text/html", "application/xhtml+xml"):
        name = "page.html"
    content = base64.b64encode(page.content).decode()
    given = {"name": name, "content": content, "chars_max": PAGE_CHARS_MAX}
    job = Job(program="parse_document", input=msgspec.json.encode(given), deadline_ms=WEB_PARSE_MS)
    ended = await sandbox.run(job)
    assert ended.result is not None or ended.died
    if ended.result is None:
        return _failed(f"{page.url} could not be read: {ended.died}.")
    parsed = msgspec.json.decode(ended.result, type=_Parsed)
    return parsed.text if parsed.ok else _failed(f"{page.url} could not be read: {parsed.error}.")


def _show_hits(query: str, page: Page, *, include_text: bool) -> ToolOutcome:
    said = page.content.decode(errors="replace")
    if page.status >= 400:
        return _failed(f"The search provider answered with status {page.status}: {said[:ERROR_CHARS_MAX]}")
    try:
        hits = msgspec.json.decode(page.content, type=_Hits).results
    except msgspec.MsgspecError as error:
        return _failed(f"The search provider's answer cannot be read: {error}")
    shown = [
        _Shown(
            title=hit.title,
            url=hit.url,
            published_date=hit.published_date,
            author=hit.author,
            highlights=hit.highlights,
            text=hit.text if include_text else None,
        )
        for hit in hits
    ]
    assert len(shown) == len(hits)
    assert include_text or all(one.text is None for one in shown)
    return ToolOutcome(text=msgspec.json.encode(_Found(query=query, results=shown)).decode())


def _failed(sentence: str) -> ToolOutcome:
    return ToolOutcome(text=sentence, ok=False)
