"""`cbi-queue sensors show|record`: the readings of this machine's sensors, and a trace of them to replay."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict

import click

from cbi_queue.cli.arguments import DurationType, VerbGroup, Whole, examples, json_option
from cbi_queue.cli.output import print_json, print_table
from cbi_queue.views.sensors import read_sensors, sensors_command
from cbi_queue.wording import UNKNOWN, span

_pid = click.option("--pid", type=Whole(min=1), help="Measure this process as if it were the trainer.")


@click.group(
    cls=VerbGroup, epilog=examples("sensors show", "sensors record trace.jsonl --for 10m", more="See docs/sensors.md.")
)
def command() -> None:
    """Show or record the daemon's readings of heat, memory, processors, GPU, power and sleep."""


@command.command(epilog=examples("sensors show", "sensors show --pid 4711 --json"))
@_pid
@json_option
def show(pid: int | None, as_json: bool) -> None:
    """Read every sensor once: source, trust, age and value. Takes a second or two."""
    rows = read_sensors(pid)
    if as_json:
        print_json([asdict(row) for row in rows])
        return
    cells = [(row.kind, row.source, row.trust or UNKNOWN, span(row.age_s), row.words) for row in rows]
    print_table("", ("kind", "?source", "trust", ">age", "value"), cells)


@command.command(
    epilog=examples(
        "sensors record trace.jsonl            until Ctrl-C", "sensors record trace.jsonl --for 10m --pid 4711"
    )
)
@click.argument("file", type=click.Path(dir_okay=False))
@click.option(
    "--for", "seconds", type=DurationType(), help="Stop after this time: 90s, 10m, 2h. Default: until Ctrl-C."
)
@_pid
def record(file: str, seconds: float | None, pid: int | None) -> None:
    """Record readings into a new FILE, one line per sample.

    CBI_SENSORS_SCRIPT replays the file. It names the kind of machine, but no host, user, path or process.
    """
    length = [] if seconds is None else ["--seconds", str(seconds)]
    tree = [] if pid is None else ["--pid", str(pid)]
    sys.stdout.flush()
    os.execv(sys.executable, sensors_command("record", *length, *tree, "--", file))  # noqa: S606 - it takes this process over: its own Ctrl-C
