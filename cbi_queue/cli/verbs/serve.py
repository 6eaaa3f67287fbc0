"""`cbi-queue serve`: the status page and the API in this terminal."""

from __future__ import annotations

import os
import sys

import click


@click.command(
    epilog="Examples:\n\n\b\n  cbi-queue serve\n  cbi-queue serve --port 8001 --open\n\nMore: docs/api.md",
)
@click.option("--host", help="Address to listen on. Default: CBI_HOST, else 127.0.0.1 (this machine only).")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on. Default: CBI_PORT, else 8000.")
@click.option("--open", "open_browser", is_flag=True, help="Open the page in a browser.")
def command(host: str | None, port: int | None, open_browser: bool) -> None:
    """Serve the status page and the API until Ctrl-C.

    The page only looks, and works also while no worker runs. Changes through the API ask for a token, whose file is
    named at the start. Exit codes: 0 done, 2 the address cannot be listened on.
    """
    given = {"CBI_HOST": host, "CBI_PORT": str(port) if port else None}
    environment = {**os.environ, **{name: value for name, value in given.items() if value}}
    arguments = [sys.executable, "-P", "-m", "cbi_queue.api"] + (["--open"] if open_browser else [])
    sys.stdout.flush()
    os.execve(sys.executable, arguments, environment)  # noqa: S606 - the server takes this process over: one pid
