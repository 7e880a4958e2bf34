"""The faults that the scripted model server commits on request, named in the model or in `[...]` in the text.

fault-500  fault-401 ...      that status, always; fault-429-once, fault-429-twice: then it answers
fault-overflow                the prompt is too long
fault-garbage  fault-page     status 200 with bytes that are no JSON; with an HTML page
fault-empty    fault-blank    status 200 and no body; a reply in which the model says nothing
fault-half-stream             the connection closes in the middle of the reply
fault-stream-error            an error event in the middle of a streamed reply (else status 529 or 503)
fault-hang-up  fault-silence  the connection closes, or stays open, without an answer
fault-stall                   half a reply, then silence
fault-slow-250, slow-250      the answer comes 250 ms late        drip-20: 20 ms between events
chatter-500                   a reply of 500 words
bad-arguments  twin-calls     tool calls with malformed arguments; each call doubled, with one id
quirk-no-ids -no-index -no-usage -no-done -object-arguments -reasoning -reasoning-field -redacted
"""

import re

from msgspec import Struct

from kelpie_sim.model_wires import WireName

_NAMES = re.compile(r"(?:fault|slow|drip|chatter|quirk|bad|twin)-[a-z0-9-]+")
_IN_TEXT = re.compile(r"\[((?:fault|slow|drip|chatter|quirk|bad|twin)-[a-z0-9-]+)\]")
_TIMES = {"once": 1, "twice": 2}
_KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 500: "api_error", 529: "overloaded_error",
}  # fmt: skip
_OVERFLOW = {
    "anthropic": "prompt is too long: 210000 tokens > 200000 maximum",
    "openai": "This model's maximum context length is 8192 tokens, but 9000 tokens were given.",
}


class Fault(Struct, frozen=True, kw_only=True):
    """An answer with an error status."""

    status: int
    words: str
    kind: str
    retry_after_s: str | None = None


def wanted(model: str, said: str) -> list[str]:
    """The instructions in a model's name and in what the user said, each once, in order."""
    named = [model] if _NAMES.fullmatch(model) else []
    return list(dict.fromkeys(named + _IN_TEXT.findall(said)))


def number_in(names: list[str], *prefixes: str) -> int:
    """The number at the end of the first name that begins with a prefix; 0 without one."""
    for name in names:
        if name.startswith(prefixes) and name.rpartition("-")[2].isdecimal():
            return int(name.rpartition("-")[2])
    return 0


def quirks_of(names: list[str]) -> frozenset[str]:
    """The names of the quirks."""
    return frozenset(name.removeprefix("quirk-") for name in names if name.startswith("quirk-"))


class FaultBook:
    """Counts how often each counted fault was already committed, so that `twice` ends."""

    def __init__(self) -> None:
        self._committed: dict[str, int] = {}

    def status_fault(self, names: list[str], wire: WireName) -> Fault | None:
        """The error status to answer now, if any."""
        for name in names:
            if name == "fault-overflow":
                return Fault(status=400, words=_OVERFLOW[wire], kind="invalid_request_error")
            found = re.match(r"fault-(\d{3})(?:-(once|twice))?", name)
            if found is None or not self._is_due(name, _TIMES.get(found[2] or "")):
                continue
            status = int(found[1])
            words = f"scripted fault {name}"
            retry_after_s = "0.01" if status in (429, 529) else None
            return Fault(status=status, words=words, kind=_KINDS.get(status, "api_error"), retry_after_s=retry_after_s)
        return None

    def _is_due(self, name: str, times: int | None) -> bool:
        if times is None:
            return True
        committed = self._committed.get(name, 0)
        self._committed[name] = committed + 1 if committed < times else 0
        return committed < times
