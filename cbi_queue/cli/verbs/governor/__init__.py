"""`cbi-queue governor`: a group of verbs, one file each."""

from __future__ import annotations

import click

from cbi_queue.cli.arguments import VerbGroup, examples
from cbi_queue.cli.verbs.governor import baselines, history, relearn, replay, status, why


@click.group(
    cls=VerbGroup,
    epilog=examples("governor status", "governor why lstm-1m", "governor relearn lstm", more="See docs/governor.md."),
)
def command() -> None:
    """Show what the governor measures, decides and has learned; reset what it has learned."""


for verb in (status, history, why, baselines, relearn, replay):
    command.add_command(verb.command, verb.__name__.rpartition(".")[2])
