"""The same script of calls on a genuine retired server and on ours, and what is different: run by hand.

    tests/wire/genuine/setup.sh DIR         on a database that is new
    kelpie serve --port 8299 ...            with OPENAI_BASE_URL of the same scripted models
    python -m tests.wire.differential http://127.0.0.1:8294 http://127.0.0.1:8299

`make_script.py` writes the calls, `script.json`; `__main__.py` replays them and writes docs/differential.md. Why
something is different stands in `explained.json`: of which calls, at which place, and the reason.
"""
