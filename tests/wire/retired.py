"""A genuine retired server as a program beside ours, for measurements: its command and a PostgreSQL are given.

Both come from PyPI and the operator's hands (`letta==0.16.8` needs an environment of its own and PostgreSQL with
pgvector and its own migrations), so nothing is installed here.
"""

from pathlib import Path

from tests.system.server import Program

AGENT_TYPE = "letta_v1_agent"
TUNED = {
    "LETTA_DISABLE_SQLALCHEMY_POOLING": "false",
    "LETTA_USE_UVLOOP": "true",
    "LETTA_TRACK_PROVIDER_TRACE": "false",
}


class RetiredServer(Program):
    """`letta server` in its default set-up, or tuned: connections pooled, uvloop, no traces of model calls."""

    def __init__(
        self, command: Path, database: str, directory: Path, model_url: str, *, core: int, tuned: bool
    ) -> None:
        argv = ["taskset", "-c", str(core), str(command), "server", "--host", "127.0.0.1", "--port", "{port}"]
        env = {
            "HOME": str(directory),
            "LETTA_DIR": str(directory / ".letta"),
            "LETTA_PG_URI": database,
            "OPENAI_API_KEY": "sk-x",
            "OPENAI_API_BASE": f"{model_url}/v1",
            "OPENAI_BASE_URL": f"{model_url}/v1",
            **(TUNED if tuned else {}),
        }
        super().__init__("retired server", argv, env, directory / f"retired-{tuned}.log", "/v1/health/")
        self.directory = directory  # it writes its OpenAPI document to where it runs
