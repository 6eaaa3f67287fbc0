"""`cbi-queue text import FILE...`: read headlines with their publication times into a data set."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.output import print_json, printable
from cbi_queue.cli.verbs.data.options import dataset_option, existing
from cbi_queue.datasets.place import DEFAULT
from cbi_queue.errors import Refused

if TYPE_CHECKING:
    from cbi_queue.datasets.headlines import Headlines

LONGEST_S = 3600.0


@click.command(
    name="import",
    epilog=examples(
        "text import news.csv --dataset zl --zone America/New_York",
        "text import news.parquet --dataset zl --published time --text title --close 14:30 --close-zone "
        "America/New_York",
        "text import today.csv --dataset zl --add",
        more="Exit codes: 0 imported (or, with --dry-run, could be), 2 refused; nothing was changed.",
    ),
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@dataset_option
@click.option("--published", metavar="COLUMN", help="Column of the publication times; found by its name otherwise.")
@click.option("--text", metavar="COLUMN", help="Column of the headlines; found by its name otherwise.")
@click.option("--zone", metavar="ZONE", help="Zone of times that carry none, such as UTC or America/New_York.")
@click.option(
    "--time-format", metavar="FORM", help="Form of the times, as strptime knows it, when it is not ISO or RFC 2822."
)
@click.option("--close", metavar="HH:MM", help="Close of the trading day; a later headline belongs to the next one.")
@click.option("--close-zone", metavar="ZONE", help="Zone of the close.")
@click.option("--add", is_flag=True, help="Add to the headlines that are there, instead of replacing them.")
@click.option("--dry-run", is_flag=True, help="Say what would be imported, and change nothing.")
@click.option("--yes", is_flag=True, expose_value=False, help="As in `data import`; this verb never asks.")
@json_option
def import_headlines(
    files: tuple[Path, ...],
    dataset: str,
    published: str | None,
    text: str | None,
    zone: str | None,
    time_format: str | None,
    close: str | None,
    close_zone: str | None,
    add: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Read headlines from CSV or Parquet files into a data set that has prices.

    A headline published after the close belongs to the next trading day. Without --close that is 13:20 in Chicago, when
    soybean oil closes. An import again replaces the headlines, or adds to them with --add; the choices stay.
    """
    from cbi_queue.artifacts import PART, atomic_file, tidy
    from cbi_queue.datasets.description import checked_description, read_description, write_description
    from cbi_queue.datasets.headlines import FILE, is_zone
    from cbi_queue.datasets.trainers_python import ask

    if zone is not None and not is_zone(zone):
        raise click.UsageError(f"--zone: {zone!r} is no time zone; allowed are names such as UTC or America/New_York")
    settings, folder = existing(dataset)
    description = read_description(folder)
    tidy(folder)
    work = Path(tempfile.mkdtemp(PART, ".text-", folder))
    try:
        request = {
            "files": [str(file.absolute()) for file in files],
            "work": str(work),
            "threads": settings.threads,
            "published": published,
            "text": text,
            "zone": zone,
            "time_format": time_format,
            "add": str(folder / FILE) if add else None,
        }
        python = settings.interpreter_for("native")
        answer = ask(python, "jobs.importing.headlines", request, longest_s=LONGEST_S, attempt="import the headlines")
        before = description.headlines.model_dump(exclude_defaults=True) if description.headlines else {}
        typed = {key: value for key, value in (("close", close), ("close_zone", close_zone)) if value is not None}
        body = description.model_dump(mode="json", exclude_defaults=True)
        body["headlines"] = {**before, **typed, "sha256": answer["sha256"]}
        changed = checked_description(body, "cannot choose")
        if changed.headlines is None:  # pragma: no cover - it was just put there
            raise Refused("the headlines were lost on the way")
        if not dry_run:
            with atomic_file(folder / FILE) as part:
                Path(answer["staged"]).replace(part)
            write_description(folder, changed)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    answer |= {"dataset": dataset, "imported": not dry_run, "choices": changed.headlines.reading()}
    answer.pop("staged")
    if as_json:
        print_json(answer)
    else:
        _print(answer, changed.headlines, dataset, had_close=bool(typed) or "close" in before)


def _print(answer: dict[str, Any], chosen: Headlines, dataset: str, *, had_close: bool) -> None:
    option = "" if dataset == DEFAULT else f" --dataset {dataset}"
    click.echo(printable(f"Headlines of {dataset}: {answer['headlines']:,}, {answer['new']:,} of them new"))
    click.echo(printable(f"published    {answer['published']}: {answer['first']} to {answer['last']}"))
    click.echo(printable(f"text         {answer['text']}"))
    usual = "" if had_close else " (not chosen: the close of soybean oil)"
    click.echo(
        f"close        {chosen.close} {chosen.close_zone}{usual}; what is published later belongs to the next day"
    )
    for note in answer["notes"]:
        click.echo(printable(f"note         {note}"))
    if not answer["imported"]:
        click.echo("Nothing was changed.")
    elif chosen.model is None:
        click.echo(f"Next: `cbi-queue text use FOLDER{option}` chooses the model that scores them.")
    else:
        click.echo("Next: `cbi-queue refresh FILE` queues the jobs of a plan again, for the data as they are now.")
