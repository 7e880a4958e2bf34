"""The same script of calls on a genuine retired server and on ours, and what is different: run by hand.

    tests/wire/genuine/setup.sh DIR
    kelpie serve --port 8299 ...            with OPENAI_BASE_URL of the same scripted models
    python -m tests.wire.differential http://127.0.0.1:8294 http://127.0.0.1:8299

`script.json` is the calls; `compare.py` replays them and writes docs/reference/differential.md.
"""
