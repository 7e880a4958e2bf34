"""Every bound in the system, with its unit in its name, and the relations between bounds asserted.

A bound lives here and nowhere else, so that a reader who asks "how much may it be?" opens one file, and
so that two bounds that must agree are seen to agree when the module is imported. Where a figure comes
from another system, the system is named beside it.
"""

# -- storage: sized so that the tightest planned backend, FoundationDB, could keep every row ---------------
FDB_KEY_BYTES_MAX = 10_000  # FoundationDB known limitations
FDB_VALUE_BYTES_MAX = 100_000  # FoundationDB known limitations
FDB_COMMIT_BYTES_MAX = 10_000_000  # FoundationDB known limitations

KEY_BYTES_MAX = 512
VALUE_BYTES_MAX = 90_000
COMMIT_BYTES_MAX = 4_000_000
COMMIT_OPERATIONS_MAX = 16_000  # a fork of the longest window is one commit
GET_KEYS_MAX = 512
SCAN_ROWS_MAX = 1_000
RECORD_BYTES_MAX = 1_000_000  # a record over VALUE_BYTES_MAX is kept in chunks; this bounds the whole
RECORD_CHUNKS_MAX = RECORD_BYTES_MAX // VALUE_BYTES_MAX + 1

COLLECTION_SCANNED_MAX = 100_000  # records that one filtered list or count looks at
COLLECTION_READ_AT_ONCE = 64  # of possibly RECORD_BYTES_MAX each, though hardly any is
LINKS_LOOKED_AT_MAX = 64  # by one who asks which records of a page have any
LINKS_MAX = 10_000  # of one record on one side, where all of them are read at once

EDIT_ATTEMPTS_MAX = 24  # an edit that loses against other edits this often is answered with Conflict
EDIT_RETRY_FIRST_MS = 1
EDIT_RETRY_MS_MAX = 64

STORE_COMMITS_QUEUED_MAX = 4_096  # commits waiting for the writer; beyond it the store answers Busy
STORE_GROUP_COMMITS_MAX = 256  # commits that may share one fsync
STORE_READS_QUEUED_MAX = 1_024  # large reads waiting for the reader thread; beyond it the store answers Busy
ROW_CACHE_BYTES_MAX = 6_000_000  # of memory for rows that were read lately, with what was decoded from them
ROW_CACHE_VALUE_BYTES_MAX = 32_000  # a larger value is read anew each time
ROW_CACHE_SCAN_ROWS_MAX = 64  # so is a scan of more rows
STORE_LOCK_WAIT_MS_MAX = 5_000  # how long another program (an operator's sqlite3) may hold up a commit or a read

# -- the door ----------------------------------------------------------------------------------------------
REQUEST_BYTES_MAX = 1_000_000
REQUEST_JSON_DEPTH_MAX = 64
UPLOAD_BYTES_MAX = 20_000_000  # of a form with files
FORM_PARTS_MAX = 64
FORM_FIELD_BYTES_MAX = 1_000_000  # of a part that is no file
REQUEST_DEADLINE_MS = 600_000
REQUESTS_OPEN_MAX = 2_000
PAGE_ROWS_MAX = 1_000
AGENTS_KEPT_BYTES_MAX = 4_000_000  # of agents as they were last shown, a few hundred of them
STREAM_PING_MS = 15_000
DRAIN_MS_MAX = 20_000
SERVER_CLOSE_SECONDS_MAX = 5  # for open connections, after the drain
SERVER_SWITCH_INTERVAL_MS = 0.5  # Python's default of 5 ms is what a committed answer would wait for a busy loop
SERVER_KEEP_ALIVE_SECONDS = 75
SERVER_CONNECTIONS_WAITING_MAX = 2_048  # asked of the system, which may hold fewer before they are accepted
RETRY_AFTER_MS = 1_000
REQUEST_READ_MS = 60_000  # for a client to send its whole request
REQUEST_ID_CHARS_MAX = 128
REQUEST_QUERY_BYTES_MAX = 16_000
STREAM_MS_MAX = 6 * 3_600_000  # a reader of a run that goes on longer comes again
STREAM_EVENTS_AHEAD_MAX = 256  # read for a client that is slower than its run

