"""The pages about the server: what it is, the OpenAPI document, and that document made readable.

The pages are plain HTML, made once from the route table when they are first asked for; nothing is fetched from
elsewhere, nothing is built.
"""

import html
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from kelpie import __version__
from kelpie.api.app import Page
from kelpie.api.openapi import describe
from kelpie.api.route import Ask, Route

HTML = "text/html; charset=utf-8"
_CODE = re.compile("`([^`]*)`")
_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8881}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{margin-top:2.5rem;border-bottom:1px solid var(--line);text-transform:capitalize}
code,pre{font:13px/1.45 ui-monospace,monospace;background:var(--soft);border-radius:4px;padding:.1em .3em}
pre{padding:.8rem;overflow:auto}details{border:1px solid var(--line);border-radius:6px;margin:.4rem 0}
summary{padding:.5rem .7rem;cursor:pointer}details>div{padding:0 .9rem .7rem}
.method{display:inline-block;min-width:4.2em;font-weight:600}.old{opacity:.55}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2rem .6rem .2rem 0;vertical-align:top}
"""
Handler = Callable[[Any, Ask[Any, Any]], Awaitable[Page]]


def routes(described: Sequence[Route], home: str) -> tuple[Route, ...]:
    """The routes of the pages about these routes; `home` is HTML that may name `{version}` and `{url}`."""
    documents = _Documents(described, home)
    return (
        _page("/", "home", "What this is", documents.home),
        _page("/docs", "docs", "All operations, readable", documents.docs),
        _page("/redoc", "redoc", "The same", documents.docs),
        _page("/openapi.json", "openapi", "All operations, as an OpenAPI document", documents.openapi),
    )


class _Documents:
    """The pages, each made when it is first asked for."""

    def __init__(self, described: Sequence[Route], home: str) -> None:
        self._described = tuple(described)
        self._home = home
        self._made: dict[str, Page] = {}

    async def home(self, house: Any, ask: Ask[Any, Any]) -> Page:
        """What this is, and how to point a client at it."""
        host = html.escape(ask.headers.get(b"host", b"127.0.0.1:8283").decode("latin-1"))
        body = self._home.format(version=__version__, url=f"http://{host}")
        return Page(HTML, _document("Kelpie", body))

    async def docs(self, house: Any, ask: Ask[Any, Any]) -> Page:
        """The OpenAPI document, readable."""
        if "docs" not in self._made:
            self._made["docs"] = Page(HTML, _document("Kelpie: all operations", _readable(describe(self._described))))
        return self._made["docs"]

    async def openapi(self, house: Any, ask: Ask[Any, Any]) -> Page:
        """The OpenAPI document."""
        if "openapi" not in self._made:
            encoded = msgspec.json.encode(describe(self._described))
            self._made["openapi"] = Page("application/json", encoded)
        return self._made["openapi"]


def _page(path: str, name: str, summary: str, handler: Handler) -> Route:
    return Route(method="GET", path=path, name=name, summary=summary, tag="pages", handler=handler, answer=None)


def _document(title: str, body: str) -> bytes:
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    )
    page = f"<!doctype html><html lang=en><head>{head}<style>{_STYLE}</style></head>"
    return f"{page}<body><h1>{html.escape(title)}</h1>{body}</body></html>".encode()


def _readable(document: dict[str, Any]) -> str:
    """Every operation under its tag, then every shape."""
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(method, path, operation))
    sections = [f"<p>{_text(document['info']['description'])}</p>"]
    sections += [f"<h2>{html.escape(tag)}</h2>{''.join(shown)}" for tag, shown in by_tag.items()]
    shapes = sorted(document["components"]["schemas"].items())
    sections.append("<h2>Shapes</h2>" + "".join(_shape(name, schema) for name, schema in shapes))
    return "".join(sections)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    old = ' class="old"' if operation.get("deprecated") else ""
    rows = [
        f"<tr><td><code>{html.escape(one['name'])}</code></td><td>{one['in']}</td><td>{_type(one['schema'])}</td></tr>"
        for one in operation["parameters"]
    ]
    table = f"<table>{''.join(rows)}</table>" if rows else ""
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    takes = f"<p>Takes {_type(body)}</p>" if body else ""
    answers = "".join(
        f"<tr><td><code>{status}</code></td><td>{html.escape(answer['description'])}</td><td>{_content(answer)}</td></tr>"
        for status, answer in operation["responses"].items()
    )
    summary = f"<code>{html.escape(path)}</code> {html.escape(operation['summary'])}"
    head = f'<span class="method">{method.upper()}</span> {summary}'
    return f"<details{old}><summary>{head}</summary><div>{table}{takes}<table>{answers}</table></div></details>"


def _shape(name: str, schema: dict[str, Any]) -> str:
    needed = schema.get("required", [])
    rows: list[str] = []
    for field, one in schema.get("properties", {}).items():
        optional = "" if field in needed else " (optional)"
        rows.append(f"<tr><td><code>{html.escape(field)}</code>{optional}</td><td>{_type(one)}</td></tr>")
    about = f"<p>{_text(schema.get('description', ''))}</p>"
    head = f"<summary><code>{html.escape(name)}</code></summary>"
    return f'<details id="{html.escape(name)}">{head}<div>{about}<table>{"".join(rows)}</table></div></details>'


def _content(answer: dict[str, Any]) -> str:
    return ", ".join(
        f"{_type(one['schema'])} <small>{html.escape(kind)}</small>" for kind, one in answer.get("content", {}).items()
    )


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = html.escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"<code>{html.escape(str(value))}</code>" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return html.escape(str(schema.get("type", "anything")))


def _text(text: str) -> str:
    return _CODE.sub(r"<code>\1</code>", html.escape(text))
