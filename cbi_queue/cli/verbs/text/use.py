"""`cbi-queue text use MODEL`: check weights and choose them for the headlines of a data set."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.output import print_json, printable
from cbi_queue.cli.verbs.data.options import dataset_option, existing
from cbi_queue.datasets.place import of_dataset
from cbi_queue.errors import Refused
from cbi_queue.text_model import STOCK

if TYPE_CHECKING:
    from pathlib import Path


@click.command(
    epilog=examples(
        "text use --dataset zl                     ProsusAI/finbert from the hub's cache",
        "text use ~/models/finbert --dataset zl",
        "text use ~/models/finbert-tuned --dataset zl",
        more="Exit codes: 0 chosen, 2 refused; nothing was changed.",
    )
)
@click.argument("model", default=STOCK, metavar="[FOLDER]")
@dataset_option
@click.option("--not-evaluated", is_flag=True, help="Replace a model by one that `text evaluate` has not seen.")
@json_option
def use(model: str, dataset: str, not_evaluated: bool, as_json: bool) -> None:
    """Check a folder with weights and choose it for the headlines of a data set; nothing is downloaded.

    Without FOLDER, ProsusAI/finbert is looked for in the hub's cache on this disk. A model that replaces another one
    must have been through `text evaluate`; what it found is shown again.
    """
    from cbi_queue.datasets.description import read_description, write_description
    from cbi_queue.datasets.headlines import EVALUATIONS
    from cbi_queue.text_model import check_model, find_model

    settings, folder = existing(dataset)
    description = read_description(folder)
    if description.headlines is None:
        raise Refused(
            f"the data set {dataset} has no headlines to use a model for",
            hint="`cbi-queue text import FILE` brings them in",
        )
    found = check_model(find_model(model))
    sha256, before = found.sha256(), description.headlines.model_sha256
    evaluation = evaluation_of(of_dataset(settings.processed_dir, dataset) / EVALUATIONS, sha256)
    if before not in {None, sha256} and evaluation is None and not not_evaluated:
        raise Refused(
            f"the model in {found.folder} would replace another one and has not been evaluated; nothing was changed",
            hint=f"`cbi-queue text evaluate {model} --dataset {dataset}`, or --not-evaluated",
        )
    chosen = description.headlines.model_copy(update={"model": str(found.folder), "model_sha256": sha256})
    write_description(folder, description.model_copy(update={"headlines": chosen}))
    body: dict[str, Any] = {
        "dataset": dataset,
        "folder": str(found.folder),
        "sha256": sha256,
        "labels": list(found.labels),
    }
    body |= {"replaced": before not in {None, sha256}, "evaluation": evaluation}
    if as_json:
        print_json(body)
        return
    click.echo(printable(f"The headlines of {dataset} are scored by {found.folder}, {sha256[:8]}"))
    click.echo(printable(f"labels {', '.join(found.labels)}; reads at most {found.max_length} tokens"))
    if evaluation is not None:
        click.echo(printable(evaluation["verdict"]))
    if before not in {None, sha256}:
        click.echo("Every headline is scored again by the next finbert job, and features built on it are stale.")


def evaluation_of(path: Path, sha256: str) -> dict[str, Any] | None:
    """Return what `text evaluate` found about these weights; None when it has not seen them."""
    from cbi_queue.regular_files import read_whole

    try:
        found = json.loads(read_whole(path)).get(sha256)
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("verdict"), str) else None
