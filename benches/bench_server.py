"""The server's speed and size as a Markdown table: `python -m benches.bench_server [--quick]`.

The server runs alone on core 0; the client and a model that answers at once share core 1. CPU is the server
process's own (all threads) while four clients keep it busy; waits are what one client alone sees. Every turn is
durably committed.
"""

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
from msgspec import Struct

from benches.measure import Timing, cpu_seconds, percentile, resident_bytes, timing
from benches.raw_http import Connection, encode
from tests.system.server import BIN, Program

MODEL = "openai/instant"
SERVER_CORE, CLIENT_CORE = 0, 1
CONVERSATIONS = 32
BUSY_CLIENTS = 4
SLEEP_SECONDS = 75  # longer than the server keeps an idle agent awake
FILL_AGENTS = 300
FILL_ROUNDS_MAX = 20


class Counts(Struct, frozen=True, kw_only=True):
    """How often each case is repeated."""

    reads: int = 2_000
    writes: int = 1_000
    turns: int = 600
    streams: int = 200
    cold: int = 300
    starts: int = 7
    sleepers: int = 2_000
    rounds: int = 40  # turns of each of the concurrent conversations


QUICK = Counts(reads=300, writes=200, turns=150, streams=50, cold=60, starts=3, sleepers=200, rounds=8)


class Line(Struct, frozen=True, kw_only=True):
    """One row of the table."""

    case: str
    target: str
    measured: str
    kept: bool  # whether the target was met


class InstantModel(Program):
    """The instant model on the client's core."""

    def __init__(self, directory: Path) -> None:
        argv = ["taskset", "-c", str(CLIENT_CORE), sys.executable, "-m", "benches.instant_model", "{port}"]
        super().__init__("instant model", argv, {}, directory / "model.log", "/v1/models")


class PinnedServer(Program):
    """`kelpie serve` alone on its core."""

    def __init__(self, directory: Path, model: InstantModel) -> None:
        argv = ["taskset", "-c", str(SERVER_CORE), str(BIN / "kelpie"), "serve", "--host", "127.0.0.1"]
        argv += ["--port", "{port}", "--data-dir", str(directory / "data")]
        env = {"OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": f"{model.url}/v1"}
        super().__init__("kelpie", argv, env, directory / "kelpie.log", "/v1/health/")


