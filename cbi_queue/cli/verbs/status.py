"""`cbi-queue status`: one snapshot, or one again and again."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from cbi_queue.cli.output import json_option, print_json
from cbi_queue.settings import load_settings
from cbi_queue.views.snapshot import take_status

if TYPE_CHECKING:
    from cbi_queue.settings import Settings


@click.command(
    epilog="Examples:\n\n\b\n  cbi-queue status\n  cbi-queue status --watch\n  cbi-queue status --json | jq .slot"
)
@json_option
@click.option("--watch", is_flag=True, help="Look again every second until Ctrl-C (with --json: one line a look).")
def command(as_json: bool, watch: bool) -> None:
    """Show the slot, the queue, the holds and the budget."""
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
    try:
        while True:
            click.echo(json.dumps(take_status(settings).as_json(), allow_nan=False))
            time.sleep(1.0)
    except KeyboardInterrupt:
        return
