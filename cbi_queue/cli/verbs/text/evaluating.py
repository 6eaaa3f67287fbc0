"""`cbi-queue text evaluate FOLDER`: judge a fine-tuned model on the headlines that it has not seen."""

from __future__ import annotations

from typing import Any

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.output import print_json, printable
from cbi_queue.cli.verbs.data.options import dataset_option, existing
from cbi_queue.datasets.place import export_path, of_dataset

LONGEST_S = 4 * 3600.0


@click.command(
    epilog=examples(
        "text evaluate ~/models/finbert-tuned --dataset zl",
        more="Exit codes: 0 evaluated, whatever the verdict; 2 refused.",
    )
)
@click.argument("model", metavar="FOLDER")
@dataset_option
@json_option
def evaluate(model: str, dataset: str, as_json: bool) -> None:
    """Compare a fine-tuned model with the one in use and with the most frequent label, on the held-out days.

    It scores the held-out headlines on this machine, at low priority, outside the queue. `text use FOLDER` chooses
    the model afterwards; nothing chooses it by itself.
    """
    import json

    from cbi_queue.artifacts import write_json
    from cbi_queue.datasets.headlines import EVALUATIONS
    from cbi_queue.datasets.trainers_python import ask
    from cbi_queue.regular_files import read_whole
    from cbi_queue.text_model import check_model, find_model

    settings, folder = existing(dataset)
    found = check_model(find_model(model))
    processed = of_dataset(settings.processed_dir, dataset)
    request: dict[str, Any] = {
        "action": "evaluate",
        "exports_dir": str(folder),
        "processed_dir": str(processed),
        "exports": {horizon: str(export_path(folder, horizon)) for horizon in ("1w", "1m", "3m", "6m", "12m")},
        "folder": str(found.folder),
        "threads": settings.threads,
    }
    python = settings.interpreter_for("torch")
    answer = ask(python, "jobs.fine_tuning", request, longest_s=LONGEST_S, attempt="evaluate the model")
    try:
        known = json.loads(read_whole(processed / EVALUATIONS))
        known = known if isinstance(known, dict) else {}
    except (OSError, ValueError, RecursionError):
        known = {}
    write_json(processed / EVALUATIONS, {**known, answer["sha256"]: answer})
    if as_json:
        print_json({"dataset": dataset, **answer})
        return
    click.echo(printable(f"Model {found.folder}, {answer['sha256'][:8]}"))
    click.echo(
        f"held out      {answer['headlines']:,} headlines on {answer['days']:,} days, from {answer['held_out_from']} on"
    )
    click.echo(
        f"accuracy      {answer['accuracy']:.1%}; most frequent label ({answer['majority']}) "
        f"{answer['majority_accuracy']:.1%}"
    )
    click.echo(f"              model in use {answer['stock_accuracy']:.1%}")
    for words, key in (("over the most frequent label", "over_majority"), ("over the model in use", "over_stock")):
        low, high = answer[key]["interval"] or (None, None)
        span = f"95 % interval {low:+.1%} to {high:+.1%}" if low is not None else "too few days for an interval"
        click.echo(f"lead          {answer[key]['lead']:+.1%} {words}, {span}")
    click.echo(answer["verdict"])
