"""What an operator decides: read from the environment and from flags, checked, and named when it is wrong.

A flag wins over its variable, a variable over the default; an empty variable counts as unset. The table
`SETTINGS` is the only list of settings: parsing, `--help` and docs/reference/settings.md all come from it.
"""

import difflib
import ipaddress
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

from kelpie.agent.web_tools import SearchProvider
from kelpie.errors import InvalidInput
from kelpie.limits import DRAIN_MS_MAX
from kelpie.llm.provider import ProviderSettings

PREFIX = "KELPIE_"
LOG_LEVELS = ("debug", "info", "warning", "error")
OPENAI_URL = "https://api.openai.com/v1"
ANTHROPIC_URL = "https://api.anthropic.com"
TRUE = ("1", "true", "yes", "on")
FALSE = ("0", "false", "no", "off")


class Setting(Struct, frozen=True, kw_only=True):
    """One thing that an operator may decide. `secret` values are never printed."""

    name: str
    variable: str
    flag: str | None
    kind: Literal["text", "integer", "switch", "choice", "url"]
    default: str
    meaning: str
    minimum: int = 0
    maximum: int = 0
    choices: tuple[str, ...] = ()
    secret: bool = False


SETTINGS = (
    Setting(
        name="host",
        variable="KELPIE_HOST",
        flag="--host",
        kind="text",
        default="127.0.0.1",
        meaning="The address to listen on. One that other machines reach needs --allow-remote.",
    ),
    Setting(
        name="port",
        variable="KELPIE_PORT",
        flag="--port",
        kind="integer",
        default="8283",
        maximum=65_535,
        meaning="The TCP port to listen on; 0 takes a free one and prints it.",
    ),
    Setting(
        name="data_dir",
        variable="KELPIE_DATA_DIR",
        flag="--data-dir",
        kind="text",
        default="./.kelpie",
        meaning="Where agents and their memory are kept. One process owns it at a time.",
    ),
    Setting(
        name="allow_remote",
        variable="KELPIE_ALLOW_REMOTE",
        flag="--allow-remote",
        kind="switch",
        default="0",
        meaning="Listen on an address that other machines reach, although nobody is asked who they are.",
    ),
    Setting(
        name="allowed_hosts",
        variable="KELPIE_ALLOWED_HOSTS",
        flag="--allowed-hosts",
        kind="text",
        default="",
        meaning="Names besides localhost by which proxies address this server and whose pages may use it, separated by "
        "commas. Requests in another name are refused, so that no web page can reach the server through a browser.",
    ),
    Setting(
        name="encryption_key",
        variable="KELPIE_ENCRYPTION_KEY",
        flag=None,
        kind="text",
        default="",
        secret=True,
        meaning="What secrets (keys of providers, variables of tools) are sealed under at rest. By default a key that "
        "is made once and kept in the data directory, in secret.key; whoever has the directory can then open them.",
    ),
    Setting(
        name="tool_programs",
        variable="KELPIE_TOOL_PROGRAMS",
        flag="--tool-programs",
        kind="choice",
        choices=("auto", "on", "off"),
        default="auto",
        meaning="Whether people may add MCP servers that are programs, which this server then starts; auto: if only "
        "this machine reaches it.",
    ),
    Setting(
        name="tool_code",
        variable="KELPIE_TOOL_CODE",
        flag="--tool-code",
        kind="choice",
        choices=("auto", "on", "off"),
        default="auto",
        meaning="Whether tools whose source people write are run, in processes of their own that may read what the "
        "server's user may read; auto: if only this machine reaches it.",
    ),
    Setting(
        name="allowed_targets",
        variable="KELPIE_ALLOWED_TARGETS",
        flag="--allowed-targets",
        kind="text",
        default="",
        meaning="Hosts, with or without a port, that MCP servers and fetched pages may be at although they are not "
        "public, separated by commas. Loopback is allowed while only this machine reaches the server.",
    ),
    Setting(
        name="drain_ms",
        variable="KELPIE_DRAIN_MS",
        flag="--drain-ms",
        kind="integer",
        default=str(DRAIN_MS_MAX),
        maximum=DRAIN_MS_MAX,
        meaning="How long a stopping server waits for running turns, in ms; the rest resume at the next start.",
    ),
    Setting(
        name="log_level",
        variable="KELPIE_LOG_LEVEL",
        flag="--log-level",
        kind="choice",
        choices=LOG_LEVELS,
        default="info",
        meaning="The least severe messages that are written to standard error.",
    ),
    Setting(
        name="access_log",
        variable="KELPIE_ACCESS_LOG",
        flag="--access-log",
        kind="switch",
        default="0",
        meaning="Write one line for each HTTP request.",
    ),
    Setting(
        name="url",
        variable="KELPIE_URL",
        flag="--url",
        kind="url",
        default="",
        meaning="The server that `kelpie chat`, `agents` and `doctor` talk to; by default the one that "
        "KELPIE_HOST and KELPIE_PORT describe.",
    ),
    Setting(
        name="proxy",
        variable="KELPIE_PROXY",
        flag=None,
        kind="url",
        default="",
        meaning="An HTTP proxy through which models are asked, e.g. http://proxy.example:3128. Without it none is "
        "used, whatever HTTPS_PROXY says.",
    ),
    Setting(
        name="openai_api_key",
        variable="OPENAI_API_KEY",
        flag=None,
        kind="text",
        default="",
        secret=True,
        meaning="The key for models `openai/...`.",
    ),
    Setting(
        name="openai_base_url",
        variable="OPENAI_BASE_URL",
        flag=None,
        kind="url",
        default="",
        meaning=f"Any OpenAI-compatible endpoint (vLLM, Ollama, LM Studio, LiteLLM, OpenRouter), usually ending in "
        f"/v1; with it, no key is needed. Default with a key: {OPENAI_URL}.",
    ),
    Setting(
        name="exa_api_key",
        variable="EXA_API_KEY",
        flag=None,
        kind="text",
        default="",
        secret=True,
        meaning="The key with which agents search the web at Exa (the tool web_search), unless they have their own.",
    ),
    Setting(
        name="exa_base_url",
        variable="EXA_BASE_URL",
        flag=None,
        kind="url",
        default="https://api.exa.ai",
        meaning="Where the web is searched: any server that speaks Exa's API.",
    ),
    Setting(
        name="anthropic_api_key",
        variable="ANTHROPIC_API_KEY",
        flag=None,
        kind="text",
        default="",
        secret=True,
        meaning="The key for models `anthropic/...`.",
    ),
    Setting(
        name="anthropic_base_url",
        variable="ANTHROPIC_BASE_URL",
        flag=None,
        kind="url",
        default="",
        meaning=f"Any Anthropic-compatible endpoint, without /v1; with it, no key is needed. Default with a key: "
        f"{ANTHROPIC_URL}.",
    ),
)


