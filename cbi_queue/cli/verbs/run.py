"""`cbi-queue run FILE...`: enqueue and train until the queue is empty, with a live display."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, NoReturn

import click

from cbi_queue import clock
from cbi_queue.cli.arguments import examples, plan_files_argument
from cbi_queue.cli.output import STOPPED_BY_CTRL_C, printable
from cbi_queue.cli.verbs.enqueue import enqueue_files, print_enqueued
from cbi_queue.errors import SlotTaken
from cbi_queue.ledger import Ledger, queries
from cbi_queue.ledger.waits import why_it_waits
from cbi_queue.settings import load_settings
from cbi_queue.slot_lock import SlotLock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType

    from cbi_queue.settings import Settings
    from cbi_queue.views.snapshot import QueueStatus

STOP_S = 60.0
"""Seconds that the daemon may take to checkpoint and end after Ctrl-C: more than the 45 s it allows itself."""

PAGE_S = 15.0
"""Seconds within which the status page must answer."""


@click.command(epilog=examples("run schedules/quickstart.yaml", "run schedules/day1.yaml --page"))
@plan_files_argument()
@click.option("--page", is_flag=True, help="Serve the status page at the same time.")
def command(files: tuple[Path, ...], page: bool) -> None:
    """Enqueue plans and train until the queue is empty, with a live display.

    Ctrl-C checkpoints the running job, a second one does not wait for that; `cbi-queue worker` or another `run` continues
    the queue. Exit codes: 0 done, 1 a job failed or cannot run, 2 refused input, 75 another daemon holds the slot, 130 stopped by Ctrl-C.
    """
    settings = load_settings()
    settings.make_state_dir()
    _refuse_second_daemon(settings)
    print_enqueued(enqueue_files(settings, files))
    with _page(settings) if page else contextlib.nullcontext():
        code = _train(settings)
    _print_unfit(settings)
    sys.exit(code)


def _print_unfit(settings: Settings) -> None:
    """Print the jobs that were not trained because they can never fit."""
    with Ledger.open_readonly(settings.ledger_path) as ledger:
        for job in queries.unfit(ledger):
            click.echo(
                f"{printable(job.name)} (job {job.id}) was not trained: {why_it_waits(ledger, job.id)}", err=True
            )


def _refuse_second_daemon(settings: Settings) -> None:
    holder = SlotLock(settings.lock_path).holder()
    if holder is not None:
        raise SlotTaken(
            f"nothing was enqueued: the daemon with pid {holder.pid} holds the slot",
            holder_pid=holder.pid,
        )


def _train(settings: Settings) -> int:
    """Run the daemon as a child process and show it; Ctrl-C reaches it as one SIGTERM."""
    started_at = clock.epoch_s()
    daemon = subprocess.Popen(
        [sys.executable, "-P", "-m", "workers", "--until-empty", "--quiet"],
        process_group=0,
        stdin=subprocess.DEVNULL,
    )

    def interrupt(_signum: int, _frame: FrameType | None) -> NoReturn:
        daemon.send_signal(signal.SIGTERM)  # here, so that it is told whatever a second Ctrl-C interrupts
        raise KeyboardInterrupt

    previous = {signum: signal.signal(signum, interrupt) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        _show(settings, daemon, started_at)
        return daemon.wait()
    except BaseException as exc:
        _stop(daemon)
        if not isinstance(exc, KeyboardInterrupt):
            raise
        return STOPPED_BY_CTRL_C
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _show(settings: Settings, daemon: subprocess.Popen[bytes], started_at: float) -> None:
    """Show the live status on a terminal, or one line per event elsewhere, until the daemon ends."""
    from cbi_queue.cli.status_view import follow_in_lines, show_until

    def is_over(_status: QueueStatus) -> bool:
        return daemon.poll() is not None

    if sys.stdout.isatty():
        show_until(settings, is_over)
    else:
        follow_in_lines(settings, is_over, since=started_at)


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    """Wait until the daemon has ended; a second Ctrl-C leaves it to end by itself."""
    daemon.send_signal(signal.SIGTERM)
    try:
        click.echo("\nStopping: the running job writes its checkpoint …")
        daemon.wait(STOP_S)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
    except KeyboardInterrupt:
        click.echo(f"Not waiting: the daemon (pid {daemon.pid}) ends by itself once the checkpoint is written.")
        return
    click.echo("Stopped. `cbi-queue worker --until-empty` continues the queue.")


@contextlib.contextmanager
def _page(settings: Settings) -> Iterator[None]:
    server = subprocess.Popen(
        [sys.executable, "-P", "-m", "cbi_queue.cli", "serve"],
        process_group=0,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    answers = _answers(settings, server)
    click.echo(
        f"Status page: {settings.page_url}"
        if answers
        else "The status page did not start; training continues without it."
    )
    try:
        yield
    finally:
        server.terminate()
        server.wait()


def _answers(settings: Settings, server: subprocess.Popen[bytes]) -> bool:
    """Wait until the page answers; return False if its process ended instead, which then printed why."""
    deadline = clock.monotonic_s() + PAGE_S
    while server.poll() is None and clock.monotonic_s() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((settings.host, settings.port), timeout=0.2):
            return server.poll() is None
        time.sleep(0.1)
    return False
