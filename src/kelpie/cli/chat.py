"""`kelpie chat`: a conversation in the terminal, or with a pipe.

At a terminal everything that happens is shown as it happens. In a pipe each line of standard input is a message,
the agent's words go to standard output, and the rest (thinking, tool calls, notices) to standard error.
"""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TextIO

from rich.console import Console
from rich.text import Text

from kelpie.cli.client import Client
from kelpie.cli.exits import OK, PROBLEM
from kelpie.cli.speech import Piece, Speech, plain
from kelpie.cli.wire import AgentAnswer
from kelpie.errors import InvalidInput, Refused, ServerUnreachable

with contextlib.suppress(ImportError):
    import readline  # noqa: F401  (input() edits lines with it, where Python was built with it)

STYLES = {"words": "", "aside": "dim italic", "tool": "cyan", "fault": "red"}
REHEARSED = "kelpie/rehearsed"
MODELS_NAMED_MAX = 20
LAST_AMONG = 100
FIRST_NAME = "first"
DEFAULT_BLOCKS = {
    "human": "What is known about the person in the conversation: nothing yet.",
    "persona": "I am friendly, brief, and remember what matters by editing my memory blocks.",
}
HELP = """\
/help    this list
/memory  what the agent has in its memory blocks
/exit    leave (so does Ctrl-D); the agent stays
Ctrl-C   cancels what the agent is doing
Everything else is said to the agent."""


class Conversation:
    """One agent, one reader. A `live` one is a person, who reads what went wrong and goes on."""

    def __init__(self, client: Client, agent: AgentAnswer, words: Console, notices: Console, *, live: bool) -> None:
        self._client = client
        self._agent = agent
        self._live = live
        self._words = words
        self._notices = notices

    def hold(self, lines: Iterator[str]) -> int:
        """Say each line, until there are no more or `/exit`; the exit status."""
        status = OK
        for line in lines:
            said = line.strip()
            if said == "/exit":
                break
            if said.startswith("/"):
                self._command(said)
            elif said and not self.say(said):
                status = PROBLEM
        return status

    def say(self, text: str) -> bool:
        """One message and all that follows from it; whether the turn ended well."""
        speech = Speech()
        try:
            for event in self._client.send_message(self._agent.id, text):
                self._write(speech.hear(event))
            self._write(speech.end())
        except KeyboardInterrupt:
            self._write(speech.end())
            self._client.cancel(self._agent.id)
            self.notice("[cancelled]", style="red")
        except (Refused, ServerUnreachable) as error:
            self._write(speech.end())
            if isinstance(error, ServerUnreachable) and not self._live:
                raise
            self.notice(error.sentence, style="red")
            return False
        return not speech.failed

    def notice(self, text: str, *, style: str = "dim") -> None:
        """A line that is not the agent's."""
        self._notices.print(Text(plain(text), style=style))

    def _command(self, line: str) -> None:
        match line:
            case "/help":
                self.notice(HELP, style="")
            case "/memory":
                for block in self._client.list_blocks(self._agent.id):
                    limit = f" of {block.limit}" if block.limit else ""
                    locked = ", read-only" if block.read_only else ""
                    self.notice(f"{block.label} ({len(block.value)}{limit} characters{locked})", style="bold")
                    self.notice(block.value, style="")
            case _:
                self.notice(f"{line.split()[0]} is no command; /help lists them", style="red")

    def _write(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            target = self._words if piece.voice == "words" else self._notices
            target.print(Text(piece.text, style=STYLES[piece.voice]), end="")


def chat(
    client: Client, agent: str | None, *, new: bool, model: str | None, blocks: Sequence[str], message: str | None
) -> int:
    """Find or make the agent, and talk; the exit status."""
    live = sys.stdin.isatty() and sys.stdout.isatty() and message is None
    words = Console(highlight=False, soft_wrap=True)
    notices = words if live else Console(highlight=False, soft_wrap=True, stderr=True)
    found = choose_agent(client, agent, new=new, model=model, blocks=blocks)
    conversation = Conversation(client, found, words, notices, live=live)
    if message is not None:
        return conversation.hold(iter([message]))
    conversation.notice(f"{found.name} ({found.id}), {found.model or 'no model'}" + ("; /help" if live else ""))
    return conversation.hold(typed_lines() if live else piped_lines(sys.stdin))


def choose_agent(
    client: Client, agent: str | None, *, new: bool, model: str | None, blocks: Sequence[str]
) -> AgentAnswer:
    """The agent that was named, a new one, or the one that was used last; the first one makes itself."""
    if not new and (model is not None or blocks):
        raise InvalidInput("--model and --block are for a new agent: add --new", field="--new")
    if new:
        return make_agent(client, agent, model, read_blocks(blocks))
    if agent is not None:
        return client.find_agent(agent)
    agents = client.list_agents(limit=LAST_AMONG)
    if not agents:
        return make_agent(client, FIRST_NAME, None, DEFAULT_BLOCKS)
    return max(agents, key=lambda each: each.last_used)


def make_agent(client: Client, name: str | None, model: str | None, blocks: dict[str, str]) -> AgentAnswer:
    """A new agent with the named model, or the only one there is."""
    return client.create_agent(name, model or choose_model(client.list_models()), blocks or DEFAULT_BLOCKS)


def choose_model(handles: Sequence[str]) -> str:
    """The only real model, or the rehearsed one if there is none. Raises InvalidInput if a person must choose."""
    real = [handle for handle in handles if handle != REHEARSED]
    if len(real) > 1:
        named = "\n  ".join(real[:MODELS_NAMED_MAX])
        more = f"\n  ... and {len(real) - MODELS_NAMED_MAX} more" if len(real) > MODELS_NAMED_MAX else ""
        raise InvalidInput(
            f"a new agent needs a model: add --new --model HANDLE, one of\n  {named}{more}", field="--model"
        )
    return real[0] if real else REHEARSED


def read_blocks(given: Sequence[str]) -> dict[str, str]:
    """`label=value` of each --block. Raises InvalidInput."""
    blocks = {}
    for text in given:
        label, equals, value = text.partition("=")
        if not label or not equals:
            raise InvalidInput(f"--block must be LABEL=VALUE, not '{text[:80]}'", field="--block")
        blocks[label] = value
    return blocks


def typed_lines() -> Iterator[str]:
    """Lines that a person types, until Ctrl-D or a Ctrl-C at the prompt."""
    while True:
        try:
            yield input("> ")
        except (EOFError, KeyboardInterrupt):
            print()
            return


def piped_lines(source: TextIO) -> Iterator[str]:
    """Lines that a program writes."""
    yield from source