class Config(Struct, frozen=True, kw_only=True):
    """The settings, checked. `warnings` are sentences that an operator should read."""

    host: str
    port: int
    data_dir: str
    allow_remote: bool
    allowed_hosts: str
    encryption_key: str
    tool_programs: bool
    tool_code: bool
    search: SearchProvider
    allowed_targets: frozenset[str]
    drain_ms: int
    log_level: str
    access_log: bool
    url: str
    proxy: str | None
    providers: tuple[ProviderSettings, ...]
    warnings: tuple[str, ...] = ()


def read_config(environ: Mapping[str, str], flags: Mapping[str, str]) -> Config:
    """The configuration; `flags` holds the given flags by setting name, as text.

    Raises InvalidInput, whose `field` is the variable or flag at fault.
    """
    known = {setting.name for setting in SETTINGS}
    assert flags.keys() <= known, f"flags of no setting: {sorted(flags.keys() - known)}"
    read = {setting.name: _read(setting, environ, flags) for setting in SETTINGS}
    host, port = str(read["host"]), int(read["port"])
    if not is_loopback(host) and not read["allow_remote"]:
        raise InvalidInput(
            f"KELPIE_HOST={host} would let everybody who reaches this machine read and change every agent, because "
            "Kelpie does not ask who they are yet; add --allow-remote (KELPIE_ALLOW_REMOTE=1) if something in front "
            "of it does",
            field="KELPIE_HOST",
        )
    return Config(
        host=host,
        port=port,
        data_dir=str(read["data_dir"]),
        allow_remote=bool(read["allow_remote"]),
        allowed_hosts=str(read["allowed_hosts"]),
        encryption_key=str(read["encryption_key"]),
        tool_programs=_is_on(read["tool_programs"], host),
        tool_code=_is_on(read["tool_code"], host),
        search=SearchProvider(url=str(read["exa_base_url"]), key=str(read["exa_api_key"])),
        allowed_targets=frozenset(name.strip().lower() for name in str(read["allowed_targets"]).split(",")) - {""},
        drain_ms=int(read["drain_ms"]),
        log_level=str(read["log_level"]),
        access_log=bool(read["access_log"]),
        url=str(read["url"]).rstrip("/") or address_of(host, port),
        proxy=str(read["proxy"]) or None,
        providers=_providers({name: str(value) for name, value in read.items()}),
        warnings=unknown_variables(environ),
    )


