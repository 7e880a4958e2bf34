"""Replays script.json on both servers and writes what is different: `python -m tests.wire.differential THEIRS OURS`."""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "differential.md"
ID = re.compile(r"\b([a-z_]+(?:-env|-tag)?)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
DATE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( [AP]M)?(Z|\+00:00| UTC\+0000)?")
# Wording: texts that are each server's own. That there is one is compared, what it says is not.
WORDS = frozenset("detail description system prompt summary source_code core_memory content_updated title".split())
# Measures: what each server counts or times in its own way. That there is a number is compared.
MEASURES = re.compile(r"(tokens|_ns|_ms|_size|chars|num_|seq_id|version|limit$)")
DIFFERENCES_SHOWN = 12
THEIR_MODEL, OUR_MODEL = "openai-proxy/scripted", "openai/scripted"  # the same model; they rename it
Explained = tuple[str, str, str]  # of the call, of the place, why


def main(theirs: str, ours: str) -> int:
    """Replay, compare, write the page; 1 if something is different and not explained."""
    script = json.loads((HERE / "script.json").read_text())
    explained: list[Explained] = [tuple(one) for one in json.loads((HERE / "explained.json").read_text())]
    answers = replay(theirs, THEIR_MODEL, script), replay(ours, OUR_MODEL, script)
    pairs = list(zip(script, *answers, strict=True))
    rows = [(call, list(differences(their, our))) for call, their, our in pairs]
    text = page(rows, explained)
    PAGE.write_text(text)
    print(text.split("\n## ")[0])
    return int(any(not why_of(call, place, explained) for call, found in rows for place, _, _ in found))


def replay(base: str, model: str, script: list[dict[str, Any]]) -> list[Any]:
    """The normalised answers of one server."""
    kept: dict[str, str] = {"model": model}
    answers = []
    with httpx2.Client(base_url=base, timeout=400, follow_redirects=True) as http:
        for call in script:
            filled = json.loads(fill(json.dumps(call), kept))
            answer = http.request(call["method"], filled["path"], json=filled["body"], params=filled["query"])
            body = decoded(answer)
            for name, path in call["keep"].items():
                kept[name] = str(found(body, path))
            answers.append({"status": answer.status_code, "body": normal(body)})
    return answers


def fill(text: str, kept: Mapping[str, str]) -> str:
    """The call, with the ids that earlier answers gave."""
    for name, value in kept.items():
        text = text.replace("{" + name + "}", value)
    return text


def decoded(answer: httpx2.Response) -> Any:
    """JSON, or text."""
    try:
        return answer.json()
    except json.JSONDecodeError:
        return answer.text


def found(body: Any, path: str) -> Any:
    """What stands at `a.0.b`; a word for nothing if it is not there."""
    for step in path.split("."):
        try:
            body = body[int(step)] if step.isdigit() else body[step]
        except (KeyError, IndexError, TypeError):
            return "nothing"
    return body


def normal(value: Any, name: str = "") -> Any:
    """The same for what is the same but for ids, dates, wording and measures."""
    if isinstance(value, dict):
        return {key: normal(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [normal(each, name) for each in value]
    if isinstance(value, str):
        if name in WORDS and value:
            return "<words>"
        value = value.replace(THEIR_MODEL, OUR_MODEL)
        value = DATE.sub("<date>", UUID.sub("<uuid>", ID.sub(r"<\1>", value)))
        return "<long text>" if len(value) > 200 else value
    if isinstance(value, int | float) and not isinstance(value, bool) and MEASURES.search(name):
        return "<number>"
    return value


def differences(theirs: Any, ours: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(place, theirs, ours) of everything that is different; under another status nothing else is compared."""
    if isinstance(theirs, dict) and isinstance(ours, dict) and theirs.get("status") != ours.get("status") and not place:
        yield ".status", theirs["status"], ours["status"]
    elif isinstance(theirs, dict) and isinstance(ours, dict):
        for key in sorted(theirs.keys() | ours.keys()):
            yield from differences(theirs.get(key, "<absent>"), ours.get(key, "<absent>"), f"{place}.{key}")
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for at, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from differences(one, other, f"{place}[{at}]")
    elif isinstance(theirs, list) and isinstance(ours, list):
        yield f"{place}.length", len(theirs), len(ours)
    elif theirs != ours:
        yield place, theirs, ours


def why_of(call: Mapping[str, Any], place: str, explained: list[Explained]) -> str:
    """Why this is different; nothing if nobody has said so."""
    name = f"{call['method']} {call['path']}"
    return next((why for a, b, why in explained if re.search(a, name) and re.search(b, place)), "")


def page(rows: list[tuple[dict[str, Any], list[tuple[str, Any, Any]]]], explained: list[Explained]) -> str:
    """The page."""
    same = sum(not found for _, found in rows)
    counted = [(call, place, why_of(call, place, explained)) for call, found in rows for place, _, _ in found]
    open_ones = sum(not why for _, _, why in counted)
    lines = [
        "# Beside a genuine 0.16.8",
        "",
        "Made by `python -m tests.wire.differential`; ids, dates, wording and measures are not compared.",
        "",
        f"{len(rows)} calls: {same} are answered the same, {len(rows) - same} differ in {len(counted)} places,",
        f"of which {len(counted) - open_ones} are explained and {open_ones} are not.",
        "",
        "## What is different",
    ]
    for at, (call, found) in enumerate(rows, start=1):
        if not found:
            continue
        lines += ["", f"**{at}. {call['method']} {call['path']}** `{json.dumps(call['body'])[:120]}`", ""]
        for place, theirs, ours in found[:DIFFERENCES_SHOWN]:
            why = why_of(call, place, explained) or "not explained"
            lines.append(f"- `{place}`: `{json.dumps(theirs)[:100]}` there, `{json.dumps(ours)[:100]}` here. {why}")
        if len(found) > DIFFERENCES_SHOWN:
            lines.append(f"- and {len(found) - DIFFERENCES_SHOWN} more")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