def main() -> None:
    """Measure everything and print the table; status 1 when a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, rougher numbers")
    counts = QUICK if parser.parse_args().quick else Counts()
    os.sched_setaffinity(0, {CLIENT_CORE})
    with tempfile.TemporaryDirectory(prefix="kelpie-bench-") as directory:
        model = InstantModel(Path(directory))
        server = PinnedServer(Path(directory), model)
        try:
            model.start()
            lines = asyncio.run(measure_all(server, counts))
        finally:
            server.kill()
            model.kill()
    print(table(lines))
    sys.exit(0 if all(line.kept for line in lines) else 1)


def table(lines: Sequence[Line]) -> str:
    """The Markdown table, with what it was measured on."""
    cpu = next((row for row in Path("/proc/cpuinfo").read_text().split("\n") if row.startswith("model name")), ": ?")
    rows = [f"| {one.case} | {one.target} | {one.measured} | {'yes' if one.kept else 'NO'} |" for one in lines]
    place = f"{cpu.partition(': ')[2]}, one core for the server; Python {platform.python_version()}"
    return "\n".join([f"Measured on {place}.", "", "| case | target | measured | kept |", "|---|---|---|---|", *rows])


async def measure_all(server: PinnedServer, counts: Counts) -> list[Line]:
    """Every case in turn. The server is restarted where a case wants a fresh or a cold one."""
    lines = await measure_start(server, counts)
    async with connected(server) as link:
        lines += await measure_requests(server, link, counts)
        lines += await measure_turns(server, link, counts)
        lines += await measure_conversations(server, counts)
        lines += await measure_cold(server, link, counts)
    server.stop()
    print(table(lines), "\n(sleeping agents follow in three minutes)", file=sys.stderr)
    server.start()
    async with connected(server) as link:
        lines += await measure_sleepers(server, link, counts)
    return lines


async def measure_start(server: PinnedServer, counts: Counts) -> list[Line]:
    """From exec to the first 200, and the memory of a server that nobody has used."""
    waits: list[float] = []
    idle = 0.0
    for _ in range(counts.starts):
        began = time.perf_counter()
        server.spawn()
        await first_answer(server)
        waits.append(time.perf_counter() - began)
        await asyncio.sleep(0.5)
        idle = resident_bytes(server.pid) / (1 << 20)
        server.stop()
    server.start()
    ready = percentile(waits, 50)
    return [
        Line(case="ready after start", target="<= 1 s", measured=f"{ready:.2f} s", kept=ready <= 1),
        Line(case="resident when idle", target="<= 90 MiB", measured=f"{idle:.1f} MiB", kept=idle <= 90),
    ]


async def measure_requests(server: PinnedServer, link: Connection, counts: Counts) -> list[Line]:
    """Reading and writing agents and blocks."""
    agent = await create_agent(link)
    block = f"/v1/agents/{agent}/core-memory/blocks/human"
    get_agent, get_block = encode("GET", f"/v1/agents/{agent}"), encode("GET", block)
    create = encode("POST", "/v1/agents/", AGENT)
    return [
        cpu_line("get an agent", 0.5, await repeat(server, link, lambda _: get_agent, counts.reads)),
        cpu_line("read a block", 0.3, await repeat(server, link, lambda _: get_block, counts.reads)),
        cpu_line("create an agent", 2.0, await repeat(server, link, lambda _: create, counts.writes)),
        told("update a block", await repeat(server, link, lambda n: write_block(block, n), counts.writes)),
    ]


async def measure_turns(server: PinnedServer, link: Connection, counts: Counts) -> list[Line]:
    """Turns of agents that are awake, ten turns each, so that the prompt is short but not empty."""
    agents = [await create_agent(link) for _ in range(counts.turns // 10)]
    for agent in agents:
        await link.ask_ok(say(agent, "wake up"))
    plain = await repeat(server, link, lambda n: say(agents[n % len(agents)], "hello"), counts.turns)
    told_of_tool = (await link.ask_ok(say(agents[0], "TOOL"))).body
    assert b"tool_return_message" in told_of_tool and b'"status":"success"' in told_of_tool, told_of_tool
    tool = await repeat(server, link, lambda n: say(agents[n % len(agents)], "TOOL"), counts.turns)
    first_bytes = []
    for number in range(counts.streams):
        await asyncio.sleep(0.01)  # idle in between
        stream = say(agents[number % len(agents)], "hello", streaming=True)
        first_bytes.append((await link.ask_ok(stream)).first_byte_s * 1_000)
    p50, p99 = percentile(first_bytes, 50), percentile(first_bytes, 99)
    measured = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"
    return [
        cpu_line("plain turn", 5.0, plain),
        cpu_line("turn with one memory tool", 8.0, tool),
        Line(case="first SSE byte when idle", target="<= 10 ms", measured=measured, kept=p50 <= 10),
    ]


async def measure_conversations(server: PinnedServer, counts: Counts) -> list[Line]:
    """32 clients, each talking to its own agent; then every turn is looked for in the histories."""
    links = [await Connection.open(server.port) for _ in range(CONVERSATIONS)]
    agents = [await create_agent(link) for link in links]
    waits: list[float] = []

    async def converse(link: Connection, agent: str) -> None:
        for number in range(counts.rounds):
            waits.append((await link.ask_ok(say(agent, f"turn {number}"))).whole_s * 1_000)

    await asyncio.gather(*[link.ask_ok(say(agent, "wake up")) for link, agent in zip(links, agents, strict=True)])
    began, cpu = time.perf_counter(), cpu_seconds(server.pid)
    await asyncio.gather(*[converse(link, agent) for link, agent in zip(links, agents, strict=True)])
    rate, busy = len(waits) / (time.perf_counter() - began), (cpu_seconds(server.pid) - cpu) * 1_000 / len(waits)
    kept = [await count_answers(links[0], agent) for agent in agents]
    lost = (counts.rounds + 1) * CONVERSATIONS - sum(kept)
    for link in links:
        link.close()
    p50, p99 = percentile(waits, 50), percentile(waits, 99)
    measured = f"{rate:.0f} turns/s, {busy:.2f} ms CPU each"
    return [
        Line(case="32 conversations", target=">= 300 turns/s", measured=measured, kept=rate >= 300),
        Line(case="32 conversations: wait", target="p99 <= 10 x p50", measured=f"p50 {p50:.1f} ms, p99 {p99:.1f} ms",
             kept=p99 <= 10 * p50),
        Line(case="32 conversations: lost", target="0", measured=str(lost), kept=lost == 0),
    ]  # fmt: skip


async def measure_cold(server: PinnedServer, link: Connection, counts: Counts) -> list[Line]:
    """What the first message costs more than the second, after a sleep and after a restart, beyond the server's own
    warming up."""
    agents = [await create_agent(link) for _ in range(counts.cold)]
    for agent in agents:
        await link.ask_ok(say(agent, "before"))
    await asyncio.sleep(SLEEP_SECONDS)
    lines = [await measure_first(server, agents, "<= 1 ms on top", "cold activation")]
    server.stop()
    server.start()
    return [*lines, await measure_first(server, agents, "-", "cold activation, the server restarted")]


async def measure_first(server: PinnedServer, agents: Sequence[str], target: str, case: str) -> Line:
    """The first message to each of the agents against the second."""
    async with connected(server) as link:
        warm = await create_agent(link)
        for _ in range(200):
            await link.ask_ok(say(warm, "warm up"))
        cold = await repeat(server, link, lambda n: say(agents[n], "hello"), len(agents), warm_up=0)
        awake = await repeat(server, link, lambda n: say(agents[n], "hello"), len(agents), warm_up=0)
    extra = cold.cpu_ms - awake.cpu_ms
    measured = f"{extra:.2f} ms CPU ({cold.cpu_ms:.2f} against {awake.cpu_ms:.2f})"
    return Line(case=case, target=target, measured=measured, kept=target == "-" or extra <= 1)


async def measure_sleepers(server: PinnedServer, link: Connection, counts: Counts) -> list[Line]:
    """What agents that have talked and fell asleep leave in memory: what a second lot adds to a first as large.

    The first lot fills the bounded caches and takes the memory for so many agents awake, which the second uses again.
    """
    await fill_caches(server, link)
    resident: list[int] = []
    for _ in range(2):
        async with connected(server) as again:  # the server closes a connection that is silent while they fall asleep
            await create_talkers(again, counts.sleepers)
        await asyncio.sleep(SLEEP_SECONDS)
        resident.append(resident_bytes(server.pid))
    before, after = resident
    asleep = (after - before) / counts.sleepers / 1_024
    measured = f"{asleep:.2f} KiB"
    return [
        told_size("resident after use, caches full", before),
        Line(case="resident for a sleeping agent", target="<= 4 KiB", measured=measured, kept=asleep <= 4),
    ]


async def fill_caches(server: PinnedServer, link: Connection) -> int:
    """Use the server until the store's page cache, which is bounded, is full; the resident bytes then.

    Otherwise the cache's growth would be taken for that of the agents.
    """
    for _ in range(FILL_ROUNDS_MAX):
        before = resident_bytes(server.pid)
        await create_talkers(link, FILL_AGENTS)
        if resident_bytes(server.pid) - before < FILL_AGENTS * 2_048:
            break
    return resident_bytes(server.pid)


async def create_talkers(link: Connection, count: int) -> None:
    """New agents that have had one turn."""
    for _ in range(count):
        await link.ask_ok(say(await create_agent(link), "hello"))


async def repeat(
    server: Program,
    link: Connection,
    request: Callable[[int], bytes],
    times: int,
    *,
    warm_up: int = 30,
    database: Callable[[], float] = lambda: 0.0,
) -> Timing:
    """What one client alone waits, over a third of the requests; the server's CPU for each of the others, which
    BUSY_CLIENTS ask at once, so that the core does not fall asleep between two requests. `database` tells the CPU
    seconds of its database so far."""
    for number in range(min(warm_up, times)):
        await link.ask_ok(request(number))
    requests = [request(number) for number in range(times)]
    waits = [(await link.ask_ok(one)).whole_s for one in requests[: times // 3]]
    left = iter(requests[times // 3 :])

    async def ask_all(busy: Connection) -> None:
        for one in left:
            await busy.ask_ok(one)

    links = [await Connection.open(server.port) for _ in range(BUSY_CLIENTS)]
    cpu, others = cpu_seconds(server.pid), database()
    await asyncio.gather(*[ask_all(busy) for busy in links])
    cpu, others = cpu_seconds(server.pid) - cpu, database() - others
    for busy in links:
        busy.close()
    return timing(cpu, times - times // 3, waits, database_s=others)


def cpu_line(case: str, target_ms: float, found: Timing) -> Line:
    """A case whose target is CPU for each request."""
    return Line(case=case, target=f"<= {target_ms:g} ms CPU", measured=_words(found), kept=found.cpu_ms <= target_ms)


def told(case: str, found: Timing) -> Line:
    """A case without a target."""
    return Line(case=case, target="-", measured=_words(found), kept=True)


def told_size(case: str, count: int) -> Line:
    """A size without a target."""
    return Line(case=case, target="-", measured=f"{count / (1 << 20):.1f} MiB", kept=True)


def _words(found: Timing) -> str:
    return f"{found.cpu_ms:.2f} ms CPU; wait p50 {found.p50_ms:.2f} ms, p99 {found.p99_ms:.2f} ms"


AGENT = {
    "name": "bench",
    "model": MODEL,
    "memory_blocks": [{"label": "human", "value": "Name: Ada."}, {"label": "persona", "value": "Patient."}],
}


def say(agent: str, text: str, **fields: object) -> bytes:
    """A message request."""
    return encode("POST", f"/v1/agents/{agent}/messages", {"messages": [{"role": "user", "content": text}], **fields})


def write_block(path: str, number: int) -> bytes:
    """A block update that changes something."""
    return encode("PATCH", path, {"value": f"Name: Ada, seen {number} times."})


async def create_agent(link: Connection) -> str:
    """A new agent; its id."""
    answer = await link.ask_ok(encode("POST", "/v1/agents/", AGENT))
    return str(msgspec.json.decode(answer.body)["id"])


async def count_answers(link: Connection, agent: str) -> int:
    """How many assistant messages the history holds."""
    answer = await link.ask_ok(encode("GET", f"/v1/agents/{agent}/messages?limit=1000&order=asc"))
    return sum(one["message_type"] == "assistant_message" for one in msgspec.json.decode(answer.body))


@asynccontextmanager
async def connected(server: Program) -> AsyncIterator[Connection]:
    """A connection that is closed in the end."""
    link = await Connection.open(server.port)
    try:
        yield link
    finally:
        link.close()


async def first_answer(server: Program) -> None:
    """Returns as soon as the health route answers 200."""
    request = encode("GET", server.ready_path)
    for _ in range(10_000):
        assert server.returncode is None, server.log()
        try:
            async with connected(server) as link:
                if (await link.ask(request)).status == 200:
                    return
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.003)
    raise AssertionError("the server did not become ready")


if __name__ == "__main__":
    try:
        main()
    except subprocess.SubprocessError as error:
        sys.exit(f"a process failed: {error}")
