"""What the retired server's operations take is taken by ours, with the same defaults, or is explained here."""

from tests.wire.parameters import differences

ANY = "any operation"
EXPLAINED = {
    (ANY, "default", "order_by"): "the only order that there is",
    (ANY, "body", "enable_thinking"): "nothing looked at it there either",
    (ANY, "body", "actor_id"): "whoever asks is told by a header there, and by nothing here",
    (ANY, "body", "poll_interval"): "a stream waits for events here and polls nothing",
    (ANY, "body", "batch_size"): "a stream waits for events here and polls nothing",
    ("GET /v1/agents/{agent_id}/export", "body", "spec"): "the body of a GET, which nothing reads",
    ("GET /v1/agents/{agent_id}/export", "body", "legacy_spec"): "the body of a GET, which nothing reads",
    ("GET /v1/agents/{agent_id}/core-memory/blocks", "default", "limit"): "an agent has fewer blocks than a page",
    **dict.fromkeys(
        [
            ("GET /v1/folders/{folder_id}/passages", "default", "limit"),
            ("GET /v1/folders/{folder_id}/files", "default", "limit"),
            ("GET /v1/folders/{folder_id}/agents", "default", "limit"),
            ("GET /v1/sources/{source_id}/passages", "default", "limit"),
            ("GET /v1/sources/{source_id}/files", "default", "limit"),
        ],
        "the same number, which the handler knows",
    ),
    ("POST /v1/agents/", "body", "embedding_chunk_size"): "deprecated; files say how they are cut",
    ("POST /v1/agents/", "body", "project"): "projects are of the hosted service",
    ("POST /v1/agents/", "body", "template"): "deprecated; nothing looked at it",
    ("POST /v1/_internal_templates/agents", "body", "embedding_chunk_size"): "deprecated; files say how they are cut",
    ("POST /v1/_internal_templates/agents", "body", "project"): "projects are of the hosted service",
    ("POST /v1/_internal_templates/agents", "body", "template"): "deprecated; nothing looked at it",
    ("PATCH /v1/agents/{agent_id}", "body", "last_run_completion"): "its runs say so",
    ("PATCH /v1/agents/{agent_id}", "body", "last_run_duration_ms"): "its runs say so",
    ("PATCH /v1/agents/{agent_id}", "body", "last_stop_reason"): "its runs say so",
    ("POST /v1/runs/{run_id}/stream", "body", "agent_id"): "the path names the run",
    ("POST /v1/runs/{run_id}/stream", "body", "run_id"): "the path names the run",
    ("POST /v1/runs/{run_id}/stream", "body", "otid"): "the path names the run",
    ("POST /v1/conversations/{conversation_id}/recompile", "body", "compaction_settings"): "nothing is compacted",
}


def test_every_difference_is_explained() -> None:
    """Neither a parameter that is ignored in silence, nor another default, nor an explanation of nothing."""
    found = list(differences())
    unexplained = [
        f"{one.operation}: {one.place} {one.name}: {one.said}"
        for one in found
        if not {(one.operation, one.place, one.name), (ANY, one.place, one.name)} & EXPLAINED.keys()
    ]
    assert unexplained == []
    there = {(name, one.place, one.name) for one in found for name in (one.operation, ANY)}
    assert sorted(EXPLAINED.keys() - there) == []
