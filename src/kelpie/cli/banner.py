"""What `kelpie serve` prints when it listens: where it is, what it has, and what to do next."""

import os
import shutil
import sys
from pathlib import Path

from kelpie import __version__
from kelpie.api.letta.welcome import client_lines
from kelpie.config import Config, address_of

NO_PROVIDER = (
    "kelpie/rehearsed only: it works offline and does as it is told, it does not think.",
    "For a real model set OPENAI_API_KEY or ANTHROPIC_API_KEY, or for one of your own",
    "OPENAI_BASE_URL, e.g. http://127.0.0.1:11434/v1 for Ollama, and start again.",
)


def banner(config: Config, port: int) -> str:
    """The text; `port` is the one that was really taken."""
    url = address_of(config.host, port)
    data_dir = Path(config.data_dir).expanduser().absolute()
    models = model_lines(config)
    steps = [f"  {command_name()} chat".ljust(38) + "a conversation in the terminal"]
    steps += [f"  {line}" for line in client_lines(url)]
    return "\n".join(
        [
            f"Kelpie {__version__} listens on {url}",
            "",
            f"  data    {data_dir}",
            f"  models  {models[0]}",
            *[f"          {line}" for line in models[1:]],
            "",
            "What next, in another terminal:",
            *steps,
            f"  {url}/docs".ljust(38) + "every request, explained",
            "",
            "Ctrl-C stops it. What was acknowledged is on disk.",
        ]
    )


def model_lines(config: Config) -> tuple[str, ...]:
    """Which providers answer, one a line; never a key."""
    if not config.providers:
        return NO_PROVIDER
    return (*(f"{each.name}/...  from {each.base_url}" for each in config.providers), "kelpie/rehearsed  offline")


def command_name() -> str:
    """What a person types to run this program again: `kelpie` if the shell finds it, else its path."""
    if shutil.which("kelpie"):
        return "kelpie"
    path = Path(sys.argv[0]).absolute()
    near = os.path.relpath(path)
    return near if len(near) < len(str(path)) else str(path)
