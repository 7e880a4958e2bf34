"""Replays script.json on both servers and writes what is different: `python -m tests.wire.differential THEIRS OURS`."""

import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx2

HERE = Path(__file__).parent
PAGE = HERE.parents[2] / "docs" / "differential.md"
ID = re.compile(r"\b([a-z_]+(?:-env|-tag)?)-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
CALL_ID = re.compile(r"\bcall_\d+_\d+\b")  # which the model server counts
DATE = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( [AP]M)?(Z|\+00:00| [A-Z]{3,4}[+-]\d{4})?")
# Wording: texts that are each server's own. That there is one is compared, what it says is not.
WORDS = frozenset("detail description system prompt summary source_code core_memory content_updated title".split())
# Measures: what each server counts or times in its own way. That there is a number is compared.
UNORDERED = {"tools": "name", "blocks": "label", "tool_rules": "tool_name", "functions_definitions": "function"}
MEASURES = re.compile(r"(tokens|_ns|_ms|_size|chars|num_|seq_id|version|limit$)")
CELL_CHARS, BODY_SHOWN_CHARS = 60, 100
POLL_S, POLLS_MAX = 0.5, 300
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
    alone = httpx2.Limits(max_keepalive_connections=0)  # theirs hangs up behind an error of its own code
    with httpx2.Client(base_url=base, timeout=400, follow_redirects=True, limits=alone) as http:
        for call in script:
            filled = json.loads(fill(json.dumps(call), kept))
            answer, body = ask(http, filled)
            for name, path in call["keep"].items():
                kept[name] = str(found(body, path))
            answers.append({"status": answer.status_code, "body": normal(body)})
    return answers


def ask(http: httpx2.Client, call: Mapping[str, Any]) -> tuple[httpx2.Response, Any]:
    """One answer; UNTIL ENDED is a GET that is repeated for as long as a run goes on."""
    for _ in range(POLLS_MAX):
        method = "GET" if call["method"] == "UNTIL ENDED" else call["method"]
        answer = http.request(method, call["path"], json=call["body"], params=call["query"])
        body = decoded(answer)
        if call["method"] != "UNTIL ENDED" or body["status"] not in ("created", "running"):
            break
        time.sleep(POLL_S)
    return answer, body


def fill(text: str, kept: Mapping[str, str]) -> str:
    """The call, with the ids that earlier answers gave."""
    for name, value in kept.items():
        text = text.replace("{" + name + "}", value)
    return text


def decoded(answer: httpx2.Response) -> Any:
    """JSON, events of JSON, or text."""
    try:
        if answer.text.startswith("data: "):
            lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
            return [line if line == "[DONE]" else json.loads(line) for line in lines]
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
        return {normal(key): normal(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [normal(each, name) for each in ordered(value, name)]
    if isinstance(value, str):
        if name in WORDS and value:
            return "<words>"
        if name == "arguments":
            value = compact(value)
        value = CALL_ID.sub("call", value.replace(THEIR_MODEL, OUR_MODEL))
        value = DATE.sub("<date>", UUID.sub("<uuid>", ID.sub(r"<\1>", value)))
        return "<long text>" if len(value) > 200 else value
    if isinstance(value, int | float) and not isinstance(value, bool) and MEASURES.search(name):
        return "<number>"
    return value


def compact(value: str) -> str:
    """JSON in one way of writing it; theirs writes arguments anew, ours keeps them as the model wrote them."""
    try:
        return json.dumps(json.loads(value))
    except json.JSONDecodeError:
        return value


def ordered(value: list[Any], name: str) -> list[Any]:
    """What theirs reads from its database in no order, by name: the tools, blocks and rules of an agent."""
    if not value or not all(isinstance(each, dict) for each in value):
        return value
    key = UNORDERED.get(name) or ("name" if "tool_type" in value[0] else "label" if "label" in value[0] else None)
    if key == "function":
        return sorted(value, key=lambda each: each["function"]["name"])
    return value if key is None else sorted(value, key=lambda each: str(each.get(key, "")))


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
    """The page: what is different with its reason, like cases together; then all calls by their numbers."""
    cases: dict[tuple[str, str], tuple[str, str, set[int]]] = {}
    for at, (call, found) in enumerate(rows, start=1):
        for place, theirs, ours in found:
            kind = (re.sub(r"\[\d+\]", "[]", place), why_of(call, place, explained) or "NOT EXPLAINED")
            cases.setdefault(kind, (shown(theirs), shown(ours), set()))[2].add(at)
    same = sum(not found for _, found in rows)
    unknown = sum(why == "NOT EXPLAINED" for _, why in cases)
    lines = [
        "# Beside a genuine 0.16.8",
        "",
        "Made by `python -m tests.wire.differential` (see its `__init__`): one script of calls on a genuine server",
        "with an empty database, and on Kelpie. Ids, dates, wording, measures and the order of what has none are not",
        "compared; of answers with different statuses nothing else is.",
        "",
        f"{len(rows)} calls: {same} are answered the same, {len(rows) - same} differ in {len(cases)} ways, of which"
        f" {unknown} are not explained.",
        "",
        "## What is different, and why",
        "",
        "| place | there | here | calls | why |",
        "|---|---|---|---|---|",
    ]
    for (place, why), (theirs, ours, calls) in cases.items():
        lines.append(f"| `{place}` | {theirs} | {ours} | {', '.join(map(str, sorted(calls)))} | {why} |")
    lines += ["", "## The calls", ""]
    for at, (call, found) in enumerate(rows, start=1):
        asked = "&".join(f"{name}={value}" for name, value in call["query"].items())
        body = "" if call["body"] is None else f" `{json.dumps(call['body'])[:BODY_SHOWN_CHARS]}`"
        path = f"{call['path']}?{asked}" if asked else call["path"]
        lines.append(f"{at}. {call['method']} `{path}`{body}: {'differs' if found else 'the same'}")
    return "\n".join(lines) + "\n"


def shown(value: Any) -> str:
    """One side of a difference, for a cell of the table."""
    text = json.dumps(value)
    text = text if len(text) <= CELL_CHARS else f"{text[:CELL_CHARS]}..."
    return "`" + text.replace("|", "\\|").replace("`", "'") + "`"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
