"""`cbi-queue serve`: the status page and the API in this terminal."""

from __future__ import annotations

import os
import signal
import sys

import click

from cbi_queue.cli.arguments import Whole, examples


@click.command(epilog=examples("serve", "serve --port 8001 --open", more="See docs/api.md."))
@click.option("--host", help="Address to listen on. Default: CBI_HOST, else 127.0.0.1 (this machine only).")
@click.option("--port", type=Whole(1, 65535), help="Port to listen on. Default: CBI_PORT, else 8000.")
@click.option(
    "--open", "open_browser", is_flag=True, help="Open the page in a browser, which may then change the queue."
)
@click.option("--allow-other-machines", "allow", is_flag=True, help="Allow a --host that other machines can reach.")
def command(host: str | None, port: int | None, open_browser: bool, allow: bool) -> None:
    """Serve the status page and the API until Ctrl-C.

    The page works without a worker. `cbi-queue open` gives a browser the right to change the queue; programs need the
    token, whose file is printed at the start. Exit codes: 0 stopped by SIGTERM, 2 cannot listen on the address, 130 stopped by Ctrl-C.
    """
    given = {
        "CBI_HOST": host, "CBI_PORT": str(port) if port else None, "CBI_OTHER_MACHINES": "allow" if allow else None,
    }  # fmt: skip
    environment = {**os.environ, **{name: value for name, value in given.items() if value}}
    arguments = [sys.executable, "-P", "-m", "cbi_queue.api"] + (["--open"] if open_browser else [])
    sys.stdout.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until the server can handle it
    os.execve(sys.executable, arguments, environment)  # noqa: S606 - the server takes this process over: one pid
