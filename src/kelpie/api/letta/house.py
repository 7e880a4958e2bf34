"""What the handlers of the compatible door reach: the rooms below, introduced to them by the assembly."""

from msgspec import Struct, field

from kelpie.access.accounts import Accounts, Organization, User
from kelpie.access.tokens import AccessTokens
from kelpie.access.vault import Vault
from kelpie.actor.outbox import Outbox
from kelpie.agent.archival import Archival
from kelpie.agent.batches import Batches
from kelpie.agent.by_hand import ToolsByHand
from kelpie.agent.compactor import Compactor
from kelpie.agent.conversations import Conversations
from kelpie.agent.door import AgentDoor
from kelpie.agent.errand_door import ErrandDoor
from kelpie.agent.file_desk import FileDesk
from kelpie.agent.group_door import GroupDoor
from kelpie.agent.groups import Groups
from kelpie.agent.identities import Identities
from kelpie.agent.listing import Listing
from kelpie.agent.own_tools import OwnTools
from kelpie.agent.past import Past
from kelpie.agent.performer import Performer
from kelpie.agent.roster import Roster
from kelpie.agent.schedules import Schedules
from kelpie.agent.sleeptime import Sleeptime
from kelpie.agent.templates import Templates
from kelpie.api.letta.agent_memo import AgentMemo
from kelpie.api.letta.modelmemo import ModelMemo
from kelpie.api.letta.values import ORGANIZATION_ID, USER_ID
from kelpie.llm.embedding import BUILT_IN, Embeddings
from kelpie.llm.line import ProviderLine
from kelpie.llm.model import Models
from kelpie.llm.stored_providers import StoredProviders
from kelpie.memory.archive import Archives
from kelpie.memory.blocks import Blocks
from kelpie.memory.folders import Folders
from kelpie.memory.history import History
from kelpie.memory.passages import Passages
from kelpie.memory.recall import Recall
from kelpie.sandbox.sandbox import Sandbox
from kelpie.storage.records import Records
from kelpie.tools.mcp_servers import McpServers
from kelpie.tools.sandboxes import Sandboxes
from kelpie.tools.toolbox import ToolCatalog
from kelpie.world import World


class House(Struct, frozen=True, kw_only=True):
    """The rooms below the door."""

    world: World
    records: Records
    vault: Vault
    tokens: AccessTokens
    roster: Roster
    listing: Listing
    past: Past
    batches: Batches
    blocks: Blocks
    identities: Identities
    groups: Groups
    group_door: GroupDoor
    errands: ErrandDoor
    schedules: Schedules
    sleeptime: Sleeptime
    history: History
    tools: ToolCatalog
    servers: McpServers
    own_tools: OwnTools
    hands: ToolsByHand
    sandbox: Sandbox
    sandboxes: Sandboxes
    models: Models
    embeddings: Embeddings
    archives: Archives
    archival: Archival
    passages: Passages
    folders: Folders
    files: FileDesk
    recall: Recall
    memo: ModelMemo
    providers: StoredProviders
    line: ProviderLine
    accounts: Accounts
    door: AgentDoor
    performer: Performer
    conversations: Conversations
    templates: Templates
    compactor: Compactor
    shown: AgentMemo = field(default_factory=AgentMemo)


def furnish(
    *,
    world: World,
    records: Records,
    vault: Vault,
    blocks: Blocks,
    tools: ToolCatalog,
    servers: McpServers,
    own_tools: OwnTools,
    hands: ToolsByHand,
    sandbox: Sandbox,
    sandboxes: Sandboxes,
    models: Models,
    line: ProviderLine,
    embeddings: Embeddings,
    archives: Archives,
    archival: Archival,
    passages: Passages,
    folders: Folders,
    files: FileDesk,
    door: AgentDoor,
    groups: Groups,
    group_door: GroupDoor,
    errands: ErrandDoor,
    performer: Performer,
) -> House:
    """A house of the parts that the assembly picked."""
    roster = Roster(records, blocks, tools, models, world)
    past = Past(records, Outbox(records), world.entropy)
    return House(
        world=world,
        records=records,
        vault=vault,
        tokens=AccessTokens(records, world, vault),
        roster=roster,
        listing=Listing(records, blocks),
        past=past,
        batches=Batches(records, world, past, door),
        blocks=blocks,
        identities=Identities(records, world),
        groups=groups,
        group_door=group_door,
        errands=errands,
        schedules=Schedules(records, world),
        sleeptime=Sleeptime(roster, groups),
        history=History(records),
        tools=tools,
        servers=servers,
        own_tools=own_tools,
        hands=hands,
        sandbox=sandbox,
        sandboxes=sandboxes,
        models=models,
        embeddings=embeddings,
        archives=archives,
        archival=archival,
        passages=passages,
        folders=folders,
        files=files,
        recall=Recall(records, passages.indexes, embeddings, BUILT_IN.handle),
        memo=ModelMemo(models),
        providers=StoredProviders(records, vault, world),
        line=line,
        accounts=_accounts(records, world),
        door=door,
        performer=performer,
        conversations=Conversations(records, world),
        templates=Templates(records, world),
        compactor=Compactor(door, performer),
    )


def _accounts(records: Records, world: World) -> Accounts:
    """Users and organisations, behind the two that every server of this kind has."""
    user = User(id=USER_ID, name="default_user", organization_id=ORGANIZATION_ID, created_at_us=0, updated_at_us=0)
    return Accounts(records, world, user, Organization(id=ORGANIZATION_ID, name="default_org", created_at_us=0))