# -- actors ------------------------------------------------------------------------------------------------
MAILBOX_CALLS_MAX = 64
TURNS_QUEUED_MAX = 64  # accepted messages that wait behind the running turn of one agent
ACTIVATIONS_MAX = 3_000  # actors in memory at once; an agent awake takes about 14 KiB, so about 42 MiB in all
ACTIVATION_IDLE_MS = 60_000
ACTIVATION_RESTARTS_MAX = 5  # times that one step of a turn may crash its activation before the turn is failed
ACTIVATIONS_SWEEP_MS = 5_000
CALL_ATTEMPTS_MAX = 6  # of one call, when activations are lost under it
CALL_ATTEMPT_MS = 50  # before the second attempt; doubled for each further one
COMMIT_ATTEMPTS_MAX = 8  # of one change, when it conflicts
CALL_CHAIN_MAX = 8  # actor calls actor calls actor ...
LEASE_MS = 15_000
LEASE_GRACE_MS = 3_000
LEASE_MARGIN_MS = 3_000
HEARTBEAT_MS = 4_000
RECOVERY_SWEEP_MS = 1_000
RECOVERY_PAGE_ROWS = 200
NUDGE_MS = 2_000  # for an actor to be woken ahead of the sweep
FOLLOW_POLL_MS = 1_000  # how often a reader looks into the store when nothing was announced on its node
FOLLOW_FAILURES_MAX = 20  # reads of an accepted run that may fail, one after the other, before its reader is told
EVENTS_PER_RUN_MAX = 10_000
PIECES_PER_RUN_MAX = 8_000  # the last number that pieces of a reply may have; messages go on behind it
PIECES_COMMIT_MS = 100  # the least time between two commits of pieces of one reply
EVENTS_PAGE_ROWS = 200
SUBSCRIBERS_PER_RUN_MAX = 64
SUBSCRIBER_EVENTS_MAX = 1_024
PREVIEWS_KEPT_MAX = 512  # pieces of a reply that a reader who comes a moment late is still shown
INBOX_KEPT_MS = 24 * 3_600_000
INBOX_SWEPT_MAX = 200  # entries that one sweep removes
IDEMPOTENCY_KEY_BYTES_MAX = 4_096  # the otids of MESSAGES_PER_CALL_MAX messages, joined, fit

# -- turns -------------------------------------------------------------------------------------------------
TURN_STEPS_DEFAULT = 50
TURN_STEPS_MAX = 200
TOOL_CALLS_PER_STEP_MAX = 64
TOOL_CALLS_PARALLEL_MAX = 8
CLIENT_TOOLS_MAX = 128  # tools, or skills, that a client brings with a request
TOOL_DEADLINE_MS = 190_000  # a tool of one's own may take SANDBOX_DEADLINE_MS, as long as in the retired server
TOOL_RETURN_CHARS_DEFAULT = 50_000
TOOL_ARGUMENTS_BYTES_MAX = 100_000
TOOL_NAME_CHARS_MAX = 64  # what the providers accept
TOOL_SCHEMA_BYTES_MAX = 64_000
TOOL_SCHEMA_DEPTH_MAX = 32
TOOL_SCHEMAS_COMPILED_MAX = 1_024
MCP_PAGE_TOOLS = 100
MCP_BATCH_MAX = 64
MESSAGES_PER_CALL_MAX = 64
MESSAGE_BYTES_MAX = 400_000
REPLY_CALLS_MAX = 512  # tool calls of one reply, those over TOOL_CALLS_PER_STEP_MAX included; beyond it is garbage
LOGPROBS_BYTES_MAX = 900_000  # of one reply, kept beside its run
STEP_RETURNS_BYTES_MAX = 300_000  # of all results of one step, which stand in the agent's state until the last is in
SYSTEM_PROMPT_BYTES_MAX = 900_000  # instructions and blocks as compiled; kept as one message of the history
RUN_INPUT_BYTES_MAX = 900_000  # a run's record also holds how it ended

