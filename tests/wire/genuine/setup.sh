#!/usr/bin/env bash
# setup.sh DIR [up|down]: a genuine retired server in DIR, from PyPI, with a PostgreSQL of its own; then its fixtures.
#
# Opt-in: a few minutes and 3 GB the first time. Needs Python 3.11 and, when run as root, a user `postgres` or `nobody`
# (PostgreSQL refuses to run as root). `up` (the default) ends with the server answering on 127.0.0.1:8294:
#   python -m tests.wire.genuine.fill --base http://127.0.0.1:8294
#   $DIR/env.sh $DIR/venv/bin/python tests/wire/genuine/history.py
#   python -m tests.wire.genuine.dump postgresql://letta@127.0.0.1:5499/letta rows.jsonl.gz
set -euo pipefail
DIR=$(realpath -m "$1"); ACT=${2:-up}
RELEASE=${RELEASE:-0.16.8}; UNTIL=${UNTIL:-2026-05-20}  # the older one: RELEASE=0.11.7 UNTIL=2025-09-20
HERE=$(cd "$(dirname "$0")/../../.." && pwd)
PG=$DIR/pg/pgserver/pginstall/bin
PORT=${PORT:-8294}; PG_PORT=${PG_PORT:-5499}; MODELS_PORT=${MODELS_PORT:-8390}
mkdir -p "$DIR/home"

as_postgres() {
  if [ "$(id -u)" -ne 0 ]; then sh -c "$1"; return; fi
  user=postgres; id postgres >/dev/null 2>&1 || user=nobody
  mkdir -p "$DIR/data"; chown "$user" "$DIR/data"; su -s /bin/sh "$user" -c "$1"
}

if [ "$ACT" = down ]; then
  kill $(cat "$DIR"/*.pid) 2>/dev/null || true
  as_postgres "$PG/pg_ctl -D $DIR/data/pg -m fast stop"
  exit 0
fi

# The releases of its time: what came after them no longer fits (pydantic, fastmcp). uv knows dates, pip does not.
if [ ! -x "$DIR/venv/bin/letta" ]; then
  python3.11 -m venv "$DIR/venv"
  "$DIR/venv/bin/pip" install -q uv
  cp "$DIR/venv/bin/uv" "$DIR/uv"
  "$DIR/uv" pip install -q --exclude-newer "$UNTIL" --python "$DIR/venv/bin/python" "letta[postgres,server]==$RELEASE"
fi
[ -d "$DIR/pg" ] || python3.11 -m pip install -q --no-deps --target "$DIR/pg" pgserver  # PostgreSQL 16 with pgvector
if [ ! -d "$DIR/migrations" ]; then
  mkdir "$DIR/migrations"  # they are in the source distribution only
  "$DIR/venv/bin/pip" download -q --no-deps --no-binary :all: -d "$DIR/migrations" "letta==$RELEASE"
  tar xzf "$DIR/migrations/letta-$RELEASE.tar.gz" -C "$DIR/migrations" --strip-components=1 \
    "letta-$RELEASE/alembic" "letta-$RELEASE/alembic.ini"
fi

[ -d "$DIR/data/pg" ] || as_postgres "mkdir -p $DIR/data; $PG/initdb -D $DIR/data/pg -U letta -A trust -E UTF8 >/dev/null"
as_postgres "$PG/pg_ctl -D $DIR/data/pg -l $DIR/data/pg.log -w start -o \
  '-p $PG_PORT -c listen_addresses=127.0.0.1 -c unix_socket_directories=/tmp -c fsync=off' >/dev/null" || true
db() { "$PG/psql" -qAt -h 127.0.0.1 -p "$PG_PORT" -U letta "$@"; }
db -d postgres -c "select 1 from pg_database where datname = 'letta'" | grep -q 1 || db -d postgres -c 'create database letta'
db -d letta -c 'create extension if not exists vector'

cat > "$DIR/env.sh" <<ENV
#!/usr/bin/env bash
export HOME=$DIR/home LETTA_DIR=$DIR/home/.letta LETTA_ENCRYPTION_KEY=old-servers-key
export LETTA_PG_URI=postgresql+pg8000://letta:letta@127.0.0.1:$PG_PORT/letta LETTA_DISABLE_SQLALCHEMY_POOLING=true
export OPENAI_API_KEY=sk-scripted OPENAI_API_BASE=http://127.0.0.1:$MODELS_PORT/v1 OPENAI_BASE_URL=http://127.0.0.1:$MODELS_PORT/v1
exec "\$@"
ENV
chmod +x "$DIR/env.sh"
(cd "$DIR/migrations" && "$DIR/env.sh" "$DIR/venv/bin/alembic" upgrade head >/dev/null 2>&1)
(cd "$HERE" && PYTHONPATH=src nohup .venv/bin/python -m tests.wire.genuine.models --port "$MODELS_PORT" \
  >"$DIR/models.log" 2>&1 & echo $! >"$DIR/models.pid")
(cd "$DIR/home" && nohup "$DIR/env.sh" "$DIR/venv/bin/letta" server --port "$PORT" --host 127.0.0.1 \
  >"$DIR/server.log" 2>&1 & echo $! >"$DIR/server.pid")
for _ in $(seq 240); do curl -sf "http://127.0.0.1:$PORT/v1/health/" && exit 0; sleep 0.5; done
echo "it does not answer: $DIR/server.log"; exit 1
