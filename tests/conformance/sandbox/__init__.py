"""The seam `Sandbox`."""