# -- memory ------------------------------------------------------------------------------------------------
BLOCKS_PER_AGENT_MAX = 64
BLOCK_CHARS_DEFAULT = 100_000
BLOCK_CHARS_MAX = 200_000
BLOCK_BYTES_MAX = 800_000
BLOCK_LABEL_CHARS_MAX = 128
BLOCK_TAGS_MAX = 64
BLOCK_VERSIONS_MAX = 100  # earlier values of a block that are kept
TAG_CHARS_MAX = 256
BLOCKS_SCANNED_MAX = 100_000  # blocks that one filtered list or count looks at
HISTORY_SEARCHED_MAX = 5_000  # messages that one search looks at, newest first
HISTORY_HITS_DEFAULT = 10
HISTORY_HITS_MAX = 50
HISTORY_QUERY_CHARS_MAX = 1_000
WINDOW_MESSAGES_MAX = 1_000
WINDOW_ENTRIES_MAX = 2_000  # of a window that could not be compacted; beyond it no run begins
COMPACTION_FILL_PERCENT = 90  # of the context window, estimated, when older messages are summarised
COMPACTION_KEEP_PERCENT = 30
SUMMARY_CHARS_MAX = 50_000
SUMMARY_CLIP_CHARS_MIN = 200  # what is shown at least of each message that a summary request shows at all
MESSAGE_OVERHEAD_TOKENS = 4  # what a provider adds around one message, roughly; only ever used as an estimate
IMAGE_TOKENS = 1_500  # of a picture of usual size, roughly; only ever used as an estimate
CONTEXT_WINDOW_TOKENS_DEFAULT = 32_000
CONTEXT_WINDOW_TOKENS_MIN = 1_000
CONTEXT_WINDOW_TOKENS_MAX = 10_000_000
CHARS_PER_TOKEN = 4  # a rule of thumb for English with the usual tokenisers; only ever used as an estimate

# -- agents ------------------------------------------------------------------------------------------------
AGENT_NAME_CHARS_MAX = 256
AGENT_SYSTEM_CHARS_MAX = 200_000
AGENT_TAGS_MAX = 64
AGENT_TOOLS_MAX = 128
TOOL_RULES_MAX = 512
AGENTS_SCANNED_MAX = 100_000  # agents, or runs, that one filtered list or count looks at
TEXT_FIELD_CHARS_MAX = 10_000
METADATA_BYTES_MAX = 64_000

# -- moving in ---------------------------------------------------------------------------------------------
IMPORT_ROWS_AT_ONCE = 200  # of the source; vectors make the largest, about 40 kB each
IMPORT_LINKS_MAX = 10_000  # rows of one table of links that are about one thing
IMPORT_CONNECT_SECONDS_MAX = 20
IMPORT_REQUEST_SECONDS_MAX = 300  # of a server's API; the retired one now and then takes a minute
IMPORT_FILE_BYTES_MAX = 200_000_000  # of an agent file on this machine
AGENT_FILE_AGENTS_MAX = 100  # that are written into one: an agent, and those of the groups that it leads
AGENT_FILE_TEXT_CHARS_MAX = 40_000_000  # of the files of all their folders, which are in memory while it is written

# -- archives ----------------------------------------------------------------------------------------------
EMBEDDING_DIMENSIONS_MAX = 8_192
EMBEDDING_BATCH_TEXTS_MAX = 64  # texts of one request to a provider
EMBEDDING_BATCH_CHARS_MAX = 200_000  # of all texts of one request, unless it has only one
EMBEDDING_CALL_MS = 60_000
PASSAGE_BYTES_MAX = 200_000  # of its text
PASSAGE_TAGS_MAX = 64
PASSAGES_PER_CALL_MAX = 1_000
PASSAGES_PER_SHELF_MAX = 200_000  # of one archive or folder
PASSAGES_READ_AT_ONCE = 200  # of possibly PASSAGE_BYTES_MAX each, though hardly any is
PASSAGES_FOUND_MAX = 1_000  # by one search
PASSAGE_COMMIT_ROWS = 200
PASSAGE_COMMIT_BYTES = 1_500_000  # of texts and vectors that one commit stores, roughly
SHELVES_MAX = 100_000  # archives and folders of which one question looks at all
INDEX_BYTES_MAX = 1_600_000_000  # of all indexes in memory: one of 100,000 passages of 3,072 numbers fits
ARCHIVE_AGENTS_MAX = 900  # that have one archive; it is removed with its links in one commit
ARCHIVES_SEARCHED_MAX = 1_000  # by one search over all
SEARCH_QUERY_CHARS_MAX = 20_000
MESSAGES_SEARCHED_MAX = 10_000  # by one search over the messages of an agent or of all, newest first
MESSAGES_INDEXED_MAX = 30_000  # of one agent, or of all, kept in an index in memory
SEARCH_DEPTH = 100  # how far down its two lists a hybrid search looks
SEARCH_NUMBERS_AT_ONCE = 8_000_000  # of vectors, compared before others get their turn: about 10 ms
SEARCH_WORD_CHARS_MAX = 64  # of a longer one only the beginning is looked for
SEARCH_WORDS_KEPT_MAX = 16_384  # words whose stems are remembered
LEXICAL_WORDS_KEPT_MAX = 16_384  # words whose features the built-in embedder remembers, about 10 MiB

