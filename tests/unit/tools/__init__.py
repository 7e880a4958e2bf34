"""The tools room: schemas, the MCP server, the catalog."""
