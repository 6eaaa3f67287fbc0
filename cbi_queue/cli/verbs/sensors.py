"""`cbi-queue sensors show|record`: what the sensors of this machine say, and a trace of it for others to replay."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict

import click

from cbi_queue.cli.output import DurationType, json_option, print_json, print_table
from cbi_queue.views.sensors import read_sensors, sensors_command
from cbi_queue.wording import UNKNOWN, duration

_pid = click.option("--pid", type=click.IntRange(min=1), help="Look at this process as if it were the trainer.")


@click.group(
    epilog="Examples:\n\n\b\n"
    "  cbi-queue sensors show\n"
    "  cbi-queue sensors record trace.jsonl --for 10m\n\n"
    "More: docs/sensors.md"
)
def command() -> None:
    """Look at heat, memory, processors, GPU, power and sleep as the daemon does."""


@command.command(epilog="Examples:\n\n\b\n  cbi-queue sensors show\n  cbi-queue sensors show --pid 4711 --json")
@_pid
@json_option
def show(pid: int | None, as_json: bool) -> None:
    """Ask every sensor once: its value, age, source and trust. Takes a second or two."""
    rows = read_sensors(pid)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    cells = [(row.kind, row.source, row.trust or UNKNOWN, duration(row.age_s), row.words) for row in rows]
    print_table("", ("kind", "source", "trust", ">age", "value"), cells)


@command.command(
    epilog="Examples:\n\n\b\n"
    "  cbi-queue sensors record trace.jsonl            until Ctrl-C\n"
    "  cbi-queue sensors record trace.jsonl --for 10m --pid 4711"
)
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--for", "seconds", type=DurationType(), help="How long, as 90s, 10m or 2h. Default: until Ctrl-C.")
@_pid
def record(file: str, seconds: float | None, pid: int | None) -> None:
    """Record what the sensors say to a new FILE, one line a sample, for CBI_SENSORS_SCRIPT to replay.

    The file names the kind of machine; it holds no host name, user, path or name of a process.
    """
    length = [] if seconds is None else ["--seconds", str(seconds)]
    tree = [] if pid is None else ["--pid", str(pid)]
    sys.stdout.flush()
    os.execv(sys.executable, sensors_command("record", *length, *tree, "--", file))  # noqa: S606 - it takes this process over: its own Ctrl-C
