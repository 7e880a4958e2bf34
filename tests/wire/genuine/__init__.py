"""A genuine retired server beside ours, and what it left behind: opt-in, `make test` needs none of it.

`setup.sh` builds one from PyPI (its own migrations on a PostgreSQL of its own), `models.py` is the model that it
asks, `fill.py` lives in it through its REST API, and `dump.py` takes what its database then holds into `fixtures/`,
which the tests of `kelpie import` read.
"""
