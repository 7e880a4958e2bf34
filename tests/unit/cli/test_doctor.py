"""What the doctor sees, on data directories, ports and providers made for it."""

import fcntl
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from kelpie.cli.doctor import Finding, diagnose, findings, hang, look_at_data, look_at_providers, look_at_server
from kelpie.config import read_config
from kelpie.storage.sqlite_file import LOCK_NAME


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which something listens that never answers HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def providers(environ: dict[str, str], answer: Callable[[httpx2.Request], httpx2.Response]) -> list[Finding]:
    """What is found of the providers that `environ` configures."""
    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return list(look_at_providers(read_config(environ, {}), http))


def test_a_data_directory_that_does_not_exist_is_fine(tmp_path: Path) -> None:
    """The server makes it, parents included."""
    path = tmp_path / "a" / "b"
    assert look_at_data(path) == Finding("ok", "data", f"{path} does not exist yet; the server makes it")


def test_a_file_is_no_data_directory(tmp_path: Path) -> None:
    """It is named, and so is the variable that helps."""
    path = tmp_path / "file"
    path.write_text("")
    seen = f"{path} is not a directory that can be written"
    assert look_at_data(path) == Finding("problem", "data", seen, "set KELPIE_DATA_DIR")


def test_an_owned_data_directory_names_its_owner(tmp_path: Path) -> None:
    """By the lock that a server holds; looking changes nothing, and a released lock is no owner."""
    lock = tmp_path / LOCK_NAME
    with lock.open("w") as held:
        held.write("4711\n")
        held.flush()
        fcntl.flock(held, fcntl.LOCK_EX)
        assert "no data yet, in use by the server with pid 4711" in look_at_data(tmp_path).seen
    assert "not in use" in look_at_data(tmp_path).seen
    assert lock.read_text() == "4711\n"


def test_a_port_taken_by_something_else_is_a_problem(taken: int) -> None:
    """It accepts connections and is no Kelpie server."""
    (finding,) = [look_at_server(read_config({"KELPIE_PORT": str(taken)}, {}), seconds=0.2)]
    assert finding.mark == "problem" and f"port {taken} is taken" in finding.seen


def test_a_free_port_is_a_note() -> None:
    """Nothing is wrong when no server runs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert look_at_server(read_config({"KELPIE_PORT": str(port)}, {})) == Finding(
        "note", "server", f"nothing listens at http://127.0.0.1:{port}", "`kelpie serve` starts a server there"
    )


def test_a_provider_that_answers_is_counted() -> None:
    """Each is asked in its own way, with its key."""
    asked: list[tuple[str, str | None, str | None]] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append((str(request.url), request.headers.get("authorization"), request.headers.get("x-api-key")))
        return httpx2.Response(200, json={"data": [{"id": "a"}, {"id": "b"}]})

    environ = {"OPENAI_BASE_URL": "http://o/v1", "OPENAI_API_KEY": "ko", "ANTHROPIC_API_KEY": "ka"}
    assert providers(environ, answer) == [
        Finding("ok", "anthropic", "https://api.anthropic.com answers, 2 models listed"),
        Finding("ok", "openai", "http://o/v1 answers, 2 models listed"),
    ]
    assert asked == [
        ("https://api.anthropic.com/v1/models", None, "ka"),
        ("http://o/v1/models", "Bearer ko", None),
    ]


@pytest.mark.parametrize(
    ("response", "finding"),
    [
        (
            httpx2.Response(401),
            Finding("problem", "openai", "http://o refuses the key (status 401)", "set OPENAI_API_KEY to a valid key"),
        ),
        (
            httpx2.Response(404),
            Finding(
                "note",
                "openai",
                "http://o answers, but lists no models (status 404)",
                "OPENAI_BASE_URL should probably end in /v1",
            ),
        ),
        (httpx2.Response(500), Finding("problem", "openai", "http://o answers with status 500")),
        (
            httpx2.Response(200, text="<html>"),
            Finding("ok", "openai", "http://o answers, but its list of models is not understood"),
        ),
    ],
)
def test_a_provider_that_answers_badly_is_explained(response: httpx2.Response, finding: Finding) -> None:
    """A refused key, a wrong path, an outage, something else entirely."""
    assert providers({"OPENAI_BASE_URL": "http://o"}, lambda _: response) == [finding]


def test_a_provider_that_is_away_is_a_problem() -> None:
    """With the address and the variable."""

    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("Connection refused")

    assert providers({"OPENAI_BASE_URL": "http://o"}, refuse) == [
        Finding(
            "problem", "openai", "http://o does not answer (Connection refused)", "start it, or correct OPENAI_BASE_URL"
        )
    ]


def test_no_provider_is_a_note_with_the_ways_to_one() -> None:
    """The rehearsed model answers all the same."""
    (finding,) = providers({}, lambda _: httpx2.Response(500))
    assert finding.mark == "note" and "kelpie/rehearsed" in finding.seen
    assert all(word in finding.remedy for word in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "OPENAI_BASE_URL"))


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    """Settings are listed with their values, keys only as set."""
    environ = {"OPENAI_API_KEY": "sk-x", "KELPIE_PORT": "1", "KELPIE_DATA_DIR": str(tmp_path), "KELPIE_TYPO": "1"}
    environ["OPENAI_BASE_URL"] = "http://127.0.0.1:1/v1"  # nothing listens on port 1
    found = list(findings(environ, {}))
    assert "sk-x" not in repr(found)
    assert found[1].seen == (
        f"KELPIE_PORT=1, KELPIE_DATA_DIR={tmp_path}, OPENAI_API_KEY=(set), OPENAI_BASE_URL=http://127.0.0.1:1/v1"
    )
    assert found[2] == Finding("problem", "settings", "KELPIE_TYPO is set and nothing reads it")


def test_the_exit_status_says_whether_there_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Notes are none; a wrong setting is, and ends the examination."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    assert diagnose({"KELPIE_DATA_DIR": str(tmp_path), "KELPIE_PORT": port}, {}) == 0
    assert diagnose({"KELPIE_PORT": "x"}, {}) == 1
    assert "!!  settings    KELPIE_PORT must be a whole number from 0 to 65535, not 'x'" in capsys.readouterr().out


def test_lines_hang_beside_their_subject() -> None:
    """Words, addresses above all, are not broken; the remedy begins a line of its own."""
    finding = Finding("note", "models", "aaa bbb http://long-address-of-more-than/room", "ccc ddd")
    assert hang(finding, 26) == ["aaa bbb", "http://long-address-of-more-than/room", "ccc ddd"]
    assert hang(finding, 200) == ["aaa bbb http://long-address-of-more-than/room", "ccc ddd"]
