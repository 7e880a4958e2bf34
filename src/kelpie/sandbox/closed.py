"""A sandbox for servers whose operators do not want foreign code on them: sources are read there, and never run."""

from kelpie.errors import Forbidden
from kelpie.sandbox.sandbox import Ended, Job, Sandbox

READS_ONLY = ("derive_schema", "parse_document", "grep_texts")
CLOSED = "this server runs no code that people write: its operator has not allowed it (KELPIE_TOOL_CODE)"


class ClosedSandbox:
    """Hands on what only reads a source. Anything else is Forbidden."""

    def __init__(self, inner: Sandbox) -> None:
        self._inner = inner

    async def run(self, job: Job) -> Ended:
        """Read a source. Raises Forbidden, and what the sandbox within does."""
        if job.program not in READS_ONLY:
            raise Forbidden(CLOSED)
        return await self._inner.run(job)

    async def forget_packages(self) -> None:
        """There are none."""
