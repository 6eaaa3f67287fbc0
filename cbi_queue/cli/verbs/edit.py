"""`cbi-queue edit NAME key=value...`."""

from __future__ import annotations

from typing import Any

import click
import yaml

from cbi_queue.cli.arguments import examples, job_name_argument, json_option
from cbi_queue.cli.ledger_access import writable_ledger
from cbi_queue.cli.output import print_json
from cbi_queue.errors import Refused
from cbi_queue.ledger import verbs


@click.command(
    epilog=examples("edit feed-forward-1m params.epochs=50", "edit 12 retries=3 timeout_s=7200 params.batch_size=32")
)
@job_name_argument
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE...")
@json_option
def command(name: str, changes: tuple[str, ...], as_json: bool) -> None:
    """Change params.NAME, priority, retries or timeout_s of a job that is queued, waiting or held.

    Write values as in a plan (`50`, `0.1`, `[128, 64]`, `null`); they are checked as a plan is.
    """
    parsed = dict(_parse(change) for change in changes)
    with writable_ledger() as ledger:
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
        raise Refused(
            f"cannot read the value of {key!r}: {text!r} is not YAML; write it as in a plan, such as 50 or [128, 64]"
        ) from exc
