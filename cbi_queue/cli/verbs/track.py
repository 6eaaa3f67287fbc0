"""`cbi-queue track`: finished runs in MLflow's store, and as TensorBoard's event files."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.ledger_access import readonly_ledger
from cbi_queue.cli.output import print_json, printable
from cbi_queue.errors import CbiError
from cbi_queue.regular_files import plain_words
from cbi_queue.settings import load_settings
from cbi_queue.wording import counted

if TYPE_CHECKING:
    from cbi_queue.settings import Settings


@click.command(
    epilog=examples(
        "track",
        "track --all",
        "track --tensorboard ~/tensorboard",
        "track --json",
        more="Exit codes: 0 every run is there, 1 some could not be written.",
    )
)
@click.option("--all", "everything", is_flag=True, help="Write runs again that are in the store, too.")
@click.option(
    "--tensorboard",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write TensorBoard's event files below FOLDER instead, one for each run.",
)
@json_option
def command(everything: bool, tensorboard: Path | None, as_json: bool) -> None:
    """Write finished runs to MLflow's store, those that it does not have yet, and print how to look at them.

    A running daemon does it by itself (setting `tracking`). Runs that were vetoed, failed or cancelled are written with
    their state. A run is never there twice; one that you deleted in MLflow does not come back.
    """
    with readonly_ledger():
        pass  # the ledger's own words come first
    settings = load_settings()
    if tensorboard is not None:
        if everything:
            raise click.UsageError("--all is for MLflow's store; for --tensorboard name an empty FOLDER")
        _event_files(settings, tensorboard, as_json=as_json)
        return
    from cbi_queue.tracking.reading import look_command, store_dir, uri_of
    from cbi_queue.tracking.tracker import track

    shows = not as_json and sys.stderr.isatty()
    done = track(settings, everything=everything, on_run=_show if shows else None)
    if shows and done.written:
        click.echo(err=True)
    look = look_command(settings, _beside("mlflow"))
    if as_json:
        print_json({"written": done.written, "in_store_before": done.in_store, "uri": uri_of(settings), "look": look})
        return
    click.echo(
        printable(f"{counted(done.written, 'run')} written to {store_dir(settings)}, {done.in_store} were there.")
    )
    click.echo(f"Look at them: {printable(look)}")
    click.echo('Choose "Model training" at the top left there: MLflow opens with its view for traces, which is empty.')


def _show(number: int, total: int) -> None:
    click.echo(f"\rWriting run {number} of {total}", nl=False, err=True)


def _event_files(settings: Settings, folder: Path, *, as_json: bool) -> None:
    from cbi_queue.tracking.event_files import write_event_file
    from cbi_queue.tracking.tracker import records

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise CbiError(f"cannot make the folder {plain_words(exc, folder)}", hint="name a folder of your own") from exc
    written = sum(write_event_file(folder, record) for record in records(settings))
    look = f"{shlex.quote(_beside('tensorboard'))} --logdir {shlex.quote(str(folder.resolve()))}"
    if as_json:
        print_json({"written": written, "folder": str(folder.resolve()), "look": look})
        return
    click.echo(printable(f"{counted(written, 'event file')} written below {folder}; files that were there stay."))
    click.echo(f"Look at them: {printable(look)}")


def _beside(program: str) -> str:
    """Return the program of this Python, so that the command works wherever it is typed."""
    path = Path(sys.executable).with_name(program)
    return str(path) if path.exists() else program
