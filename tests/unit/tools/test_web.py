"""The web by HTTP: bounded, redirected only where it may lead, over a real server on this machine."""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kelpie.errors import InvalidInput, ToolServerUnavailable
from kelpie.limits import WEB_PAGE_BYTES_MAX, WEB_URL_CHARS_MAX
from kelpie.tools import web
from kelpie.tools.public_hosts import HostPolicy
from kelpie.tools.web import HttpWeb, Page

HERE = HostPolicy(loopback=True)


class Pages(BaseHTTPRequestHandler):
    """A few pages, and ways to go wrong."""

    def do_GET(self) -> None:
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("location", self.path.removeprefix("/to/"))
            self.end_headers()
        elif self.path == "/long":
            self._answer(b"x" * (WEB_PAGE_BYTES_MAX + 1))
        elif self.path == "/silent":
            threading.Event().wait(3)
        else:
            self._answer(f"hello {self.path} {self.headers['user-agent']}".encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self._answer(body + self.headers["x-api-key"].encode(), 201)

    def _answer(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("content-type", "text/plain")
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_pages_are_fetched_through_redirects(run, address: str) -> None:
    """The address is the last one; who asks says so."""
    page = run(HttpWeb(HERE).fetch(f"{address}/to//there"))
    said = f"hello /there {web.AGENT_NAME}".encode()
    assert page == Page(url=f"{address}/there", status=200, content_type="text/plain", content=said)


def test_json_is_posted(run, address: str) -> None:
    """With the caller's headers."""
    page = run(HttpWeb(HERE).post(address, {"x-api-key": "k"}, b"{}"))
    assert (page.status, page.content) == (201, b"{}k")


@pytest.mark.parametrize(
    ("path", "error", "sentence"),
    [
        ("/to//to//to//to//to//to//x", ToolServerUnavailable, "redirect"),
        ("/to/http://10.0.0.1/", ToolServerUnavailable, "not public"),
        ("/to/http://169.254.169.254/latest/meta-data", ToolServerUnavailable, "not public"),
        ("/to/file:///etc/passwd", InvalidInput, "no http"),
        ("/long", ToolServerUnavailable, f"more than {WEB_PAGE_BYTES_MAX} bytes"),
    ],
)
def test_what_leads_too_far_is_refused(run, address: str, path: str, error: type[Exception], sentence: str) -> None:
    """Too many redirects, private addresses behind one, other protocols, endless pages."""
    with pytest.raises(error, match=sentence):
        run(HttpWeb(HERE).fetch(address + path))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://localhost/", "http://[::1]/", "http://10.1.2.3/"])
def test_private_addresses_are_refused_unless_allowed(run, url: str) -> None:
    """Before anything is sent; names of them by what they resolve to."""
    with pytest.raises((InvalidInput, ToolServerUnavailable), match="[Nn]on-public|not public"):
        run(HttpWeb(HostPolicy()).fetch(url))


@pytest.mark.parametrize("url", ["", "ftp://x/", "file:///etc/passwd", "no url", "http://" + "x" * WEB_URL_CHARS_MAX])
def test_what_is_no_address_is_refused(run, url: str) -> None:
    """With a sentence that names the field."""
    with pytest.raises(InvalidInput):
        run(HttpWeb(HERE).fetch(url))


def test_a_server_that_never_answers_is_given_up(run, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that is not there."""
    monkeypatch.setattr(web, "WEB_PAGE_MS", 200)
    with pytest.raises(ToolServerUnavailable, match="did not answer|cannot be fetched"):
        run(HttpWeb(HERE).fetch(f"{address}/silent"))
    with pytest.raises(ToolServerUnavailable, match="cannot be fetched"):
        run(HttpWeb(HERE).fetch("http://127.0.0.1:9/"))
