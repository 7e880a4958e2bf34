"""An agent file, taken in by the command: as the API does it, with the names that the agents have in the file."""

import hashlib
from pathlib import Path

from kelpie.api.letta.agent_file.first_form import to_second
from kelpie.api.letta.agent_file.reading import ImportOptions, take_in, understand
from kelpie.api.letta.agent_file.shapes import AgentFile, read_file
from kelpie.api.letta.house import House
from kelpie.errors import InvalidInput, LimitExceeded
from kelpie.importing.journal import MOVES, Progress
from kelpie.importing.report import Report
from kelpie.limits import IMPORT_FILE_BYTES_MAX
from kelpie.storage.records import Batch

KIND = "agents"


async def move_file(house: House, path: Path, *, dry: bool) -> Report:
    """Take the file in, once. Raises InvalidInput, LimitExceeded, NotFound."""
    raw = _read(path)
    file = read_file(raw)
    file = file if isinstance(file, AgentFile) else to_second(file)
    place = MOVES.at(hashlib.sha256(raw).hexdigest()[:16], KIND)
    count = len(file.agents)
    notes = ("Agents of a file get new ids: a file may be taken in by many servers. Secrets are not in it.",)
    if await house.records.get(place) is not None:
        progress = Progress(read=count, present=count, done=True)
    elif dry:
        plan = await understand(house, file, ImportOptions(append_copy_suffix=False))
        progress, notes = Progress(read=count, carried=count, parts=plan.counts, done=True), (*notes, *plan.notes)
    else:
        taken = await take_in(house, file, ImportOptions(append_copy_suffix=False))
        progress, notes = Progress(read=count, carried=count, parts=taken.counts, done=True), (*notes, *taken.notes)
        batch = Batch()
        batch.put(place, progress)
        await house.records.commit(batch)
    return Report(source=str(path), dry=dry, kinds={KIND: progress}, left_tables=(), notes=notes)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > IMPORT_FILE_BYTES_MAX:
            raise LimitExceeded(
                f"{path}: over the limit of {IMPORT_FILE_BYTES_MAX} bytes",
                limit="IMPORT_FILE_BYTES_MAX",
                maximum=IMPORT_FILE_BYTES_MAX,
            )
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}", field="from") from None
