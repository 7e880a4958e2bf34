"""Floor 4: tools, all of them served as MCP."""
