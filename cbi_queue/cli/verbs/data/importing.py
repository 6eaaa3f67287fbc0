"""`cbi-queue data import FILE...`: read CSV or Parquet files into a data set."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.output import console, print_json, printable
from cbi_queue.cli.verbs.data.options import dataset_option, horizons_of
from cbi_queue.datasets.place import DEFAULT, exports_in, of_dataset
from cbi_queue.errors import Refused
from cbi_queue.regular_files import plain_words
from cbi_queue.settings import load_settings
from cbi_queue.wording import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.datasets.importing import Wanted

COLUMNS_SHOWN = 12


@click.command(
    name="import",
    epilog=examples(
        "data import zl.csv --dataset zl",
        "data import zl.csv --dataset zl --date Date --price Settle --missing-price drop --yes",
        "data import exports/part-*.parquet --horizons 1w,1m --dry-run",
        more="Exit codes: 0 imported (or, with --dry-run, could be), 2 refused; nothing was changed.",
    ),
)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@dataset_option
@click.option("--date", metavar="COLUMN", help="Column of the dates; proposed when not named.")
@click.option("--price", metavar="COLUMN", help="Column that is forecast; proposed when not named.")
@click.option("--horizons", metavar="LIST", help="Only for these, as in 1w,1m; default: one export for all.")
@click.option("--date-format", metavar="FORM", help="Form of the dates, such as MM/DD/YYYY, when it cannot be told.")
@click.option("--decimal", type=click.Choice([".", ","]), help="Decimal sign, when it cannot be told.")
@click.option("--missing-price", type=click.Choice(["refuse", "drop"]), help="What happens to days without a price.")
@click.option(
    "--label", type=click.Choice(["log_return", "difference"]), help="What is forecast; difference takes any price."
)
@click.option("--set", "choices", multiple=True, metavar="KEY=VALUE", help="A choice as in `data edit`; repeatable.")
@click.option("--replace", is_flag=True, help="Replace exports that no import wrote.")
@click.option("--dry-run", is_flag=True, help="Say what would be imported, and change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def import_files(
    files: tuple[Path, ...],
    dataset: str,
    date: str | None,
    price: str | None,
    horizons: str | None,
    date_format: str | None,
    decimal: str | None,
    missing_price: str | None,
    label: str | None,
    choices: tuple[str, ...],
    replace: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Read CSV or Parquet files, or folders of them, or zip archives of CSV files, into a data set.

    Separator, decimal sign, form of the dates, and the columns of date and price are found, shown, and asked about before
    anything is written. Text columns are left out. An import again replaces the data set's data; its choices stay.
    """
    from cbi_queue.datasets.choices import with_choices
    from cbi_queue.datasets.description import read_description
    from cbi_queue.datasets.importing import Wanted, commit, finish_interrupted, refuse_foreign, staged

    wanted_horizons = horizons_of(horizons)
    for file in files:
        _refuse_missing(file)
    settings = load_settings()
    settings.make_layout()
    finish_interrupted(settings)
    exports_dir = of_dataset(settings.exports_dir, dataset)
    wanted = Wanted(
        files=files,
        exports_dir=exports_dir,
        horizons=wanted_horizons,
        date=date,
        price=price,
        date_format=date_format,
        decimal=decimal,
    )
    named = {"missing_price": missing_price, "label": label}
    typed = [*choices, *(f"{key}={value}" for key, value in named.items() if value)]
    had_data = bool(exports_in(exports_dir))
    shadows = refuse_foreign(wanted, replace=replace)
    description = with_choices(read_description(exports_dir), typed)
    with staged(settings, wanted, description) as answer:
        faults, answer["imported"], answer["replaced"] = answer.get("faults") or [], False, False
        answer["label"] = description.label
        if not as_json:
            _print(answer, dataset, files)
        if not faults and not dry_run and (yes or as_json or _agreed()):
            commit(settings, wanted, answer, description, shadows)
            answer["imported"], answer["replaced"] = True, had_data
    _conclude(wanted, answer, dataset, as_json=as_json, dry_run=dry_run)


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("nothing was imported: this is no terminal to ask on; write --yes, or --dry-run")
    return click.confirm("Import this?", default=True)


