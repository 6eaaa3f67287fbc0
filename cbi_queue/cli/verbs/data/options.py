"""What the verbs about data share: `--dataset`, the settings, the jobs that use a data set."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import click

from cbi_queue.datasets.place import DEFAULT, dataset_names, of_dataset
from cbi_queue.errors import CbiError, Refused
from cbi_queue.models.kinds import HORIZONS
from cbi_queue.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cbi_queue.ledger import JobRow
    from cbi_queue.settings import Settings

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}\Z")


def _check_name(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not _NAME.match(value) or ".." in value:
        raise click.BadParameter(
            f"{value!r} is no name of a data set; allowed: lower-case letters, digits, dot, dash, underscore; at most 80"
        )
    return value


def complete_datasets(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of the data sets that begin with *incomplete*."""
    try:
        return [name for name in dataset_names(load_settings().exports_dir) if name.startswith(incomplete)]
    except CbiError:
        return []


def dataset_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--dataset`, passed as `dataset`."""
    option = click.option(
        "--dataset", default=DEFAULT, show_default=True, metavar="NAME", callback=_check_name, help="Which data set.",
        shell_complete=complete_datasets,
    )  # fmt: skip
    return option(function)


def horizons_of(written: str | None) -> tuple[str, ...]:
    """Return the horizons of a list as typed, such as `1w,1m`; none for None.

    Raises:
        click.UsageError: when one is not allowed, or the list names none.
    """
    found = tuple(part.strip() for part in (written or "").split(",") if part.strip())
    if unknown := [part for part in found if part not in HORIZONS]:
        raise click.UsageError(f"--horizons: {unknown[0]!r} is not allowed; allowed: {', '.join(HORIZONS)}")
    if written is not None and not found:
        raise click.UsageError(f"--horizons: {written!r} names none; allowed: {', '.join(HORIZONS)}, as in 1w,1m")
    return tuple(dict.fromkeys(found))


def settled() -> Settings:
    """Return the settings, once the imports that were killed are finished or gone."""
    from cbi_queue.datasets.importing import finish_interrupted

    settings = load_settings()
    finish_interrupted(settings)
    return settings


def existing(dataset: str) -> tuple[Settings, Path]:
    """Return the settings and the folder of the exports of *dataset*.

    Raises:
        Refused: when there is no such data set.
    """
    settings = settled()
    folder = of_dataset(settings.exports_dir, dataset)
    if not folder.is_dir():
        names = ", ".join(names_of(settings)) or "none"
        raise Refused(
            f"there is no data set {dataset!r}; there are: {names}",
            hint=f"`cbi-queue data import FILE --dataset {dataset}` makes one",
        )
    return settings, folder


def names_of(settings: Settings) -> list[str]:
    """Return the name of every data set that has a folder."""
    return dataset_names(settings.exports_dir)


def jobs_of(settings: Settings, dataset: str) -> list[JobRow]:
    """Return every job of the ledger that reads *dataset*."""
    from cbi_queue.cli.ledger_access import existing_ledger
    from cbi_queue.ledger.queries import all_jobs
    from cbi_queue.models.kinds import Family

    with existing_ledger(settings) as ledger:
        jobs = all_jobs(ledger) if ledger else []
        return [job for job in jobs if job.dataset == dataset and job.family != Family.SCRIPT]
