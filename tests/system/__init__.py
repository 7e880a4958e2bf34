"""Black-box proofs: real server processes, real sockets, real SIGKILL."""
