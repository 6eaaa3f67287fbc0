"""`cbi-queue text export-training`: headlines with the price changes after them, for fine-tuning elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.output import print_json, printable
from cbi_queue.cli.verbs.data.options import dataset_option, existing
from cbi_queue.datasets.place import export_path, of_dataset
from cbi_queue.errors import Refused
from cbi_queue.models.kinds import HORIZON_DAYS, HORIZONS

LONGEST_S = 3600.0


@click.command(
    name="export-training",
    epilog=examples(
        "text export-training --dataset zl --horizon 1w --out training.csv",
        more="Exit codes: 0 written, 2 refused; nothing was changed.",
    ),
)
@dataset_option
@click.option(
    "--horizon", type=click.Choice(HORIZONS), default="1w", show_default=True, help="The price change's length."
)
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The CSV file to write.")
@click.option("--force", is_flag=True, help="Replace FILE when it is there.")
@json_option
def export_training(dataset: str, horizon: str, out: Path, force: bool, as_json: bool) -> None:
    """Write headlines with the price changes after them to a CSV file, to fine-tune FinBERT on another machine.

    The last fifth of the days with headlines is held out, and the days before it whose price change would reach into
    it are left out too. `text evaluate` judges what comes back on the held-out days.
    """
    from cbi_queue.datasets.trainers_python import ask

    settings, folder = existing(dataset)
    if out.exists() and not force:
        raise Refused(
            f"{out} is there already; nothing was written", hint="name another file, or replace it with --force"
        )
    request = {
        "action": "export",
        "exports_dir": str(folder),
        "processed_dir": str(of_dataset(settings.processed_dir, dataset)),
        "export": str(export_path(folder, horizon)),
        "horizon": horizon,
        "out": str(out.absolute()),
    }
    python = settings.interpreter_for("native")
    answer = ask(python, "jobs.fine_tuning", request, longest_s=LONGEST_S, attempt="export the headlines for training")
    if as_json:
        print_json({"dataset": dataset, **answer})
        return
    click.echo(printable(f"Wrote {out}: {answer['training_rows']:,} headlines up to {answer['training_to']}"))
    counts = ", ".join(f"{count:,} {label}" for label, count in answer["labels"].items())
    click.echo(f"labels        {counts}")
    click.echo(
        f"positive      the price rose more than {answer['upper']:+.2%} in {HORIZON_DAYS[horizon]} trading days "
        "(log); negative: less "
        f"than {answer['lower']:+.2%}"
    )
    click.echo(
        f"held out      {answer['held_out_rows']:,} headlines from {answer['held_out_from']} on; they are not in "
        "the file"
    )
    click.echo("Next: fine-tune on a machine with a GPU, bring the folder back, `cbi-queue text evaluate FOLDER`.")
