"""`cbi-queue worker`: the daemon in this terminal."""

from __future__ import annotations

import os
import signal
import sys

import click

from cbi_queue.cli.arguments import examples


@click.command(epilog=examples("worker", "worker --until-empty"))
@click.option("--until-empty", is_flag=True, help="End when nothing is left to train.")
def command(until_empty: bool) -> None:
    """Run the daemon in this terminal.

    Ctrl-C checkpoints the running job and queues it again; a second one does not wait for that. Exit codes: 0 done,
    1 a job failed or cannot run (with --until-empty), 75 another daemon holds the slot, 130 stopped by Ctrl-C.
    """
    arguments = [sys.executable, "-P", "-m", "workers"] + (["--until-empty"] if until_empty else [])
    sys.stdout.flush()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until the daemon can handle it
    os.execv(sys.executable, arguments)  # noqa: S606 - the daemon takes this process over: one pid, its own signals
