"""`cbi-queue edit NAME key=value...`."""

from __future__ import annotations

from typing import Any

import click
import yaml

from cbi_queue.cli.arguments import job_name_argument
from cbi_queue.cli.ledger_access import ledger_for_writing
from cbi_queue.cli.output import json_option, print_json
from cbi_queue.errors import Refused
from cbi_queue.ledger import verbs


@click.command(
    epilog="Examples:\n\n\b\n  cbi-queue edit feed-forward-1m params.epochs=50\n"
    "  cbi-queue edit 12 retries=3 timeout_s=7200 params.batch_size=32"
)
@job_name_argument
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE...")
@json_option
def command(name: str, changes: tuple[str, ...], as_json: bool) -> None:
    """Change a job that is queued, waiting or held: params.NAME, priority, retries, timeout_s.

    Values are written as in a plan (`50`, `0.1`, `[128, 64]`, `null`) and checked in the same way.
    """
    parsed = dict(_parse(change) for change in changes)
    with ledger_for_writing() as ledger:
        job = verbs.edit(ledger, name, parsed)
    if as_json:
        counts = {"priority": job.priority, "retries": job.retries, "timeout_s": job.timeout_s}
        print_json({"id": job.id, "name": job.name, **counts, "spec": job.spec})
    else:
        click.echo(f"Edited {job.name} (job {job.id}): " + ", ".join(f"{k} = {v!r}" for k, v in parsed.items()))


def _parse(change: str) -> tuple[str, Any]:
    key, equals, text = change.partition("=")
    if not key or not equals:
        raise Refused(f"cannot read {change!r}; write KEY=VALUE, for example params.epochs=50")
    try:
        return key, yaml.safe_load(text)
    except yaml.YAMLError as exc:
        raise Refused(f"cannot read the value of {key!r}: {text!r} is not written as in a plan") from exc
