"""Errors as HTTP answers: the only place that knows statuses.

    Refused            400 InvalidInput (`INVALID_ARGUMENT: ...`), 422 when the request itself is malformed
                       404 NotFound, 409 AlreadyExists, 403 Forbidden, 422 LimitExceeded (413: the body),
                       409 CallCycle, 400 ModelRefused, WindowOverflow, 401 KeyRefused,
                       SecretUnreadable, SourceRefused, 501 LeftOut
    Unavailable        429 Busy, 409 Conflict, 507 StorageFull, 503 all others; each with Retry-After
    OutcomeUnknown     503 RunStalled, 504 all others; clients are asked not to repeat it by themselves
    Broken             500

A run that ended with an error is answered with the status of that error, except that the provider's trouble
(ModelUnavailable) is 502: the server itself is well. It is committed as failed, so clients are asked not to
repeat it: `x-should-retry: false`, a header that the official clients obey. After the first byte of a stream
there is no status any more; there the same errors are events.

Bodies are `{"detail": "<sentence>"}`; of malformed requests `{"trace_id": "", "detail": "<a list as text>"}`, in the
words that clients of the compatible API know, and nothing else. The stable name of the error is in the header
`x-kelpie-error`, and the run that failed in `x-kelpie-run`.
"""

import re
from typing import Any

import msgspec

from kelpie.agent.state import RunError
from kelpie.errors import (
    AnswerAwaited,
    Conflict,
    InvalidInput,
    KelpieError,
    LimitExceeded,
    OutcomeUnknown,
    Refused,
    Unavailable,
)
from kelpie.limits import RETRY_AFTER_MS

STATUSES: dict[str, int] = {
    "invalid_input": 400,
    "malformed": 422,
    "not_found": 404,
    "method_not_allowed": 405,
    "already_exists": 409,
    "answer_awaited": 409,
    "forbidden": 403,
    "not_authenticated": 401,
    "limit_exceeded": 422,
    "request_too_large": 413,
    "call_cycle": 409,
    "model_refused": 400,
    "key_refused": 401,
    "window_overflow": 400,
    "secret_unreadable": 400,
    "source_refused": 400,
    "refused": 400,
    "busy": 429,
    "not_owner": 503,
    "conflict": 409,
    "draining": 503,
    "store_down": 503,
    "storage_full": 507,
    "model_unavailable": 503,
    "server_unreachable": 503,
    "tool_server_unavailable": 503,
    "login_needed": 503,
    "unavailable": 503,
    "commit_unknown": 504,
    "activation_lost": 504,
    "run_stalled": 503,
    "call_timed_out": 504,
    "outcome_unknown": 504,
    "left_out": 501,
    "broken": 500,
    "data_corrupt": 500,
    "store_failed": 500,
    "store_owned": 500,
    "store_too_new": 500,
    "port_taken": 500,
}
RUN_STATUSES = {**STATUSES, "model_unavailable": 502}
STATUS_UNKNOWN = 500

_PLACE = re.compile(r"^(.*?)(?: - at `(?:key in )?\$(.*)`)?$", re.DOTALL)
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_MISSING = re.compile(r"missing required field `(.+)`")

Header = tuple[bytes, bytes]


class Malformed(InvalidInput):
    """The request is not what the route takes: 422, in the form of a list of what is wrong and where."""

    code = "malformed"

    def __init__(
        self, sentence: str, *, place: tuple[str | int, ...], kind: str = "value_error", example: str | None = None
    ) -> None:
        super().__init__(sentence, field=".".join(str(step) for step in place[1:]) or None)
        self.place = place
        self.kind = kind
        self.example = example


class Unprocessable(InvalidInput):
    """As Malformed, for the few mistakes that the compatible API answers with a plain sentence."""

    code = "malformed"


class MethodNotAllowed(InvalidInput):
    """The path is known, with other methods."""

    code = "method_not_allowed"


class LeftOut(InvalidInput):
    """This server does not have the operation, on purpose; asking again is of no use."""

    code = "left_out"


class RequestTooLarge(LimitExceeded):
    """The body or the query is over its bound."""

    code = "request_too_large"


class KeyRefused(Refused):
    """A provider that a client asked to check does not take the key."""

    code = "key_refused"


class RunFailed(KelpieError):
    """The run was accepted, and ended with an error."""

    code = "run_failed"

    def __init__(self, error: RunError, run_id: str) -> None:
        super().__init__(error.sentence, run_id=run_id)
        self.code = error.code


def status_of(error: KelpieError) -> int:
    """The HTTP status that says this error."""
    statuses = RUN_STATUSES if isinstance(error, RunFailed) else STATUSES
    return statuses.get(error.code, STATUS_UNKNOWN)


def body_of(error: KelpieError) -> bytes:
    """The JSON body that says this error."""
    if isinstance(error, AnswerAwaited):
        known = {"code": "PENDING_APPROVAL", "pending_request_id": error.fields["message_id"]}
        return msgspec.json.encode({"detail": {**known, "message": error.sentence}})
    if not isinstance(error, Malformed):
        return msgspec.json.encode({"detail": sentence_of(error)})
    found = {"type": error.kind, "loc": error.place, "msg": error.sentence}
    body: dict[str, Any] = {"trace_id": "", "detail": str([found])}
    if error.example is not None:
        body["examples"] = [error.example]
    return msgspec.json.encode(body)


def sentence_of(error: KelpieError) -> str:
    """The sentence that the client reads; arguments that were refused say so first."""
    if error.code == "invalid_input" and not error.sentence.startswith("INVALID_ARGUMENT"):
        return f"INVALID_ARGUMENT: {error.sentence}"
    return error.sentence


def headers_of(error: KelpieError) -> list[Header]:
    """The error's name, and when to come again, or not to."""
    headers: list[Header] = [(b"x-kelpie-error", error.code.encode())]
    if isinstance(error, RunFailed):
        headers.append((b"x-kelpie-run", str(error.fields["run_id"]).encode()))
    if isinstance(error, RunFailed | OutcomeUnknown | LeftOut):
        headers.append((b"x-should-retry", b"false"))
    elif isinstance(error, Unavailable) and not isinstance(error, Conflict):
        given = error.fields.get("retry_after_ms")
        wait_ms = given if isinstance(given, int) else RETRY_AFTER_MS
        headers.append((b"retry-after", b"%d" % max(1, -(-wait_ms // 1000))))
    return headers


def malformed_json(error: Exception) -> Malformed:
    """The error for a body that is no JSON, or JSON of wrong types; the message names the place."""
    if isinstance(error, RecursionError):
        return Malformed("the JSON is nested too deeply", place=("body",), kind="json_invalid")
    if isinstance(error, msgspec.ValidationError):
        return mistyped(error, "body")
    return Malformed(f"JSON decode error: {str(error)[:200]}", place=("body",), kind="json_invalid")


def mistyped(error: msgspec.ValidationError, part: str) -> Malformed:
    """The error for a value of a wrong type or out of its bounds, in the body or the query."""
    match = _PLACE.match(str(error))
    assert match is not None, "the pattern matches any text"
    message, path = match[1], match[2] or ""
    place: list[str | int] = [part]
    for name, index in _STEP.findall(path):
        place.append(name or (int(index) if index.isdigit() else index))
    missing = _MISSING.search(message)
    if missing is not None:
        return Malformed("Field required", place=(*place, missing[1]), kind="missing")
    return Malformed(message, place=tuple(place), kind="type_error")
