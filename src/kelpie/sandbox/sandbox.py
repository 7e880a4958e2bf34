"""The seam behind which foreign code runs: one program, one input, bounds, one end."""

from typing import Literal, Protocol

from msgspec import Struct

from kelpie.limits import SANDBOX_DEADLINE_MS

Program = Literal["call_python", "run_python", "derive_schema", "run_node", "parse_document", "grep_texts"]


class Job(Struct, frozen=True, kw_only=True):
    """What to run. `environment` is all that it is given beside a search path and a home of its own."""

    program: Program
    input: bytes  # JSON, as the program documents it
    environment: dict[str, str] = {}
    packages: tuple[str, ...] = ()  # what pip is to provide, e.g. `six==1.17.0`
    deadline_ms: int = SANDBOX_DEADLINE_MS


class Ended(Struct, frozen=True, kw_only=True):
    """How it ended. `result` is what the program wrote as its last deed; None if it did not come so far.

    `died` says why there is none, as a clause for whoever called: "it ended with status 3".
    """

    result: bytes | None
    stdout: str = ""
    stderr: str = ""
    died: str = ""


class Sandbox(Protocol):
    """Runs jobs. What one does ends with it: its processes are gone when `run` returns, or is cancelled."""

    async def run(self, job: Job) -> Ended:
        """Run it to its end, its deadline or a bound. Raises Busy, InvalidInput (packages that cannot be had)."""
        ...

    async def forget_packages(self) -> None:
        """What pip has provided is thrown away; the next job that needs packages gets them anew."""
        ...
