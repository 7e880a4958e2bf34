"""All workloads by name, and which one a seed plays."""

from kelpie_sim.draw import stream
from kelpie_sim.play import Workload
from kelpie_sim.workloads.agent_calls import AgentCalls
from kelpie_sim.workloads.approvals import Approvals
from kelpie_sim.workloads.archives import Archives
from kelpie_sim.workloads.compaction import Compaction
from kelpie_sim.workloads.conversations import Conversations
from kelpie_sim.workloads.crowd import Crowd
from kelpie_sim.workloads.groups import Groups
from kelpie_sim.workloads.hurried import Hurried
from kelpie_sim.workloads.lifecycle import Lifecycle
from kelpie_sim.workloads.reminders import Reminders
from kelpie_sim.workloads.schedules import Schedules
from kelpie_sim.workloads.shared_memory import SharedMemory
from kelpie_sim.workloads.streams import Streams
from kelpie_sim.workloads.threads import Threads

WORKLOADS: dict[str, type[Workload]] = {
    "conversations": Conversations,
    "shared_memory": SharedMemory,
    "streams": Streams,
    "lifecycle": Lifecycle,
    "compaction": Compaction,
    "reminders": Reminders,
    "crowd": Crowd,
    "hurried": Hurried,
    "agent_calls": AgentCalls,
    "threads": Threads,
    "schedules": Schedules,
    "approvals": Approvals,
    "archives": Archives,
    "groups": Groups,
}
_SHARES = ("conversations",) * 8 + ("shared_memory",) * 4 + ("streams",) * 4 + ("lifecycle",) * 5 + ("compaction",) * 4
_SHARES += ("reminders",) * 2 + ("hurried",) * 2 + ("crowd",) * 2 + ("agent_calls",) * 3 + ("threads",) * 4
_SHARES += ("approvals",) * 4 + ("archives",) * 3 + ("groups",) * 4 + ("schedules",) * 3


def workload_of(seed: int) -> str:
    """The name of the workload that a seed plays unless one is asked for."""
    return stream(seed, "workload", "name").choice(_SHARES)
