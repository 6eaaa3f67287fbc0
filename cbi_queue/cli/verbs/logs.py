"""`cbi-queue logs NAME`: what the trainer printed; `-f` follows it across attempts."""

from __future__ import annotations

import codecs
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from cbi_queue.cli.arguments import Whole, examples, job_name_argument
from cbi_queue.cli.ledger_access import readonly_ledger
from cbi_queue.cli.output import printable_lines
from cbi_queue.errors import Refused
from cbi_queue.ledger.queries import attempts_of, find_job
from cbi_queue.regular_files import open_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cbi_queue.ledger import AttemptRow, JobRow

FOLLOW_S = 0.2
_CHUNK = 65_536


@click.command(epilog=examples("logs lightgbm-1m", "logs -f feed-forward-1m", "logs 12 --attempt 1"))
@job_name_argument
@click.option("-f", "--follow", is_flag=True, help="Keep printing new lines until the job has ended, or Ctrl-C.")
@click.option("-n", "--lines", type=Whole(0), help="Only the last N lines.")
@click.option("--attempt", type=Whole(1), help="The log of this attempt. Default: the newest.")
def command(name: str, follow: bool, lines: int | None, attempt: int | None) -> None:
    """Print a job's training log. On a terminal, control characters in it are printed as escapes."""
    number, path = _find(name, attempt, wait=follow)
    log = _Log(path, lines)
    while True:
        ended, newer = _ended_and_newer(name, number) if follow else (True, None)
        log.print_new()
        if newer and attempt is None:
            number, path = newer
            log = _Log(path)
        elif ended:
            return
        else:
            time.sleep(FOLLOW_S)


def _find(name: str, attempt: int | None, *, wait: bool) -> tuple[int, Path]:
    while True:
        with readonly_ledger() as ledger:
            job = find_job(ledger, name)
            attempts = attempts_of(ledger, job.id)
        logs = {a.number: Path(a.log_path) for a in attempts if a.log_path}
        number = attempt or max(logs, default=0)
        if number in logs:
            return number, logs[number]
        if not wait or job.state.is_final or attempt:
            raise _no_log(job, attempts, attempt)
        time.sleep(FOLLOW_S)


def _no_log(job: JobRow, attempts: Sequence[AttemptRow], attempt: int | None) -> Refused:
    named, numbers = f"job {job.id} {job.name}", [each.number for each in attempts]
    if not numbers:
        ended = job.state.is_final
        hint = None if ended else f"`cbi-queue logs -f {job.name}` waits until it starts"
        return Refused(
            f"there is no log of {named}: it {'never started' if ended else 'has not started yet'}", hint=hint
        )
    if attempt is not None and attempt not in numbers:
        last = f"attempts 1 to {numbers[-1]}" if len(numbers) > 1 else f"only attempt {numbers[-1]}"
        return Refused(f"{named} has no attempt {attempt}; it has {last}", hint="without --attempt: the newest log")
    return Refused(f"attempt {attempt or numbers[-1]} of {named} ended before it had a log")


def _ended_and_newer(name: str, number: int) -> tuple[bool, tuple[int, Path] | None]:
    """Return whether the job has ended, and the newest attempt after *number* that has a log."""
    with readonly_ledger() as ledger:
        job = find_job(ledger, name)
        newer = [(a.number, Path(a.log_path)) for a in attempts_of(ledger, job.id) if a.log_path and a.number > number]
    return job.state.is_final, newer[-1] if newer else None


class _Log:
    """A log that is read while the trainer appends to it and rolls it over."""

    def __init__(self, path: Path, lines: int | None = None) -> None:
        self._path = path
        to_terminal = sys.stdout.isatty()
        self._print: Callable[[bytes], object] = _print_safely() if to_terminal else sys.stdout.buffer.write
        self._stream = self._open()
        if lines is not None:
            content = self._stream.read()
            kept = content.splitlines(keepends=True)[-lines:] if lines else []
            self._stream.seek(len(content) - sum(map(len, kept)))

    def print_new(self) -> None:
        """Print what was written since the last call: the rest of the file, then the file that replaced it, if any."""
        self._print_rest()
        if self._was_rolled_over():
            self._print_rest()
            self._stream.close()
            self._stream = self._open()
            self._print_rest()

    def _open(self) -> BinaryIO:
        try:
            return open_stream(self._path)
        except OSError as exc:
            raise Refused(f"cannot read the log {self._path}: {exc.strerror}") from exc

    def _was_rolled_over(self) -> bool:
        try:
            return not os.path.samestat(self._path.lstat(), os.fstat(self._stream.fileno()))
        except FileNotFoundError:
            return False

    def _print_rest(self) -> None:
        while chunk := self._stream.read(_CHUNK):
            self._print(chunk)
        sys.stdout.flush()


def _print_safely() -> Callable[[bytes], None]:
    """Return a function that prints bytes on a terminal: decoded across chunks, control characters escaped."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return lambda chunk: click.echo(printable_lines(decoder.decode(chunk)), nl=False)
