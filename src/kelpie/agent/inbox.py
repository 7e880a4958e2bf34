"""Which requests an agent has seen, by the client's key: a repeat gets the first answer, not a second turn.

Entries are kept for INBOX_KEPT_MS. One reminder per agent sweeps what is older, so that an agent which
sleeps for ever does not keep them for ever.
"""

import hashlib

import msgspec

from kelpie.actor.call import ActorAddress
from kelpie.actor.recovery import arm, disarm
from kelpie.agent.calls import Send
from kelpie.agent.state import INBOX, INBOX_BY_TIME, AgentState, InboxEntry, InboxIndex, InputMessage, RunOptions
from kelpie.errors import InvalidInput
from kelpie.limits import IDEMPOTENCY_KEY_BYTES_MAX, INBOX_KEPT_MS, INBOX_SWEPT_MAX
from kelpie.storage.records import Batch, Records

SWEEP = "sweep-inbox"
_ENCODER = msgspec.json.Encoder()


def hash_key(key: str) -> str:
    """A client's key as it is stored. Raises InvalidInput when it is empty or too long."""
    raw = key.encode("utf-8", "replace")
    if not 0 < len(raw) <= IDEMPOTENCY_KEY_BYTES_MAX:
        raise InvalidInput(
            f"an idempotency key has between 1 and {IDEMPOTENCY_KEY_BYTES_MAX} bytes", field="Idempotency-Key"
        )
    return hashlib.sha256(raw).hexdigest()


def hash_request(messages: tuple[InputMessage, ...], options: RunOptions) -> str:
    """What makes a request the same as another one under the same key."""
    lasting = msgspec.structs.replace(options, answer_by_ms=None)  # a repeat comes later
    return hashlib.sha256(_ENCODER.encode((messages, lasting))).hexdigest()


def check_same(entry: InboxEntry, send: Send) -> None:
    """Raises InvalidInput when the key was used for another request."""
    if entry.digest != send.digest:
        raise InvalidInput("this idempotency key was used for a different request", field="Idempotency-Key")


def remember(batch: Batch, state: AgentState, send: Send, now_ms: int) -> AgentState:
    """Make the request part of the commit that accepts it; the state with the sweep's due time in it."""
    if send.key_hash is None:
        return state
    batch.check_absent(INBOX.at(state.id, send.key_hash))
    entry = InboxEntry(run_id=send.run_id, digest=send.digest, at_ms=now_ms)
    batch.put(INBOX.at(state.id, send.key_hash), entry)
    batch.put(INBOX_BY_TIME.at(state.id, now_ms, send.key_hash), InboxIndex(key=send.key_hash, at_ms=now_ms))
    if state.sweep_due_ms is not None:
        return state
    return _arm_sweep(batch, state, now_ms + INBOX_KEPT_MS)


async def sweep(records: Records, batch: Batch, state: AgentState, now_ms: int) -> AgentState:
    """Remove what is too old, up to INBOX_SWEPT_MAX entries, and arm the next sweep if anything is left."""
    assert state.sweep_due_ms is not None
    disarm(batch, ActorAddress(state.id), SWEEP, state.sweep_due_ms)
    found = await records.scan(INBOX_BY_TIME, state.id, limit=INBOX_SWEPT_MAX + 1)
    left_at_ms: int | None = None
    for at, each in enumerate(found):
        at_ms = each.value.at_ms
        if at_ms + INBOX_KEPT_MS > now_ms or at == INBOX_SWEPT_MAX:
            left_at_ms = at_ms
            break
        batch.delete(INBOX_BY_TIME.at(state.id, at_ms, each.value.key))
        batch.delete(INBOX.at(state.id, each.value.key))
    swept = msgspec.structs.replace(state, sweep_due_ms=None)
    if left_at_ms is None:
        return swept
    return _arm_sweep(batch, swept, max(now_ms + 1, left_at_ms + INBOX_KEPT_MS))


def forget_all(batch: Batch, state: AgentState) -> None:
    """Remove everything, with the agent. Where no sweep is due, there is nothing."""
    if state.sweep_due_ms is not None:
        batch.delete_below(INBOX, state.id)
        batch.delete_below(INBOX_BY_TIME, state.id)
        disarm(batch, ActorAddress(state.id), SWEEP, state.sweep_due_ms)


def _arm_sweep(batch: Batch, state: AgentState, due_ms: int) -> AgentState:
    arm(batch, ActorAddress(state.id), SWEEP, due_ms)
    return msgspec.structs.replace(state, sweep_due_ms=due_ms)
