"""`cbi-queue client`: the files with which a script in another environment reports to the queue."""

from __future__ import annotations

from pathlib import Path

import click

from cbi_queue.cli.arguments import examples
from cbi_queue.cli.output import printable
from cbi_queue.client_files import copy_client
from cbi_queue.errors import Refused
from cbi_queue.regular_files import plain_words


@click.command(epilog=examples("client", "client --to ~/my-model", more="Exit codes: 0 written, 2 refused."))
@click.option(
    "--to",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Folder of the script; made when it is not there; default: this one.",
)
def command(folder: Path) -> None:
    """Write the client beside a script of your own, so that `from cbi_queue.client import training` works anywhere.

    In the queue a script finds the client without this. The files need Python 3.8 or newer and nothing else.
    """
    if (folder / "cbi_queue" / "__init__.py").exists():
        raise Refused(
            f"cannot write the client to {folder / 'cbi_queue'}: that folder is a cbi-queue itself",
            hint="scripts there find the client already",
        )
    try:
        package = copy_client(folder)
    except OSError as exc:
        raise Refused(f"cannot write the client: {plain_words(exc, folder / 'cbi_queue')}") from exc
    click.echo(f"Wrote the client: {printable(str(package))}")
