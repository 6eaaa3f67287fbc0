"""`cbi-queue status`: one snapshot, or one that is refreshed."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.output import print_json
from cbi_queue.settings import load_settings
from cbi_queue.views.snapshot import take_status

if TYPE_CHECKING:
    from cbi_queue.settings import Settings


@click.command(epilog=examples("status", "status --watch", "status --json | jq .slot"))
@json_option
@click.option("--watch", is_flag=True, help="Refresh until Ctrl-C; with --json, print one line each second.")
def command(as_json: bool, watch: bool) -> None:
    """Show the slot, the queue, the holds and the budget of the week."""
    settings = load_settings()
    if watch and as_json:
        _stream(settings)
    elif as_json:
        print_json(take_status(settings).as_json())
    elif watch:
        from cbi_queue.cli.status_view import watch_status

        watch_status(settings)
    else:
        from cbi_queue.cli.status_view import print_status

        print_status(take_status(settings))


def _stream(settings: Settings) -> None:
    while True:
        click.echo(json.dumps(take_status(settings).as_json(), allow_nan=False))
        time.sleep(1.0)
