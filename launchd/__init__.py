"""Templates of the service files (launchd agents, systemd user units), as package data."""