# -- folders and files -------------------------------------------------------------------------------------
FILE_PIECE_BYTES = 700_000  # as base64 a record holds it
FILE_PIECES_PER_COMMIT = 4
FILE_TEXT_CHARS_MAX = 1_000_000  # what is kept of a file's text; a longer one says that it is clipped
FILE_TEXT_PIECE_CHARS = 150_000
FILE_PARSE_MS = 120_000
FILE_ATTEMPTS_MAX = 3  # that end with a crash, before the file is given up
FILE_NAME_CHARS_MAX = 255
FILES_PER_FOLDER_MAX = 1_000
FILE_CHUNK_TOKENS_DEFAULT = 300
FILE_CHUNK_TOKENS_MAX = 8_000
FILE_EMBEDDED_AT_ONCE = 32
FOLDERS_PER_AGENT_MAX = 32
FOLDER_INSTRUCTIONS_CHARS_MAX = 20_000
FILES_OPEN_MAX = 64
FILE_SEARCH_CHARS_MAX = 25_000  # of all that a search in files shows
FILE_VIEW_CHARS_MAX = 200_000
FILES_VIEW_CHARS_MAX = 600_000  # of all open files of an agent together
GREP_PATTERN_CHARS_MAX = 1_000
GREP_MATCHES_MAX = 20  # on one page
GREP_MS_MAX = 5_000

# -- tools of one's own, and secrets -----------------------------------------------------------------------
SECRET_BYTES_MAX = 64_000
ACCESS_TOKENS_MAX = 10_000
TOKEN_GRANTS_MAX = 64
TOKEN_HOSTNAME_CHARS_MAX = 512
TOKEN_LIFE_MS_DEFAULT = 300_000
TOOL_SOURCE_BYTES_MAX = 200_000
TOOL_DESCRIPTION_CHARS_MAX = 20_000
TOOL_TAGS_MAX = 64
TOOL_RETURN_CHARS_MAX = 1_000_000  # of the retired server; a step's results are clipped to fit their share all the same
TOOLS_FOUND_MAX = 100
SANDBOX_DEADLINE_MS = 180_000  # of one call, after its packages are there
SANDBOX_SCHEMA_MS_MAX = 10_000  # to read a source
SANDBOX_PACKAGES_MS_MAX = 170_000  # for pip; what it has downloaded by then is kept for the next attempt
SANDBOX_JOBS_MAX = 16  # at once
SANDBOX_JOBS_WAITING_MAX = 256
SANDBOX_MEMORY_BYTES_MAX = 2 * 2**30  # of address space, of each process
SANDBOX_FILE_BYTES_MAX = 100_000_000
SANDBOX_FILES_OPEN_MAX = 256
SANDBOX_PROCESSES_MAX = 256  # and threads, beside those that the machine runs when the job begins
SANDBOX_PRINTED_BYTES_KEPT = 100_000  # of either stream
SANDBOX_PRINTED_BYTES_MAX = 10_000_000  # of either stream; beyond it the job is ended
SANDBOX_RESULT_BYTES_MAX = 8_000_000
SANDBOX_ENVIRONMENT_BYTES_MAX = 500_000
PACKAGES_PER_TOOL_MAX = 64
WEB_PAGE_BYTES_MAX = 5_000_000
WEB_PAGE_MS = 30_000
WEB_CONNECT_MS = 10_000
WEB_REDIRECTS_MAX = 5
WEB_URL_CHARS_MAX = 4_000
WEB_PARSE_MS = 60_000
SEARCH_RESULTS_MAX = 100
VARIABLES_MAX = 256  # of sandboxes
AGENT_SECRETS_MAX = 64
AGENT_SECRETS_BYTES_MAX = 100_000  # of all secrets of an agent
PACKAGE_SETS_MAX = 64  # environments on disk

