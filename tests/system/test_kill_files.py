"""kill -9 while files are processed: what was accepted is read, cut and embedded, each passage once."""

import time
from pathlib import Path
from typing import Any

import httpx2

from tests.system.server import ModelServer, running_kelpie

FILES = 8
KILLS = 3
SECONDS_MAX = 60.0


def test_accepted_files_are_finished_after_any_kill(tmp_path: Path, models: ModelServer) -> None:
    """Method: upload, kill, start, upload more; in the end every acknowledged file is whole and searchable once."""
    with running_kelpie(tmp_path, models) as server:
        with server.client() as http:
            folder = http.post("/v1/folders/", json={"name": "f", "embedding_chunk_size": 5}).raise_for_status().json()
        path = f"/v1/folders/{folder['id']}"
        sent: dict[str, str] = {}
        for kill in range(KILLS + 1):
            with server.client() as http:
                for number in range(FILES):
                    text = "".join(f"file {kill} {number} line {line}\n" for line in range(25))
                    answer = http.post(f"{path}/upload", files={"file": (f"{kill}-{number}.txt", text.encode())})
                    sent[answer.raise_for_status().json()["id"]] = text
            if kill < KILLS:
                server.kill()
                server.start()
        with server.client() as http:
            files = finished(http, path, len(sent))
            assert {file["id"]: file["content"] for file in files} == sent
            passages = http.get(f"{path}/passages", params={"limit": 1_000}).raise_for_status().json()
            whole: dict[str, str] = {}
            for passage in reversed(passages):
                whole[passage["file_id"]] = whole.get(passage["file_id"], "") + passage["text"]
            assert whole == sent, "no passage is missing and none is there twice"


def finished(http: httpx2.Client, path: str, count: int) -> list[dict[str, Any]]:
    """The files of the folder, when none is worked on any more."""
    deadline = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline:
        files = http.get(f"{path}/files", params={"include_content": True, "limit": 1_000}).raise_for_status().json()
        if len(files) == count and all(file["processing_status"] in ("completed", "error") for file in files):
            assert [file["error_message"] for file in files if file["processing_status"] == "error"] == []
            return files
        time.sleep(0.2)
    raise AssertionError(f"after {SECONDS_MAX} s: {[file['processing_status'] for file in files]}")
