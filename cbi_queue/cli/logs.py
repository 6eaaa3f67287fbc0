"""`cbi-queue logs NAME`: what the trainer printed; `-f` follows it, across attempts."""

from __future__ import annotations

import time
from pathlib import Path

import click

from cbi_queue.cli.naming import job_name_argument
from cbi_queue.cli.opening import ledger_for_looking
from cbi_queue.errors import Refused
from cbi_queue.ledger.queries import attempts_of, find_job

FOLLOW_S = 0.2
_CHUNK = 65_536


@click.command(
    epilog="Examples:\n\n\b\n  cbi-queue logs lightgbm-1m\n  cbi-queue logs -f feed-forward-1m\n  cbi-queue logs 12 --attempt 1"
)
@job_name_argument
@click.option("-f", "--follow", is_flag=True, help="Go on printing until the job has ended (or Ctrl-C).")
@click.option("-n", "--lines", type=click.IntRange(0), help="Only the last N lines.")
@click.option("--attempt", type=click.IntRange(1), help="The log of this attempt; default: the newest.")
def command(name: str, follow: bool, lines: int | None, attempt: int | None) -> None:
    """Print a job's training log."""
    number, path = _find(name, attempt, wait=follow)
    position = _print_from(path, _start(path, lines))
    try:
        while follow:
            time.sleep(FOLLOW_S)
            position = _print_from(path, position)
            ended, newer = _look(name, number)
            if ended:
                _print_from(path, position)
                return
            if newer and attempt is None:
                number, path = newer
                position = 0
    except KeyboardInterrupt:
        return


def _find(name: str, attempt: int | None, *, wait: bool) -> tuple[int, Path]:
    while True:
        with ledger_for_looking() as ledger:
            job = find_job(ledger, name)
            logs = {a.number: Path(a.log_path) for a in attempts_of(ledger, job.id) if a.log_path}
        number = attempt or max(logs, default=0)
        if number in logs:
            return number, logs[number]
        if not wait or job.state.is_final or attempt:
            raise Refused(
                f"job {job.id} {job.name} has no log of attempt {number or 1}; it is {job.state}",
                hint="`-f` waits until it starts",
            )
        time.sleep(FOLLOW_S)


def _look(name: str, number: int) -> tuple[bool, tuple[int, Path] | None]:
    """Tell whether the job has ended, and which newer attempt has a log."""
    with ledger_for_looking() as ledger:
        job = find_job(ledger, name)
        newer = [(a.number, Path(a.log_path)) for a in attempts_of(ledger, job.id) if a.log_path and a.number > number]
    return job.state.is_final, newer[-1] if newer else None


def _start(path: Path, lines: int | None) -> int:
    if lines is None or not path.exists():
        return 0
    content = path.read_bytes()
    kept = content.splitlines(keepends=True)[-lines:] if lines else []
    return len(content) - sum(map(len, kept))


def _print_from(path: Path, position: int) -> int:
    """Print what lies beyond *position*; start over when the log was rolled over. Return the new position."""
    if not path.exists():
        return position
    if path.stat().st_size < position:
        position = 0
    with path.open("rb") as stream:
        stream.seek(position)
        while chunk := stream.read(_CHUNK):
            click.echo(chunk.decode(errors="replace"), nl=False)
            position += len(chunk)
    return position
