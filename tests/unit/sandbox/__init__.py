"""The sandbox room: its programs, its processes, its packages."""
