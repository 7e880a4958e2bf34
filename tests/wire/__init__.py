"""The official clients of the compatible API, unmodified, against a real server.

How an operation is proved (each one must be, by a test in this directory):
- Call it with the fixture `client` (Python, newest release) where that has a method; every answer is read strictly by
  the client's own models and held against the OpenAPI document of 0.16.8.
- Where it has none, with the fixture `wire` (wire.py: get, post, put, patch, delete, refuse, stream, raw), held against
  the same document. A wrong status, type, shape or event fails the test by itself; assert what was meant besides.
- Both note what they call (seen.py). `python -m tests.wire.tested [tests]` runs tests, writes facts/tested.json, the
  table of which test proves which operation, and says which operations are not proved yet. Who adds tests need not run
  it; a listed test that no longer calls its operation fails by itself, and a listed test that was renamed fails
  test_surface.py until it is run.
- `python -m tests.wire.parameters` lists what the retired server's operations take and ours do not, and other defaults.
"""
