"""What every store must do; a new backend is one line in backends.py."""