def _is_on(choice: object, host: str) -> bool:
    """Whether `on`, or `auto` while only this machine reaches the server."""
    return choice == "on" or (choice == "auto" and is_loopback(host))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def address_of(host: str, port: int) -> str:
    """The URL by which this machine reaches a server that listens on `host` and `port`."""
    assert 0 <= port <= 65_535
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{near}]:{port}" if ":" in near else f"http://{near}:{port}"


def unknown_variables(environ: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence for every KELPIE_ variable that nothing reads, with the one that was probably meant."""
    known = [setting.variable.removeprefix(PREFIX) for setting in SETTINGS if setting.variable.startswith(PREFIX)]
    found = []
    for variable in sorted(environ):
        word = variable.removeprefix(PREFIX)
        if word != variable and word not in known:
            close = difflib.get_close_matches(word, known, n=1)
            hint = f"; did you mean {PREFIX}{close[0]}?" if close else ""
            found.append(f"{variable} is set and nothing reads it{hint}")
    return tuple(found)


def _read(setting: Setting, environ: Mapping[str, str], flags: Mapping[str, str]) -> str | int | bool:
    source = setting.flag if setting.flag is not None and setting.name in flags else setting.variable
    text = flags.get(setting.name) or environ.get(setting.variable) or setting.default
    match setting.kind:
        case "integer":
            return _read_integer(setting, source, text.strip())
        case "switch":
            return _read_switch(source, text.strip().lower())
        case "choice":
            return _read_choice(setting, source, text.strip().lower())
        case "url":
            return _read_url(source, text.strip())
        case "text":
            return text.strip()


def _read_integer(setting: Setting, source: str, text: str) -> int:
    if text.startswith("tcp://"):
        raise InvalidInput(
            f"{source} is {text}: Kubernetes sets this for a service named 'kelpie'; set enableServiceLinks: false in "
            "the pod, or give --port",
            field=source,
        )
    if not text.isascii() or not text.isdigit() or not setting.minimum <= int(text) <= setting.maximum:
        raise InvalidInput(
            f"{source} must be a whole number from {setting.minimum} to {setting.maximum}, not '{text[:80]}'",
            field=source,
        )
    return int(text)


def _read_switch(source: str, text: str) -> bool:
    if text not in TRUE + FALSE:
        raise InvalidInput(
            f"{source} must be 1 or 0 (or true, false, yes, no, on, off), not '{text[:80]}'", field=source
        )
    return text in TRUE


def _read_choice(setting: Setting, source: str, text: str) -> str:
    if text not in setting.choices:
        raise InvalidInput(f"{source} must be one of {', '.join(setting.choices)}, not '{text[:80]}'", field=source)
    return text


def _read_url(source: str, text: str) -> str:
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:
        good = False
    if not good:
        raise InvalidInput(f"{source} must be an http(s) address such as http://127.0.0.1:11434/v1", field=source)
    return text.rstrip("/")


def _providers(read: Mapping[str, str]) -> tuple[ProviderSettings, ...]:
    found = []
    if read["anthropic_api_key"] or read["anthropic_base_url"]:
        url = read["anthropic_base_url"].removesuffix("/v1") or ANTHROPIC_URL
        found.append(
            ProviderSettings(name="anthropic", kind="anthropic", base_url=url, api_key=read["anthropic_api_key"])
        )
    if read["openai_api_key"] or read["openai_base_url"]:
        url = read["openai_base_url"] or OPENAI_URL
        found.append(ProviderSettings(name="openai", kind="openai", base_url=url, api_key=read["openai_api_key"]))
    return tuple(found)
