"""How clients make agents and talk to them: each verb goes on until it has its answer, and the ledger knows it all."""

from contextlib import aclosing

import msgspec
from msgspec import Struct

from kelpie_sim.client import SimClient, is_open
from kelpie_sim.http import ConnectionLost, HttpAnswer, StreamItem
from kelpie_sim.ledger import Ledger, Reading, Sent
from kelpie_sim.tools import SIM_TOOLS

TOOLS = ("memory_insert", "memory_replace", "conversation_search", *[tool.name for tool in SIM_TOOLS])
MODES = ("sync", "async", "stream", "tokens", "background", "bare")
NOTHING_HAPPENED = (400, 404, 409, 422, 429, 503, 507)  # what api/errors.py promises of these
SHOWN = ("ping", "stop_reason", "usage_statistics", "error_message")


class Made(Struct):
    """An agent or block as the wire shows it, as far as it matters here."""

    id: str
    name: str | None = None
    label: str | None = None
    value: str | None = None
    status: str | None = None


class Told(Struct):
    """A run, or an answer to a message."""

    id: str | None = None
    status: str | None = None
    stop_reason: object = None


async def make_agent(client: SimClient, name: str, **fields: object) -> str:
    """An agent with the tools of the simulated world; its id. A repeat may leave a twin behind, which is harmless."""
    body: dict[str, object] = {"name": name, "model": "kelpie/simulated", "tools": list(TOOLS)}
    answer = await client.ask("POST", "/v1/agents/", body | {"include_base_tools": False} | fields)
    assert answer.status == 200, answer
    return answer.read(Made).id


async def make_block(client: SimClient, label: str, value: str, **fields: object) -> str:
    """A block of its own; its id."""
    answer = await client.ask("POST", "/v1/blocks/", {"label": label, "value": value} | fields)
    assert answer.status == 200, answer
    return answer.read(Made).id


def new_sent(
    ledger: Ledger, client: SimClient, agent_id: str, number: int, mode: str, *, thread_id: str | None = None
) -> Sent:
    """A message that is about to be sent: to the agent's own thread, unless a conversation is named."""
    thread_id = agent_id if thread_id is None else thread_id
    marker = f"m-{client.name}-{thread_id.partition('-')[2][:8]}-{number}"
    sent = Sent(
        number=number,
        client=client.name,
        agent_id=agent_id,
        thread_id=thread_id,
        key=f"key-{marker}",
        marker=marker,
        mode=mode,
        begun_s=client.now_s(),
    )
    ledger.sent.append(sent)
    return sent


async def send(ledger: Ledger, client: SimClient, sent: Sent, text: str, **fields: object) -> None:
    """Send it until it is accepted or refused; in the waiting modes until its run has ended."""
    body: dict[str, object] = {"messages": [{"role": "user", "content": f"{sent.marker} {text}"}], **fields}
    path = f"/v1/agents/{sent.agent_id}/messages"
    if sent.thread_id != sent.agent_id:
        path, body = f"/v1/conversations/{sent.thread_id}/messages", body | {"streaming": False}
    match sent.mode:
        case "sync":
            _note_end(ledger, client, sent, await client.ask("POST", path, body, key=sent.key))
        case "async":
            _note_accepted(ledger, client, sent, await client.ask("POST", f"{path}/async", body, key=sent.key))
        case "bare":
            _note_bare(ledger, client, sent, await client.ask_once("POST", path, body))
        case "stream" | "tokens":
            streamed = body | {"streaming": True, "stream_tokens": sent.mode == "tokens"}
            await _stream(ledger, client, sent, path, streamed, numbered=False)
        case "background" | "kept":
            streamed = body | {"streaming": True, "background": True, "stream_tokens": sent.mode == "kept"}
            await _stream(ledger, client, sent, path, streamed, numbered=True)
        case _:
            raise AssertionError(sent.mode)


async def wait_end(client: SimClient, run_id: str) -> str:
    """Ask for the run until it has ended; its status, or `gone`."""
    while True:
        answer = await client.ask("GET", f"/v1/runs/{run_id}")
        if answer.status == 404:
            return "gone"
        status = answer.read(Made).status or ""
        if status not in ("created", "running"):
            return status
        await client.rest()


