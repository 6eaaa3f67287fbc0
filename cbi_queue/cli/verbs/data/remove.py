"""`cbi-queue data remove`: delete a data set that no job is going to read."""

from __future__ import annotations

import shutil

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.output import print_json
from cbi_queue.cli.verbs.data.options import dataset_option, existing, jobs_of
from cbi_queue.datasets.place import DEFAULT, DESCRIPTION_NAME
from cbi_queue.errors import Refused


@click.command(epilog=examples("data remove --dataset zl", "data remove --dataset zl --yes"))
@dataset_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def remove(dataset: str, yes: bool, as_json: bool) -> None:
    """Delete a data set's exports and feature caches; refused while a job that has not ended reads it.

    Trained models, and their rows in the leaderboard, stay. Exit codes: 0 done, 2 refused.
    """
    settings, folder = existing(dataset)
    if dataset == DEFAULT:
        raise Refused(
            f"the default data set is not removed as a whole: {folder} may hold your own exports",
            hint=f"delete single files there; {DESCRIPTION_NAME} holds its choices",
        )
    live = [job for job in jobs_of(settings, dataset) if not job.state.is_final]
    if live:
        names = ", ".join(job.name for job in live[:5]) + (f" and {len(live) - 5} more" if len(live) > 5 else "")
        raise Refused(
            f"cannot remove the data set {dataset}: jobs that have not ended read it: {names}",
            hint="wait for them, or cancel them with `cbi-queue cancel NAME`",
        )
    room = folder.parent
    if not yes and not as_json:
        click.confirm(f"Delete {room} with everything in it?", abort=True)
    shutil.rmtree(room)
    if as_json:
        print_json({"removed": dataset, "folder": str(room)})
    else:
        click.echo(f"Removed the data set {dataset}.")
