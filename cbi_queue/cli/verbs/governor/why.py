"""`cbi-queue governor why JOB`: the history of one job in sentences, or as a picture."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbi_queue.cli.arguments import examples, job_name_argument, json_option
from cbi_queue.cli.output import local_time, print_json, printable
from cbi_queue.errors import Refused
from cbi_queue.regular_files import check_file
from cbi_queue.settings import load_settings
from cbi_queue.views.snapshot import open_snapshot
from cbi_queue.views.story import history_of, story_of

if TYPE_CHECKING:
    from cbi_queue.views.story import JobHistory, Line

COLOURS = {"decision": "yellow", "slowdown": "red", "end": "cyan", "work": "bright_black", "hint": "green"}


@click.command(epilog=examples("governor why lstm-1m", "governor why 12 --json", "governor why lstm-1m --plot why.svg"))
@job_name_argument
@click.option(
    "--plot", "picture", type=click.Path(path_type=Path, dir_okay=False), help="Also draw it into this SVG file."
)
@json_option
def command(name: str, picture: Path | None, as_json: bool) -> None:
    """Show what happened to a job, and why."""
    with open_snapshot(load_settings()) as (ledger, telemetry):
        history = history_of(ledger, telemetry, name)
    if picture is not None:
        _draw(history, picture)
    lines = story_of(history)
    if as_json:
        print_json({"job": history.job.name, "id": history.job.id, "story": [asdict(line) for line in lines]})
        return
    click.secho(printable(f"Job {history.job.id} {history.job.name}"), bold=True)
    for line in lines:
        _print(line)


def _draw(history: JobHistory, picture: Path) -> None:
    from cbi_queue.views.story_plot import draw

    try:
        check_file(picture, follow=True)
        picture.write_text(draw(history), encoding="utf-8")
    except OSError as exc:
        raise Refused(
            f"cannot write the picture to {picture}: {exc.strerror}", hint="name a file that you may write"
        ) from exc


def _print(line: Line) -> None:
    click.secho(f"{local_time(line.at)}  ", nl=False)
    click.secho(printable(line.words), fg=COLOURS.get(line.kind))
    for sentence in line.evidence:
        click.echo(f"{' ' * 21}- {printable(sentence)}")
