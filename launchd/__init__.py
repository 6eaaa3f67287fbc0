"""Sources of the service definitions (launchd agents, systemd user units), as package data."""
