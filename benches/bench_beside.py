"""Beside the retired server, in one run, as a Markdown table:
`python -m benches.bench_beside --program COMMAND --database URI [--quick]`.

The command is that of a genuine server 0.16.8, the database a PostgreSQL with its own migrations; tests/wire/retired.py
says how it is started. It is measured in its default set-up, then tuned, then ours: each alone on core 0, with the
client and a model that answers at once on core 1. CPU is that of the server and of its database while four clients
keep it busy: the retired one's is the server's process and PostgreSQL's, ours is one process, in which the database is.
Waits are what one client alone sees. Without a program nothing is measured, and that is said; `--ours` then measures
ours alone, without aims.
"""

import argparse
import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import msgspec
from msgspec import Struct

from benches.bench_server import (
    CLIENT_CORE,
    SERVER_CORE,
    InstantModel,
    PinnedServer,
    connected,
    repeat,
    say,
    write_block,
)
from benches.measure import Timing, family_cpu_seconds, percentile, resident_bytes
from benches.raw_http import Connection, encode
from tests.system.server import Program
from tests.wire.retired import AGENT_TYPE, RetiredServer

READY_SECONDS_MAX = 180.0
AGENTS = 8  # so that nothing is written twice at once, which theirs answers 409
CLIENTS = 32
MODEL_PORT = 8_399  # the same in each run: theirs remembers the address of its first start in the database
SETTLE_SECONDS = 3.0
MESSAGES = ("message", "message with a memory tool", "message, streamed")
AIMS = {  # how many times less CPU: than its default, than it tuned
    **dict.fromkeys(MESSAGES, (50, 25)),
}
AIM_ELSE, AIM_START, AIM_MEMORY = (30, 15), 15, 5


class Counts(Struct, frozen=True, kw_only=True):
    """How often each case is repeated."""

    requests: int
    turns: int
    warm_up: int  # before each case
    rounds: int  # turns of each of the concurrent clients
    starts: int


THEIRS = Counts(requests=90, turns=45, warm_up=5, rounds=2, starts=2)
THEIRS_QUICK = Counts(requests=12, turns=9, warm_up=2, rounds=1, starts=1)
OURS = Counts(requests=1_500, turns=450, warm_up=30, rounds=30, starts=5)
OURS_QUICK = Counts(requests=300, turns=90, warm_up=30, rounds=8, starts=3)


class Found(Struct, frozen=True, kw_only=True):
    """What was measured of one server."""

    start_s: float
    fresh_bytes: int
    used_bytes: int
    turns_per_s: float
    cases: dict[str, Timing]


