"""Settings: what is read from where, and how what is wrong is named."""

import pytest

from kelpie.agent.web_tools import SearchProvider
from kelpie.config import ANTHROPIC_URL, OPENAI_URL, SETTINGS, Config, read_config, unknown_variables
from kelpie.errors import InvalidInput
from kelpie.llm.provider import ProviderSettings

DEFAULTS = Config(
    host="127.0.0.1",
    port=8283,
    data_dir="./.kelpie",
    allow_remote=False,
    allowed_hosts="",
    proxy=None,
    encryption_key="",
    tool_programs=True,
    tool_code=True,
    search=SearchProvider(),
    allowed_targets=frozenset(),
    drain_ms=20_000,
    log_level="info",
    access_log=False,
    url="http://127.0.0.1:8283",
    providers=(),
)


def test_nothing_set_is_the_defaults() -> None:
    """An empty environment, and one whose variables are all empty, as compose files make them."""
    assert read_config({}, {}) == DEFAULTS
    assert read_config({setting.variable: "" for setting in SETTINGS}, {}) == DEFAULTS


def test_a_flag_wins_over_its_variable() -> None:
    """Each from where it was said last."""
    environ = {"KELPIE_PORT": "1", "KELPIE_DATA_DIR": "/a", "KELPIE_LOG_LEVEL": "DEBUG", "KELPIE_ACCESS_LOG": "yes"}
    read = read_config(environ, {"port": "9000"})
    assert (read.port, read.data_dir, read.log_level, read.access_log) == (9000, "/a", "debug", True)
    assert read.url == "http://127.0.0.1:9000"


@pytest.mark.parametrize(
    ("environ", "flags", "field", "said"),
    [
        ({"KELPIE_PORT": "http"}, {}, "KELPIE_PORT", "from 0 to 65535, not 'http'"),
        ({"KELPIE_PORT": "65536"}, {}, "KELPIE_PORT", "from 0 to 65535"),
        ({"KELPIE_PORT": "-1"}, {}, "KELPIE_PORT", "from 0 to 65535"),
        ({"KELPIE_PORT": "tcp://10.0.0.1:8283"}, {}, "KELPIE_PORT", "Kubernetes"),
        ({}, {"port": "x"}, "--port", "--port must be"),
        ({"KELPIE_DRAIN_MS": "20001"}, {}, "KELPIE_DRAIN_MS", "from 0 to 20000"),
        ({"KELPIE_LOG_LEVEL": "loud"}, {}, "KELPIE_LOG_LEVEL", "debug, info, warning, error"),
        ({"KELPIE_ACCESS_LOG": "maybe"}, {}, "KELPIE_ACCESS_LOG", "1 or 0"),
        ({"OPENAI_BASE_URL": "localhost:11434"}, {}, "OPENAI_BASE_URL", "http(s) address"),
        ({"ANTHROPIC_BASE_URL": "http://[::1"}, {}, "ANTHROPIC_BASE_URL", "http(s) address"),
        ({"KELPIE_URL": "ftp://x"}, {}, "KELPIE_URL", "http(s) address"),
        ({"KELPIE_HOST": "0.0.0.0"}, {}, "KELPIE_HOST", "--allow-remote"),
        ({"KELPIE_HOST": "kelpie.example"}, {}, "KELPIE_HOST", "--allow-remote"),
    ],
)
def test_what_is_wrong_is_named(environ: dict[str, str], flags: dict[str, str], field: str, said: str) -> None:
    """The error's field is the variable or flag at fault, and its sentence says what would be right."""
    with pytest.raises(InvalidInput) as caught:
        read_config(environ, flags)
    assert caught.value.fields["field"] == field
    assert said in caught.value.sentence


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_what_only_this_machine_reaches_needs_no_word(host: str) -> None:
    """Loopback in all its forms."""
    assert read_config({"KELPIE_HOST": host}, {}).host == host


def test_a_remote_address_needs_a_word() -> None:
    """With it, the commands of this machine still reach the server on a loopback address."""
    read = read_config({"KELPIE_HOST": "0.0.0.0"}, {"allow_remote": "1"})
    assert (read.host, read.url) == ("0.0.0.0", "http://127.0.0.1:8283")
    assert read_config({"KELPIE_HOST": "::", "KELPIE_ALLOW_REMOTE": "1"}, {}).url == "http://[::1]:8283"


@pytest.mark.parametrize(
    ("environ", "providers"),
    [
        ({"OPENAI_API_KEY": "k"}, [("openai", OPENAI_URL, "k")]),
        ({"ANTHROPIC_API_KEY": "k"}, [("anthropic", ANTHROPIC_URL, "k")]),
        ({"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1/"}, [("openai", "http://127.0.0.1:11434/v1", "")]),
        (
            {"ANTHROPIC_BASE_URL": "http://h/v1", "OPENAI_BASE_URL": "http://h/v1", "OPENAI_API_KEY": "k"},
            [("anthropic", "http://h", ""), ("openai", "http://h/v1", "k")],
        ),
    ],
)
def test_a_provider_is_a_key_or_an_address(environ: dict[str, str], providers: list[tuple[str, str, str]]) -> None:
    """A key alone means the provider's own endpoint; an address alone is a local server that wants no key."""
    assert read_config(environ, {}).providers == tuple(
        ProviderSettings(name=name, kind=name, base_url=url, api_key=key) for name, url, key in providers
    )


def test_a_key_is_never_shown() -> None:
    """The whole configuration may be logged."""
    assert "sk-secret" not in repr(read_config({"OPENAI_API_KEY": "sk-secret"}, {}))


def test_a_typing_error_is_pointed_out() -> None:
    """A variable that nothing reads is a warning that names the one that was meant; PATH is not ours."""
    environ = {"KELPIE_DATADIR": "/a", "KELPIE_ZZZ": "1", "PATH": "/bin", "KELPIE_PORT": "1"}
    expected = (
        "KELPIE_DATADIR is set and nothing reads it; did you mean KELPIE_DATA_DIR?",
        "KELPIE_ZZZ is set and nothing reads it",
    )
    assert unknown_variables(environ) == expected
    assert read_config(environ, {}).warnings == expected
