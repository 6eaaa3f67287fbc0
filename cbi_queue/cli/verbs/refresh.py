"""`cbi-queue refresh FILE...`: queue the jobs of plans again whose data have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cbi_queue.cli.arguments import examples, json_option, plan_files_argument
from cbi_queue.cli.output import print_json
from cbi_queue.cli.verbs.enqueue import as_plain, enqueue_files, print_enqueued

if TYPE_CHECKING:
    from pathlib import Path


@click.command(epilog=examples("refresh schedules/day1.yaml", "refresh schedules --json"))
@plan_files_argument()
@json_option
def command(files: tuple[Path, ...], as_json: bool) -> None:
    """Add plans to the queue as `enqueue` does, and queue again what was trained on an older snapshot of the data.

    The earlier runs stay, and the leaderboard shows them apart. Jobs that were trained on the present data are left
    alone. Exit codes: 0 done, 2 refused.
    """
    from cbi_queue.settings import load_settings

    done = enqueue_files(load_settings(), files, refresh=True)
    if as_json:
        print_json(as_plain(done))
    else:
        print_enqueued(done)