def main() -> None:
    """Measure all three and print the table; status 1 when an aim was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", type=Path, help="the genuine server's command")
    parser.add_argument("--database", help="the URI of its PostgreSQL")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, rougher numbers")
    parser.add_argument("--ours", action="store_true", help="only ours, as it is measured beside the other")
    options = parser.parse_args()
    if not options.ours and (options.program is None or options.database is None):
        print("not measured: this bench needs --program and --database of a genuine retired server, see --help")
        return
    os.sched_setaffinity(0, {CLIENT_CORE})
    with tempfile.TemporaryDirectory(prefix="kelpie-bench-") as name:
        directory = Path(name)
        model = InstantModel(directory)
        model.port = MODEL_PORT
        try:
            model.start()
            found = measure_all(options, directory, model)
        finally:
            model.kill()
    lines, kept = table(*found) if len(found) == 3 else (table_of_ours(*found), True)
    print("\n".join(lines))
    sys.exit(0 if kept else 1)


def measure_all(options: argparse.Namespace, directory: Path, model: InstantModel) -> list[Found]:
    """The retired server by default and tuned, then ours; or ours alone."""
    theirs, ours = (THEIRS_QUICK, OURS_QUICK) if options.quick else (THEIRS, OURS)
    found: list[Found] = []
    own = PinnedServer(directory, model)
    if options.ours:
        return [measure(own, "openai/instant", ours)]
    for tuned in (False, True):
        server = RetiredServer(
            options.program.absolute(), options.database, directory, model.url, core=SERVER_CORE, tuned=tuned
        )
        postgres = asyncio.run(find_postgres(options.database))
        found.append(measure(server, "openai-proxy/instant", theirs, partial(family_cpu_seconds, postgres)))
    return [*found, measure(own, "openai/instant", ours)]


async def find_postgres(uri: str) -> int:
    """The process id of the PostgreSQL, on this machine, that has the database."""
    address = urlsplit(uri)
    host = parse_qs(address.query).get("host", [address.hostname or "localhost"])[0]
    link = await asyncpg.connect(
        host=host,
        port=address.port,
        user=address.username,
        password=address.password,
        database=address.path.removeprefix("/"),
    )
    try:
        backend = await link.fetchval("select pg_backend_pid()")
        status = Path(f"/proc/{backend}/status").read_text()
    finally:
        await link.close()
    return int(next(row for row in status.split("\n") if row.startswith("PPid:")).split()[1])


def measure(server: Program, handle: str, counts: Counts, database: Callable[[], float] = lambda: 0.0) -> Found:
    """One server, started for it and killed in the end; `database` tells the CPU of its database so far."""
    print(f"measuring: {' '.join(server.argv[3:5])}", file=sys.stderr)
    try:
        starts = [start(server) for _ in range(counts.starts)]
        time.sleep(SETTLE_SECONDS)
        fresh = resident_bytes(server.pid)
        cases, rate = asyncio.run(measure_cases(server, handle, counts, database))
        used = resident_bytes(server.pid)
    finally:
        server.kill()
    return Found(start_s=percentile(starts, 50), fresh_bytes=fresh, used_bytes=used, turns_per_s=rate, cases=cases)


def start(server: Program) -> float:
    """Start it, anew if it runs; the seconds from exec to the first 200."""
    server.kill()
    began = time.perf_counter()
    server.spawn()
    asyncio.run(_first_answer(server))
    return time.perf_counter() - began


async def _first_answer(server: Program) -> None:
    request, ends = encode("GET", server.ready_path), time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < ends:
        assert server.returncode is None, server.log()[-4000:]
        try:
            async with connected(server) as link:
                if (await link.ask(request)).status == 200:
                    return
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.005)
    raise AssertionError(f"not ready after {READY_SECONDS_MAX} s:\n{server.log()[-4000:]}")


async def measure_cases(
    server: Program, handle: str, counts: Counts, database: Callable[[], float]
) -> tuple[dict[str, Timing], float]:
    """Every operation in turn, and the turns a second of many clients at once."""

    async def once(request: Callable[[int], bytes], times: int) -> Timing:
        async with connected(server) as link:  # of its own: theirs closes one that is silent for five seconds
            return await repeat(server, link, request, times, warm_up=counts.warm_up, database=database)

    agents = [await create(server, handle) for _ in range(AGENTS)]
    agent = agents[0]
    doomed = iter([await create(server, handle) for _ in range(counts.requests + counts.warm_up)])
    block = f"/v1/agents/{agent}/core-memory/blocks/human"
    blocks: list[tuple[str, Callable[[int], bytes]]] = [
        ("get an agent", lambda _: encode("GET", f"/v1/agents/{agent}")),
        ("list 10 agents", lambda _: encode("GET", "/v1/agents/?limit=10")),
        ("read a block", lambda _: encode("GET", block)),
        ("update a block", lambda n: write_block(f"/v1/agents/{agents[n % AGENTS]}/core-memory/blocks/human", n)),
        ("create a block", lambda n: encode("POST", "/v1/blocks/", {"label": "b", "value": f"v{n}"})),
        ("create an agent", lambda n: encode("POST", "/v1/agents/", body_of(handle, f"bench {n}"))),
        ("change an agent", lambda n: encode("PATCH", f"/v1/agents/{agents[n % AGENTS]}", {"description": f"d{n}"})),
        ("delete an agent", lambda _: encode("DELETE", f"/v1/agents/{next(doomed)}")),
        ("list tools", lambda _: encode("GET", "/v1/tools/?limit=20")),
        ("list models", lambda _: encode("GET", "/v1/models/")),
    ]
    found = {case: await once(request, counts.requests) for case, request in blocks}
    turns: list[tuple[str, Callable[[int], bytes]]] = [
        ("message", lambda n: say(agents[n % AGENTS], "hello")),
        ("message with a memory tool", lambda n: say(agents[n % AGENTS], "TOOL")),
        ("message, streamed", lambda n: stream(agents[n % AGENTS])),
    ]
    found |= {case: await once(request, counts.turns) for case, request in turns}
    listed = f"/v1/agents/{agent}/messages?limit=50", f"/v1/runs/?agent_id={agent}&limit=10"
    for case, path in zip(("list 50 messages", "list runs"), listed, strict=True):
        found[case] = await once(lambda _, path=path: encode("GET", path), counts.requests)
    return found, await measure_crowd(server, handle, counts.rounds)


async def measure_crowd(server: Program, handle: str, rounds: int) -> float:
    """Turns a second when many clients, each with its own agent, send at once."""
    agents = [await create(server, handle) for _ in range(CLIENTS)]
    links = [await Connection.open(server.port) for _ in agents]

    async def converse(link: Connection, agent: str) -> None:
        for number in range(rounds):
            await link.ask_ok(say(agent, f"turn {number}"))

    began = time.perf_counter()
    await asyncio.gather(*[converse(link, agent) for link, agent in zip(links, agents, strict=True)])
    took = time.perf_counter() - began
    for link in links:
        link.close()
    return CLIENTS * rounds / took


def body_of(handle: str, name: str) -> dict[str, object]:
    """What an agent is created from."""
    blocks = [{"label": "human", "value": "Name: Ada."}, {"label": "persona", "value": "Patient."}]
    return {"name": name, "model": handle, "agent_type": AGENT_TYPE, "memory_blocks": blocks}


def stream(agent: str) -> bytes:
    """A message whose answer is streamed."""
    body = {"messages": [{"role": "user", "content": "hello"}], "stream_tokens": True}
    return encode("POST", f"/v1/agents/{agent}/messages/stream", body)


async def create(server: Program, handle: str) -> str:
    """A new agent; its id."""
    async with connected(server) as link:
        answer = await link.ask_ok(encode("POST", "/v1/agents/", body_of(handle, "bench")))
    return str(msgspec.json.decode(answer.body)["id"])


def table(default: Found, tuned: Found, ours: Found) -> tuple[list[str], bool]:
    """The Markdown tables, and whether every aim was met."""
    cpu = next((row for row in Path("/proc/cpuinfo").read_text().split("\n") if row.startswith("model name")), ": ?")
    lines = [
        f"Measured on {cpu.partition(': ')[2]}, one core for the server; Python {platform.python_version()} for ours.",
        "",
        "| CPU for one | 0.16.8 | 0.16.8 tuned | Kelpie | less than default | less than tuned | aims |",
        "|---|---|---|---|---|---|---|",
    ]
    met = True
    for case, own in ours.cases.items():
        theirs = (default.cases[case], tuned.cases[case])
        times = [(one.cpu_ms + one.database_ms) / own.cpu_ms for one in theirs]
        alone = [one.cpu_ms / own.cpu_ms for one in theirs]
        aims = AIMS.get(case, AIM_ELSE)
        kept = times[0] >= aims[0] and times[1] >= aims[1]
        met = met and kept
        costs = " | ".join(f"{one.cpu_ms:.2f} + {one.database_ms:.2f} ms" for one in theirs)
        less = " | ".join(f"{both:.0f}x ({server:.0f}x)" for both, server in zip(times, alone, strict=True))
        told = f"{aims[0]}x, {aims[1]}x: {'yes' if kept else 'NO'}"
        lines.append(f"| {case} | {costs} | {own.cpu_ms:.2f} ms | {less} | {told} |")
    lines += ["", "| | 0.16.8 | 0.16.8 tuned | Kelpie | aim |", "|---|---|---|---|---|"]
    for case in ours.cases:
        waits = " | ".join(f"{one.cases[case].p50_ms:.2f} ms" for one in (default, tuned, ours))
        lines.append(f"| {case}: one client waits, p50 | {waits} | |")
    rates = " | ".join(f"{one.turns_per_s:.1f}" for one in (default, tuned, ours))
    lines.append(f"| messages a second, {CLIENTS} clients | {rates} | |")
    quick = default.start_s / ours.start_s
    starts = " | ".join(f"{one.start_s:.2f} s" for one in (default, tuned, ours))
    lines.append(f"| from exec to the first 200 | {starts} | {AIM_START}x: {quick:.0f}x |")
    for name, sizes in (
        ("resident, fresh", [one.fresh_bytes for one in (default, tuned, ours)]),
        ("resident, after this", [one.used_bytes for one in (default, tuned, ours)]),
    ):
        small = min(sizes[:2]) / sizes[2]
        met = met and small >= AIM_MEMORY
        shown = " | ".join(f"{size / (1 << 20):.0f} MiB" for size in sizes)
        lines.append(f"| {name} | {shown} | {AIM_MEMORY}x: {small:.1f}x |")
    return lines, met and quick >= AIM_START


def table_of_ours(ours: Found) -> list[str]:
    """The CPU and the waits of ours alone."""
    rows = [f"| {case} | {own.cpu_ms:.2f} ms | {own.p50_ms:.2f} ms |" for case, own in ours.cases.items()]
    return ["| | CPU of the server | one client waits, p50 |", "|---|---|---|", *rows]


if __name__ == "__main__":
    main()
