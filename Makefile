# Six words: run, test, sim, tidy, bench, docs. Each sets up what it needs; what is ready is not set up again.
# `make run ARGS="--port 9000"` hands flags on; SEEDS, SEED: see `kelpie sim --help`.

.DEFAULT_GOAL := run
.PHONY: run test sim tidy bench docs

ARGS ?=
SEEDS ?= 1000
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
READY := .venv/.ready
DEV_READY := .venv/.dev-ready
NODE_READY := tests/tidy/node_modules/.ready

run: $(READY)
	@exec $(BIN)/kelpie serve $(ARGS)

test: $(DEV_READY) $(NODE_READY)
	@$(BIN)/python -m pytest -n 2 $(ARGS)

sim: $(READY)
	@$(BIN)/kelpie sim --seeds $(SEEDS) $(ARGS)

tidy: $(DEV_READY) $(NODE_READY)
	@$(BIN)/python -m pytest tests/tidy $(ARGS)

bench: $(DEV_READY)
	@for each in $(basename $(notdir $(wildcard benches/bench_*.py))); do \
		echo "== $$each"; $(BIN)/python -m benches.$$each $(ARGS) || exit 1; done

docs: $(DEV_READY)
	@$(BIN)/python docs/build.py $(ARGS)

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "kelpie needs Python 3.11 or newer, and none is on the PATH"; exit 1; }
	@test -x $(BIN)/python || { echo "making .venv with $(PYTHON)"; $(PYTHON) -m venv .venv; } || \
		{ echo "'$(PYTHON) -m venv' failed; on Debian: apt-get install python3-venv"; rm -rf .venv; exit 1; }
	@echo "installing what requirements.lock pins (once)"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(DEV_READY): requirements-dev.lock $(READY)
	@echo "installing what requirements-dev.lock pins (once)"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

$(NODE_READY): tests/tidy/package-lock.json
	@command -v npm >/dev/null || { echo "the type checker and the TypeScript client's tests need node and npm"; exit 1; }
	@echo "installing what tests/tidy/package-lock.json pins (once)"
	@npm ci --prefix tests/tidy --silent --no-fund --no-audit
	@touch $@
