"""`cbi-queue verify [NAME...]`: are the results of finished runs still what they were?"""

from __future__ import annotations

import contextlib
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cbi_queue.cli.arguments import examples, job_names_argument, json_option
from cbi_queue.cli.ledger_access import writable_ledger
from cbi_queue.cli.output import print_json, printable
from cbi_queue.errors import CbiError
from cbi_queue.ledger.damage import RunCheck, check_runs, finished_runs, record_check
from cbi_queue.settings import load_settings
from cbi_queue.wording import counted, memory_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cbi_queue.ledger import Ledger

BAR_FROM = 10
"""Runs from which a progress bar is shown on a terminal."""


@click.command(
    epilog=examples(
        "verify",
        "verify lightgbm-1m 12",
        "verify --json",
        more="Exit codes: 0 all intact, 1 damage was found, 2 refused.",
    )
)
@job_names_argument(required=False)
@json_option
def command(names: tuple[str, ...], as_json: bool) -> None:
    """Check the run folders of the jobs NAME, or of every finished job.

    Each file is compared with the manifest by size and SHA-256, and the manifest with the ledger: its signature and
    its metrics. A damaged run is marked: the leaderboard no longer ranks it, and `retry` trains it again. When it is
    found whole later, the mark goes. No file is changed.
    """
    settings = load_settings()
    settings.require_volume()
    if not settings.models.is_dir():
        raise CbiError(
            f"cannot verify runs: the folder of the models {settings.models} does not exist",
            hint="connect its disk, or correct CBI_V14_REPO; nothing was marked",
        )
    with writable_ledger() as ledger:
        checks = list(_checked(ledger, finished_runs(ledger, names), settings.models, quiet=as_json))
    damaged = [check for check in checks if check.damage is not None]
    if as_json:
        print_json({"checked": len(checks), "damaged": len(damaged), "runs": [asdict(check) for check in checks]})
    else:
        _print(checks, damaged)
    sys.exit(1 if damaged else 0)


def _checked(ledger: Ledger, job_ids: Sequence[int], models: Path, *, quiet: bool) -> Iterator[RunCheck]:
    """Check the runs in turn and mark each at once, so that an interrupted check keeps what it found."""
    shows_bar = not quiet and len(job_ids) >= BAR_FROM and sys.stderr.isatty()
    found = check_runs(ledger, job_ids, models)
    bar = click.progressbar(found, len(job_ids), label="Checking runs", file=sys.stderr) if shows_bar else None
    with bar or contextlib.nullcontext(found) as shown:
        for check in shown:
            record_check(ledger, check)
            yield check


def _print(checks: Sequence[RunCheck], damaged: Sequence[RunCheck]) -> None:
    for check in checks:
        about = f"{printable(check.name)} (job {check.job_id})"
        if check.damage is not None:
            click.echo(f"{click.style('DAMAGED', fg='red')} {about}: {printable(check.damage)}")
            click.echo(f"        in {printable(check.run_dir)}")
        if check.remark is not None:
            click.echo(f"{click.style('note', fg='yellow')}    {about}: {printable(check.remark)}")
    if not checks:
        click.echo("No job has finished yet, so there is no run to check.")
        return
    files, size = sum(check.files for check in checks), memory_size(sum(check.bytes for check in checks) / 2**20)
    intact = f"{counted(len(checks) - len(damaged), 'run is', 'runs are')} intact"
    click.echo(
        f"Checked {counted(len(checks), 'run')} ({counted(files, 'file')}, {size}): {intact}, {len(damaged)} damaged."
    )
    if damaged:
        click.echo(
            "Bring the files back from a backup and verify again, or train again: "
            f"cbi-queue retry {' '.join(check.name for check in damaged[:3])}{' …' if len(damaged) > 3 else ''}"
        )
