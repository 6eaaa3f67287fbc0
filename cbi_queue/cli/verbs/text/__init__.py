"""`cbi-queue text`: headlines, the model that scores them, and the hand-over for fine-tuning."""

from __future__ import annotations

import click

from cbi_queue.cli.arguments import VerbGroup, examples
from cbi_queue.cli.verbs.text.evaluating import evaluate
from cbi_queue.cli.verbs.text.exporting import export_training
from cbi_queue.cli.verbs.text.fetching import fetch_weights
from cbi_queue.cli.verbs.text.importing import import_headlines
from cbi_queue.cli.verbs.text.show import show
from cbi_queue.cli.verbs.text.use import use


@click.group(
    cls=VerbGroup,
    epilog=examples(
        "text import news.csv --dataset zl --zone UTC", "text use ~/models/finbert --dataset zl", "text show"
    ),
)
def command() -> None:
    """Bring headlines in, choose the model that scores them, hand them over for fine-tuning."""


for verb in (import_headlines, fetch_weights, use, show, export_training, evaluate):
    command.add_command(verb)