async def read_run(ledger: Ledger, client: SimClient, run_id: str, *, after: int, items_max: int = 10_000) -> Reading:
    """Read a run's numbered stream from behind `after`; may leave early, or be cut off: then `ended` is False."""
    reading = Reading(run_id=run_id, reader=f"{client.name} at {client.node().name}", after=after)
    ledger.readings.append(reading)
    try:
        async with aclosing(client.stream(f"/v1/runs/{run_id}/stream", {"starting_after": after}, key=None)) as items:
            async for item in items:
                if isinstance(item, HttpAnswer) or note_item(reading, item) or len(reading.items) >= items_max:
                    break
    except ConnectionLost:
        await client.rest()
    return reading


async def read_to_end(ledger: Ledger, client: SimClient, run_id: str, *, after: int) -> Reading:
    """Read, and begin again behind the last number as often as the stream breaks off; the last of the readings."""
    while True:
        reading = await read_run(ledger, client, run_id, after=after)
        if reading.ended:
            return reading
        after = reading.items[-1][0] if reading.items else after
        await client.rest()


def note_item(reading: Reading, item: StreamItem) -> bool:
    """Keep what is numbered; True when the run has ended: only then its cost is told."""
    if item.message_type == "usage_statistics":
        reading.ended = True
    if item.seq_id is not None and item.message_type not in SHOWN:
        reading.items.append((item.seq_id, item.raw))
    return reading.ended


async def _stream(
    ledger: Ledger, client: SimClient, sent: Sent, path: str, body: dict[str, object], *, numbered: bool
) -> None:
    """Until an attempt saw the end, or the message was refused. The repeat under the same key shows all again."""
    while sent.outcome == "open":
        reading = Reading(run_id="", reader=f"{client.name} at {client.node().name}", after=0)
        try:
            async with aclosing(client.stream(path, body, key=sent.key)) as items:
                async for item in items:
                    if isinstance(item, HttpAnswer):
                        _note_refused(sent, client, item)
                        break
                    if item.run_id is not None:
                        ledger.note_run(sent, item.run_id, client.now_s())
                        reading.run_id = item.run_id
                    if note_item(reading, item):
                        sent.outcome, sent.ended_s = "answered", client.now_s()
        except ConnectionLost:
            pass
        if numbered and reading.run_id:
            ledger.readings.append(reading)
        if sent.outcome == "open":
            await client.rest()


def _note_bare(ledger: Ledger, client: SimClient, sent: Sent, answer: HttpAnswer | None) -> None:
    """Sent once and without a key: an answer that says that nothing has happened is taken at its word."""
    if answer is None or answer.status == 504:
        sent.outcome = "unknown"
    elif answer.run_id is None and answer.status in NOTHING_HAPPENED:
        sent.outcome, sent.undone = "undone", f"{answer.status} {answer.error}"
    else:
        _note_end(ledger, client, sent, answer)


def _note_end(ledger: Ledger, client: SimClient, sent: Sent, answer: HttpAnswer) -> None:
    """A plain answer: of a run that ended well, of one that ended badly, or a refusal."""
    if answer.status == 200:
        told = msgspec.json.decode(answer.body, type=Answered)
        for run_id in dict.fromkeys(each.run_id for each in told.messages if each.run_id is not None):
            ledger.note_run(sent, run_id, client.now_s())
        sent.outcome, sent.ended_s = "answered", client.now_s()
        return
    if answer.run_id is not None:
        ledger.note_run(sent, answer.run_id, client.now_s())
        sent.outcome, sent.ended_s = "failed", client.now_s()
        return
    _note_refused(sent, client, answer)


def _note_accepted(ledger: Ledger, client: SimClient, sent: Sent, answer: HttpAnswer) -> None:
    if answer.status == 200:
        ledger.note_run(sent, answer.read(Made).id, client.now_s())
        sent.outcome = "accepted"
        return
    _note_refused(sent, client, answer)


def _note_refused(sent: Sent, client: SimClient, answer: HttpAnswer) -> None:
    if not is_open(answer) and answer.run_id is None:
        sent.outcome, sent.ended_s = f"refused {answer.status} {answer.error}", client.now_s()


class _Shown(Struct):
    run_id: str | None = None


class Answered(Struct):
    """A plain answer, as far as it tells the runs that it is of."""

    messages: list[_Shown]
