"""What a newcomer with an official client types first; printed by the server when it starts."""


def client_lines(url: str) -> list[str]:
    """A request by hand, and the Python client pointed at `url`, one line each."""
    return [
        f"curl {url}/v1/agents/",
        f'python: from letta_client import Letta; client = Letta(base_url="{url}")',
    ]
