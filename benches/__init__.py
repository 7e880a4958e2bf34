"""How fast and how small the server is, measured from outside: `python -m benches.bench_server`."""
