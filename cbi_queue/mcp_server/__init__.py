"""The queue as tools of an MCP client. Each tool is a verb of the command line with `--json`, in a process of its own."""
