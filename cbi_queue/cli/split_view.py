"""`cbi-queue plan show --splits` for people: the blocks of each split with their dates, then the fits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cbi_queue.cli.output import print_table, printable
from cbi_queue.datasets.place import DEFAULT
from cbi_queue.wording import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cbi_queue.views.split_plan import Fits, SplitPlan

_BLOCKS = ("block", ">gap before", ">rows", "first", "last", "labels until")
_WINDOWS = (">fit", ">learns", "until", "?labels by", ">forecasts", "first", "last", "block")


def print_splits(plans: Sequence[SplitPlan]) -> None:
    """Print every split, or why there is none."""
    for number, plan in enumerate(plans):
        if number:
            click.echo()
        _print_split(plan)
    if any(fits.way == "walk_forward" for plan in plans for fits in plan.fits):
        click.echo("\nFit 1 selects how long to train; the last fit is the model that is kept.")
    if not plans:
        click.echo("No job of these plans forecasts, so nothing is split.")


def _print_split(plan: SplitPlan) -> None:
    body, where = plan.body, "" if plan.dataset == DEFAULT else f" of the data set {plan.dataset}"
    click.secho(printable(f"{plan.horizon}{where}: {_names(plan.jobs)}"), bold=True)
    if "error" in body:
        click.echo(printable(f"cannot be split: {body['error']}"))
        return
    click.echo(printable(f"{body['rows']:,} rows from {body['first']} to {body['last']}, {Path(plan.path).name}"))
    click.echo(f"Gaps: {body['purge_rows']} rows purged, because a label reaches so far, and {_embargo(body)}.")
    print_table("", _BLOCKS, [_block(block) for block in body["blocks"]])
    for fits in plan.fits:
        click.echo()
        _print_fits(fits, body)


def _embargo(body: dict[str, Any]) -> str:
    return f"{body['embargo_rows']} embargo rows" if body["embargo_rows"] else "no embargo"


def _block(block: dict[str, Any]) -> tuple[str, ...]:
    gap = f"{block['gap_rows']:,}" if block["gap_rows"] else ""
    return (block["block"], gap, f"{block['rows']:,}", block["first"], block["last"], block["labels_until"] or UNKNOWN)


def _print_fits(fits: Fits, body: dict[str, Any]) -> None:
    names = printable(_names(fits.jobs))
    if fits.way == "once":
        click.echo(f"{names}: one fit, on the training block.")
    elif fits.way == "members":
        how = (
            "combine their members' forecasts; nothing is fitted"
            if fits.refit_every_rows is None
            else f"refitted every {fits.refit_every_rows} rows, on at most {fits.history_rows:,} known forecasts of members"
        )
        click.echo(f"{names}: {how}.")
    elif fits.way == "alone":
        first = body["blocks"][1]["first"]
        click.echo(
            f"{names}: refitted every {fits.refit_every_rows} rows from {first} on, on {fits.history_rows:,} prices."
        )
    else:
        click.echo(f"{names}: refitted every {fits.refit_every_rows} rows.")
        print_table("", _WINDOWS, [_window(window) for window in body["windows"][str(fits.refit_every_rows)]])


def _window(window: dict[str, Any]) -> tuple[str, ...]:
    train, test = window["train"], window["forecasts"]
    return (
        str(window["fit"]), f"{train['rows']:,}", train["last"], train["labels_until"] or UNKNOWN,
        f"{test['rows']:,}", test["first"], test["last"], window["block"],
    )  # fmt: skip


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[1]} and {len(names) - 2} more"