# -- tool servers ------------------------------------------------------------------------------------------
MCP_SERVERS_MAX = 256
MCP_SESSIONS_MAX = 64  # connections to servers, programs started among them, that are open at once
MCP_SESSION_IDLE_MS = 600_000
MCP_SWEEP_MS = 5_000
MCP_CONNECT_MS = 30_000
MCP_LIST_MS = 30_000
MCP_TOOLS_PER_SERVER_MAX = 512
MCP_SERVER_NAME_CHARS_MAX = 128
MCP_ARGUMENTS_MAX = 256
MCP_CONFIG_BYTES_MAX = 60_000
MCP_LOGIN_MS = 300_000  # for a person to log in
MCP_LOGINS_MAX = 64
MCP_STDERR_CHARS_KEPT = 2_000

# -- identities, groups, schedules -------------------------------------------------------------------------
AGENT_REPLY_MS_MAX = 300_000  # that one agent waits for the answer of another
AGENT_REPLY_MARGIN_MS = 2_000  # that whoever is asked on the way has less than whoever asks
AGENTS_ADDRESSED_MAX = 32  # by one message
ERRAND_ATTEMPTS_MAX = 30  # of one step of an errand, before its activation is begun anew
ERRAND_RETRY_FIRST_MS = 20
ERRAND_RETRY_MS_MAX = 5_000
SCHEDULES_PER_AGENT_MAX = 100
SCHEDULE_AHEAD_MS_MAX = 10 * 366 * 24 * 3_600_000
GROUP_AGENTS_MAX = 32
GROUPS_PER_AGENT_MAX = 32
GROUP_TURNS_MAX = 64  # of one talk
GROUP_TALKS_QUEUED_MAX = 32
GROUP_POLL_MS = 50  # how often a reader of a group's talk looks for its next turn
GROUP_TALKS_READ_MAX = 200  # the newest, when a group's messages are listed
GROUP_TEXT_CHARS_MAX = 50_000  # of what one agent said, as the others are told it
TRANSCRIPT_MESSAGES_MAX = 500  # that an agent in the background is told of at once
TRANSCRIPT_CHARS_MAX = 60_000
VOICE_KEYWORDS_MAX = 20  # that are looked for at once
WAITS_FOLLOWED_MAX = 64  # agents that wait for each other, looked at before one more waits
IDENTITIES_PER_AGENT_MAX = 64
IDENTITY_PROPERTIES_MAX = 256
TEMPLATE_VERSIONS_MAX = 500  # of one template
TEMPLATE_VARIABLES_BYTES_MAX = 100_000  # what stands for the variables of a template in one agent
MIGRATION_AGENTS_AT_ONCE = 16  # that are looked at between two commits of how far a migration has come
MIGRATION_WAIT_MS = 10_000  # that the request which begins one waits for its end
MIGRATION_POLL_MS = 20
LINEAGE_CHARS_MAX = 256  # of the id of a project, a template, a deployment or an entity

# -- runs, steps, providers --------------------------------------------------------------------------------
ACCOUNT_NAME_CHARS_MAX = 256
BATCH_REQUESTS_MAX = 200  # whose runs are read in one snapshot
PROVIDERS_MAX = 256  # stored by clients; a list of models asks all of them
PROVIDER_NAME_CHARS_MAX = 128
STEP_TAGS_MAX = 64
RUNS_SCANNED_MAX = 100_000  # runs that one filtered list looks at
SHOWN_BYTES_MAX = 400_000  # of a system prompt, or of all tools offered, that is kept for the traces of steps
FORWARDED_BYTES_MAX = 32_000_000  # of a request that is passed on to a provider, as Anthropic takes it

