"""`cbi-queue governor`: a group of verbs, each a file of its own."""

from __future__ import annotations

import click

from cbi_queue.cli.verbs.governor import baselines, history, relearn, replay, status, why


@click.group(
    epilog="Examples:\n\n\b\n"
    "  cbi-queue governor status\n"
    "  cbi-queue governor why lstm-1m\n"
    "  cbi-queue governor relearn lstm\n\n"
    "More: docs/governor.md"
)
def command() -> None:
    """Look at what the governor sees, does and has learned; let it learn anew."""


for verb in (status, history, why, baselines, relearn, replay):
    command.add_command(verb.command, verb.__name__.rpartition(".")[2])
