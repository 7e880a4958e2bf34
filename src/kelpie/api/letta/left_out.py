"""The operations of the compatible API that this server does not have, on purpose, each with its reason.

They are answered 501 with one sentence, so that a client learns that it asks the right server for something that is
not there, and not that it mistyped a path. docs/reference/letta.md lists them.
"""

from typing import NoReturn

from msgspec import Struct

from kelpie.api.errors import LeftOut
from kelpie.api.letta.house import House
from kelpie.api.route import Ask, Handler, Method, Route

VOICE = "Voice is left out: its endpoint was already withdrawn in the last release, and an agent answers text here."
BILLING = "Billing is left out: this server sells nothing, so there are no balances."
REPORTS = "Reports about users are left out: this server collects nothing about those who use it, and sends nothing."
REPOSITORIES = "Shared repositories are left out: they were a hosted service whose server was never published."
SHARING = "Sharing agents between accounts is left out: it was a part of the hosted service alone."
CAPTURE = (
    "Capturing what others said to a model is left out: it was hidden, and a message or an agent file brings it in."
)
DEVICES = "Connected devices are left out: the relay that the hosted service ran between them was never published."
GIT = "Memory kept in git is left out: the retired server only passed it on to a service that was never published."
E2B = "E2B is left out: tools run on this machine, and nothing is sent to a hosted sandbox."


class Absence(Struct, frozen=True, kw_only=True):
    """One operation that is left out."""

    method: Method
    path: str
    name: str
    reason: str


ABSENCES = (
    Absence(
        method="POST",
        path="/v1/voice-beta/{agent_id}/chat/completions",
        name="create_voice_chat_completions",
        reason=VOICE,
    ),
    Absence(method="POST", path="/v1/agents/{agent_id}/messages/capture", name="capture_messages", reason=CAPTURE),
    Absence(method="GET", path="/v1/metadata/balance", name="retrieve_balance", reason=BILLING),
    Absence(method="POST", path="/v1/metadata/feedback", name="send_feedback", reason=REPORTS),
    Absence(method="POST", path="/v1/metadata/telemetry", name="send_telemetry", reason=REPORTS),
    Absence(method="GET", path="/v1/repositories", name="list_repositories", reason=REPOSITORIES),
    Absence(
        method="GET",
        path="/v1/agents/{agent_id}/repositories",
        name="list_repositories_of_agent",
        reason=REPOSITORIES,
    ),
    Absence(method="GET", path="/v1/git/{agent_id}/state.git/info/refs", name="list_git_refs", reason=GIT),
    Absence(method="POST", path="/v1/git/{agent_id}/state.git/git-upload-pack", name="fetch_from_git", reason=GIT),
    Absence(method="POST", path="/v1/git/{agent_id}/state.git/git-receive-pack", name="push_to_git", reason=GIT),
    Absence(method="GET", path="/v1/shared-agents", name="list_shared_agents", reason=SHARING),
    Absence(method="GET", path="/v1/environments", name="list_environments", reason=DEVICES),
    Absence(method="GET", path="/v1/environments/{device_id}", name="retrieve_environment", reason=DEVICES),
    Absence(
        method="POST",
        path="/v1/environments/{connection_id}/messages",
        name="send_environment_message",
        reason=DEVICES,
    ),
    Absence(
        method="POST",
        path="/v1/sandbox-config/e2b/default",
        name="create_default_e2b_sandbox_config",
        reason=E2B,
    ),
)


def _refuse(reason: str) -> Handler:
    async def refuse(house: House, ask: Ask[None, None]) -> NoReturn:
        raise LeftOut(reason)

    return refuse


ROUTES = tuple(
    Route(
        method=one.method,
        path=one.path,
        name=one.name,
        summary=one.reason,
        tag="left out",
        handler=_refuse(one.reason),
        answer=None,
        refusals=(501,),
    )
    for one in ABSENCES
)