# -- moving in ---------------------------------------------------------------------------------------------

# -- models ------------------------------------------------------------------------------------------------
MODEL_CALL_DEADLINE_MS = 300_000
MODEL_CONNECT_MS = 10_000
MODEL_SILENCE_MS = 120_000  # the longest wait for the next byte of a reply
MODEL_RETRIES_MAX = 3
MODEL_RETRY_FIRST_MS = 500
MODEL_RETRY_MS_MAX = 20_000
MODEL_REPLY_BYTES_MAX = 8_000_000
MODEL_EVENT_BYTES_MAX = 1_000_000
MODEL_OUTPUT_TOKENS_DEFAULT = 4_096
MODEL_CONNECTIONS_MAX = 256
MODEL_ENDING_MS = 1_000  # after a reply's last event, how long its connection may take to end, to be used again
MODEL_ERROR_WORDS_MAX = 500  # characters of a provider's own words in an error
MODEL_LIST_MS = 2_000
MODEL_LIST_KEPT_MS = 300_000
MODEL_LIST_RETRY_MS = 10_000  # a list that could not be had, or lacks what was asked for, is asked for again
MODEL_LIST_PAGES_MAX = 10
MODELS_PER_PROVIDER_MAX = 2_000
MODEL_CACHE_MARKS_MAX = 4  # Anthropic Messages API
MODEL_THINKING_TOKENS_MIN = 1_024  # Anthropic Messages API

