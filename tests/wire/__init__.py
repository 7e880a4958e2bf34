"""The official clients of the compatible API, unmodified, against a real server."""
