"""`cbi-queue mcp`: the queue as tools of an assistant, over standard input and output."""

from __future__ import annotations

from importlib.util import find_spec

import click

from cbi_queue.cli.arguments import examples
from cbi_queue.errors import Refused


@click.command(epilog=examples("mcp", "mcp --allow-changes"))
@click.option(
    "--allow-changes", is_flag=True, help="Also let it pause, resume, enqueue, cancel and retry. Default: only look."
)
def command(allow_changes: bool) -> None:
    """Serve the queue to an MCP client, such as an assistant or an editor, over standard input and output.

    The client starts this command; docs/mcp.md shows how to add it. It ends when the client closes its input.
    """
    if find_spec("mcp") is None:
        raise Refused("the package mcp is not installed", hint="pip install 'cbi-queue[mcp]'")
    from cbi_queue.mcp_server.server import serve

    serve(allow_changes=allow_changes)
