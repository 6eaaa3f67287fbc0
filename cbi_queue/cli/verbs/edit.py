"""`cbi-queue edit NAME key=value...`."""

from __future__ import annotations

from typing import Any

import click

from cbi_queue.cli.arguments import examples, job_name_argument, json_option
from cbi_queue.cli.ledger_access import writable_ledger
from cbi_queue.cli.output import print_json
from cbi_queue.errors import Refused
from cbi_queue.ledger import verbs
from cbi_queue.plan.yaml_source import read_value
from cbi_queue.values.words import seen


@click.command(
    epilog=examples("edit feed-forward-1m params.epochs=50", "edit 12 retries=3 timeout=2h params.batch_size=32")
)
@job_name_argument
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE...")
@json_option
def command(name: str, changes: tuple[str, ...], as_json: bool) -> None:
    """Change params.NAME, priority, retries or timeout of a job that is queued, waiting or held.

    Write values as in a plan (`50`, `0.1`, `[128, 64]`, `2h`, `null`); they are read and checked as in a plan.
    """
    parsed: dict[str, Any] = {}
    for key, value in map(_parse, changes):
        if key in parsed:
            raise Refused(f"cannot edit {name}: {key} is given twice, as {seen(parsed[key])} and {seen(value)}")
        parsed[key] = value
    with writable_ledger() as ledger:
        job = verbs.edit(ledger, name, parsed)
    if as_json:
        counts = {"priority": job.priority, "retries": job.retries, "timeout_s": job.timeout_s}
        print_json({"id": job.id, "name": job.name, **counts, "spec": job.spec})
    else:
        click.echo(f"Edited {job.name} (job {job.id}): " + verbs.change_words(parsed))


def _parse(change: str) -> tuple[str, Any]:
    key, equals, text = change.partition("=")
    if not key or not equals:
        raise Refused(f"cannot read {change!r}; write KEY=VALUE, for example params.epochs=50")
    try:
        return key, read_value(text)
    except ValueError as exc:
        raise Refused(
            f"cannot read the value of {key}, {seen(text)}: {exc}",
            hint="write it as in a plan, such as 50 or [128, 64]",
        ) from exc
