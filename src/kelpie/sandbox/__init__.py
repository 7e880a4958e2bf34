"""Floor 4: where what people wrote runs: in processes of their own, never in the server's.

`sandbox.py` is the seam, `process.py` its real part, `programs/` what such a process is: each program is one file that
needs nothing but Python's own library, reads what to do as JSON from its input and writes a result file.
"""
