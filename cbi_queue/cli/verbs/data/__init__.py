"""`cbi-queue data`: bring data in, look at them, choose how they are read, remove them."""

from __future__ import annotations

import click

from cbi_queue.cli.arguments import VerbGroup, examples
from cbi_queue.cli.verbs.data.check import check
from cbi_queue.cli.verbs.data.edit import edit
from cbi_queue.cli.verbs.data.importing import import_files
from cbi_queue.cli.verbs.data.listing import list_sets
from cbi_queue.cli.verbs.data.remove import remove
from cbi_queue.cli.verbs.data.sample import sample
from cbi_queue.cli.verbs.data.show import show


@click.group(cls=VerbGroup, epilog=examples("data import zl.csv --dataset zl", "data show --dataset zl", "data sample"))
def command() -> None:
    """Import your own data, look at data sets, or build sample data to train on."""


for verb in (import_files, check, show, list_sets, edit, remove, sample):
    command.add_command(verb)
