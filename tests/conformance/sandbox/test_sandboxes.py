"""The suite of the seam `Sandbox`: processes and the simulated part end the same jobs in the same ways."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import uvloop

from kelpie.sandbox.sandbox import Ended, Job, Sandbox
from kelpie_sim.sandbox import Behaviour, Ends, Hangs, SimSandbox

from ...unit.sandbox.build import a_sandbox, call


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request):
    """On both loops: a server's is uvloop, whose transports are no subclasses of asyncio's."""
    return request.param


def told(**result: object) -> bytes:
    return msgspec.json.encode(result)


DEEDS: dict[str, Ended | None] = {
    "def f():\n    print('out')\n    return 7\n": Ended(
        result=told(ok=True, value="7", blocks={}), stdout="out\n", stderr=""
    ),
    "def f():\n    raise SystemExit(3)\n": Ended(result=told(ok=False, error="SystemExit: 3", module="")),
    "import os\ndef f():\n    os._exit(3)\n": Ended(
        result=None, died="it ended its process with status 3 before it returned"
    ),
    "import time\ndef f():\n    time.sleep(600)\n": None,
}
"""What a source does -> how it ends; None: it never does by itself."""
HANGING = next(code for code, ended in DEEDS.items() if ended is None)


def behave(job: Job) -> Behaviour:
    ended = DEEDS[msgspec.json.decode(job.input)["code"]]
    return Hangs() if ended is None else Ends(ended=ended, after_ms=5)


@pytest.fixture(params=["processes", "simulated"])
def sandbox(request, tmp_path: Path) -> Callable[[], Sandbox]:
    """Opens the part, inside the loop that it is used in."""
    return (lambda: a_sandbox(tmp_path)) if request.param == "processes" else lambda: SimSandbox(behave)


def plain(ended: Ended) -> Ended:
    """Without what JSON leaves open."""
    result = None if ended.result is None else told(**msgspec.json.decode(ended.result))
    return msgspec.structs.replace(ended, result=result)


@pytest.mark.parametrize("code", [code for code, ended in DEEDS.items() if ended is not None])
def test_a_job_ends_as_its_program_does(run, sandbox, code) -> None:
    """The result, what was printed, and why there is none."""

    async def play() -> None:
        assert plain(await sandbox().run(call(code))) == DEEDS[code]

    run(play())


def test_a_job_ends_at_its_deadline(run, sandbox) -> None:
    """It says so, and takes not much longer."""

    async def play() -> None:
        begun = asyncio.get_running_loop().time()
        ended = await sandbox().run(call(HANGING, deadline_ms=1_000))
        assert ended == Ended(result=None, died="it did not end within 1 s")
        assert asyncio.get_running_loop().time() - begun < 15

    run(play())


def test_a_cancelled_job_is_over(run, sandbox) -> None:
    """Whoever cancels it does not wait for the program, and other jobs run on."""

    async def play() -> None:
        part = sandbox()
        hanging = asyncio.ensure_future(part.run(call(HANGING, deadline_ms=60_000)))
        await asyncio.sleep(0.5)
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(hanging, 10)
        code = next(iter(DEEDS))
        assert plain(await part.run(call(code))) == DEEDS[code]

    run(play())


def test_jobs_run_side_by_side(run, sandbox) -> None:
    """Each gets its own end."""

    async def play() -> None:
        part = sandbox()
        codes = [code for code, ended in DEEDS.items() if ended is not None]
        ended = await asyncio.gather(*(part.run(call(code)) for code in codes * 2))
        assert [plain(one) for one in ended] == [DEEDS[code] for code in codes * 2]

    run(play())