assert EMBEDDING_DIMENSIONS_MAX < SEARCH_NUMBERS_AT_ONCE
assert PASSAGE_BYTES_MAX + EMBEDDING_DIMENSIONS_MAX * 6 + METADATA_BYTES_MAX < RECORD_BYTES_MAX
assert PASSAGE_COMMIT_ROWS * 3 + 2 < COMMIT_OPERATIONS_MAX
assert PASSAGE_COMMIT_BYTES + RECORD_BYTES_MAX < COMMIT_BYTES_MAX, "whatever the escapes of its last passage take"
assert ARCHIVE_AGENTS_MAX * 2 + 20 < COMMIT_OPERATIONS_MAX
assert MESSAGES_SEARCHED_MAX <= MESSAGES_INDEXED_MAX
assert ARCHIVES_SEARCHED_MAX <= PAGE_ROWS_MAX
assert SEARCH_DEPTH <= PASSAGES_FOUND_MAX
assert ARCHIVE_AGENTS_MAX < SCAN_ROWS_MAX
assert PASSAGES_READ_AT_ONCE < GET_KEYS_MAX
assert PASSAGE_COMMIT_ROWS < GET_KEYS_MAX
assert KEY_BYTES_MAX <= FDB_KEY_BYTES_MAX
assert VALUE_BYTES_MAX < FDB_VALUE_BYTES_MAX
assert COMMIT_BYTES_MAX < FDB_COMMIT_BYTES_MAX
assert RECORD_BYTES_MAX * 3 <= COMMIT_BYTES_MAX, "one commit carries a few of the largest records"
assert RECORD_CHUNKS_MAX < GET_KEYS_MAX, "all chunks of a record are read in one snapshot"
assert BLOCK_BYTES_MAX < RECORD_BYTES_MAX
assert (
    MESSAGE_BYTES_MAX + STEP_RETURNS_BYTES_MAX + REPLY_CALLS_MAX * 200 + (WINDOW_ENTRIES_MAX + TURN_STEPS_MAX * 2) * 60
    < RECORD_BYTES_MAX
), "an agent's state holds a reply's calls, their results and the window"
assert LOGPROBS_BYTES_MAX + 1_000 < RECORD_BYTES_MAX
assert SYSTEM_PROMPT_BYTES_MAX + 1_000 < RECORD_BYTES_MAX
assert RUN_INPUT_BYTES_MAX + 50_000 < RECORD_BYTES_MAX, "a run that was accepted can end, with the longest error"
assert WINDOW_MESSAGES_MAX + MESSAGES_PER_CALL_MAX < WINDOW_ENTRIES_MAX
assert BLOCK_CHARS_MAX * 4 <= BLOCK_BYTES_MAX, "a block full of four-byte characters still fits"
assert MESSAGE_BYTES_MAX < RECORD_BYTES_MAX
assert MESSAGE_BYTES_MAX < REQUEST_BYTES_MAX <= RECORD_BYTES_MAX
assert TOOL_RETURN_CHARS_DEFAULT * 4 <= MESSAGE_BYTES_MAX
assert SUMMARY_CHARS_MAX * 4 <= MESSAGE_BYTES_MAX
assert HEARTBEAT_MS * 3 <= LEASE_MS, "a node may miss two heartbeats"
assert LEASE_MARGIN_MS < LEASE_MS - HEARTBEAT_MS * 2, "belief outlives two heartbeats"
assert IDEMPOTENCY_KEY_BYTES_MAX >= MESSAGES_PER_CALL_MAX * 40
assert INBOX_SWEPT_MAX * 2 + 10 <= COMMIT_OPERATIONS_MAX
assert FILE_PIECE_BYTES * 4 // 3 + 1_000 < RECORD_BYTES_MAX
assert FILE_PIECE_BYTES * 4 // 3 * FILE_PIECES_PER_COMMIT < COMMIT_BYTES_MAX
assert FILE_TEXT_PIECE_CHARS * 6 + 1_000 < RECORD_BYTES_MAX, "JSON takes at most six bytes for a character"
assert UPLOAD_BYTES_MAX // FILE_PIECE_BYTES < GET_KEYS_MAX
assert FILES_PER_FOLDER_MAX <= SCAN_ROWS_MAX
assert COLLECTION_READ_AT_ONCE < GET_KEYS_MAX
assert REQUEST_BYTES_MAX < UPLOAD_BYTES_MAX
assert TURN_STEPS_DEFAULT <= TURN_STEPS_MAX
assert PAGE_ROWS_MAX <= SCAN_ROWS_MAX
assert PROVIDERS_MAX <= PAGE_ROWS_MAX
assert RECORD_BYTES_MAX * 3 + SHOWN_BYTES_MAX * 2 <= COMMIT_BYTES_MAX, "a step's commit carries what it was shown"
assert SHOWN_BYTES_MAX * 2 < RECORD_BYTES_MAX, "JSON within JSON is longer"
assert EVENTS_PAGE_ROWS <= SCAN_ROWS_MAX
assert PIECES_PER_RUN_MAX + TURN_STEPS_MAX * 5 < EVENTS_PER_RUN_MAX, "numbers are left for what a turn's steps add"
assert PREVIEWS_KEPT_MAX <= SUBSCRIBER_EVENTS_MAX // 2, "a late reader's queue has room for all that is kept"
assert MODEL_CALL_DEADLINE_MS < REQUEST_DEADLINE_MS
assert MODEL_CONNECT_MS < MODEL_SILENCE_MS < MODEL_CALL_DEADLINE_MS
assert MODEL_EVENT_BYTES_MAX <= MODEL_REPLY_BYTES_MAX
assert MODEL_RETRY_FIRST_MS <= MODEL_RETRY_MS_MAX < MODEL_CALL_DEADLINE_MS
assert MODEL_LIST_MS < MODEL_LIST_RETRY_MS < MODEL_LIST_KEPT_MS
assert SANDBOX_DEADLINE_MS < TOOL_DEADLINE_MS < REQUEST_DEADLINE_MS
assert VARIABLES_MAX <= PAGE_ROWS_MAX
assert AGENT_SECRETS_BYTES_MAX * 2 + AGENT_SYSTEM_CHARS_MAX * 2 + TEMPLATE_VARIABLES_BYTES_MAX < RECORD_BYTES_MAX, (
    "an agent's settings hold them, the secrets sealed"
)
assert SANDBOX_PACKAGES_MS_MAX < TOOL_DEADLINE_MS
assert TOOL_SOURCE_BYTES_MAX + TOOL_SCHEMA_BYTES_MAX + METADATA_BYTES_MAX * 2 + 100_000 < RECORD_BYTES_MAX
assert BLOCKS_PER_AGENT_MAX + AGENT_TOOLS_MAX + 2 < GET_KEYS_MAX, "an agent is read in one snapshot"
