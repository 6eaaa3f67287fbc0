"""`cbi-queue completions SHELL`: print the script that makes the shell complete verbs, options and job names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class


@click.command(
    epilog='Examples:\n\n\b\n  cbi-queue completions bash >> ~/.bashrc\n  cbi-queue completions zsh > "${fpath[1]}/_cbi-queue"'
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print shell completions for SHELL."""
    kind = get_completion_class(shell)
    root = ctx.find_root().command
    if kind is None:
        ctx.fail(f"no completions for {shell!r}; allowed: bash, zsh, fish")
    click.echo(kind(root, {}, "cbi-queue", "_CBI_QUEUE_COMPLETE").source())
