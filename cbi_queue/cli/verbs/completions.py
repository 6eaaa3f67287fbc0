"""`cbi-queue completions SHELL`: the script that makes the shell complete verbs, options and job names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from cbi_queue.cli.arguments import examples


@click.command(epilog=examples("completions bash >> ~/.bashrc", 'completions zsh > "${fpath[1]}/_cbi-queue"'))
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes verbs, options and job names in SHELL."""
    kind = get_completion_class(shell)
    root = ctx.find_root().command
    if kind is None:
        ctx.fail(f"there are no completions for {shell!r}; allowed: bash, zsh, fish")
    source = kind(root, {}, "cbi-queue", "_CBI_QUEUE_COMPLETE").source()
    click.echo(source.replace('string split ","', 'string split --max 1 ","'))  # fish: a comma in the help is text