def _refuse_missing(file: Path) -> None:
    """Name the file that was typed before any fault of the data set."""
    try:
        file.stat()
    except FileNotFoundError:
        hint = "write the path of a CSV or Parquet file, or of a folder of them"
        raise Refused(f"nothing was imported: {file} does not exist", hint=hint) from None
    except OSError as exc:
        raise Refused(f"nothing was imported: {plain_words(exc, file)}") from exc


def _print(answer: dict[str, Any], dataset: str, given: Sequence[Path]) -> None:
    click.secho(f"Data set {dataset}, from {counted(len(answer.get('files', given)), 'file')}", bold=True)
    lines = []
    if "date" in answer:
        lines += [_column_line("date", answer, answer.get("date_format")), _column_line("price", answer, None)]
        lines += ["label           difference: of the price, in its unit"] if answer["label"] == "difference" else []
        lines.append(f"other columns   {_some(list(answer['columns'].values()))}")
    if answer.get("decimal") == ",":
        lines.append("numbers         decimal comma")
    lines += [f"left out        {printable(name)}: {why}" for name, why in answer.get("left_out", {}).items()]
    if answer.get("rows") is not None:
        lines.append(f"rows            {answer['rows']:,}, {answer['first_day']} to {answer['last_day']}")
    if "features" in answer:
        lines.append(
            f"features        {answer['features']:,}, about {max(1, answer['memory_mib']):,.0f} MiB in a model"
        )
    lines += [f"note            {note}" for note in [*answer.get("notes", ()), *answer.get("warnings", ())]]
    width = console().width
    for line in lines:
        click.echo(_filled(line, width))
    for fault in answer.get("faults") or []:
        click.secho(_filled(f"wrong           {fault}", width), fg="red")


def _filled(line: str, width: int) -> str:
    indent = " " * len("wrong           ")
    return textwrap.fill(
        printable(line), width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _column_line(what: str, answer: dict[str, Any], form: str | None) -> str:
    proposed = " (proposed)" if what in answer["proposed"] else ""
    return f"{what:<15} {answer[what]}{f', as {form}' if form else ''}{proposed}"


def _some(names: list[str]) -> str:
    if not names:
        return "none"
    return ", ".join(names[:COLUMNS_SHOWN]) + (
        f" and {len(names) - COLUMNS_SHOWN} more" if len(names) > COLUMNS_SHOWN else ""
    )


def _conclude(wanted: Wanted, answer: dict[str, Any], dataset: str, *, as_json: bool, dry_run: bool) -> None:
    from cbi_queue.models.kinds import HORIZON_DAYS
    from cbi_queue.models.parameters.neural import FeedForwardParams

    faults = answer.get("faults") or []
    if as_json:
        answer.pop("staged", None)
        print_json({"dataset": dataset, **answer, "targets": [str(path) for path in wanted.targets]})
    elif faults:
        click.echo("Nothing was imported.", err=True)
    elif answer["imported"]:
        click.echo(f"Imported: {', '.join(str(path) for path in wanted.targets)}")
        click.echo(
            "Next: `cbi-queue refresh FILE` queues the models of a plan again, for the data as they are now."
            if answer["replaced"]
            else f"Next: `cbi-queue plan new{_option(dataset)} > {dataset}.yaml` writes a plan that trains on it."
        )
        if answer["rows"] < FeedForwardParams(scheme="walk_forward").rows_needed(HORIZON_DAYS["1m"]):
            click.echo("So few rows need a shorter `evaluation` than it has: `cbi-queue plan check` says which.")
    else:
        click.echo("Nothing was changed." if dry_run else "Nothing was imported.")
    sys.exit(2 if faults else 0)


def _option(dataset: str) -> str:
    return "" if dataset == DEFAULT else f" --dataset {dataset}"
