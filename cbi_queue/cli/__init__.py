"""The command line: one verb a file, loaded only when it is called, so that `--help` and `status` stay quick."""

from __future__ import annotations

import importlib
import sys

import click
from click.shell_completion import CompletionItem

import cbi_queue
from cbi_queue.errors import CbiError
from cbi_queue.standard_streams import guarded_output

VERBS: dict[str, str] = {
    "plan": "Check, show or describe day plans; changes nothing.",
    "estimate": "Estimate the memory of every job of day plans, beside what was measured.",
    "profile": "Show the hardware profiles, and which one suits this machine.",
    "data": "Build the sample exports from real daily series.",
    "enqueue": "Put the jobs of day plans into the queue.",
    "run": "Enqueue plans and train until the queue is empty, with a live display.",
    "worker": "Run the daemon in this terminal.",
    "status": "Show the slot, the queue, the holds and the budget.",
    "list": "List jobs.",
    "show": "Show one job: its spec, attempts and events.",
    "logs": "Print or follow a job's training log.",
    "budget": "Show progress against the week's budget of models.",
    "leaderboard": "Rank the trained models of each horizon against the naive bars.",
    "pause": "Close the slot: stand still, drain or evict.",
    "resume": "Open the slot again.",
    "cancel": "Call jobs off; a running trainer is ended with its children.",
    "hold": "Keep queued jobs back.",
    "release": "Let held jobs go on.",
    "retry": "Queue ended jobs again.",
    "priority": "Change the priority of queued jobs.",
    "edit": "Change a queued job's parameters, retries or timeout.",
    "wait": "Wait until jobs, or the whole queue, have ended.",
    "serve": "Serve the status page and the API.",
    "service": "Install, remove or look at the background service.",
    "sensors": "Show what the sensors say, or record it as a trace.",
    "governor": "Show what the governor sees, did and learned; let it learn anew.",
    "runtime": "Make and check the Python of a backend such as TensorFlow.",
    "doctor": "Check this machine and installation.",
    "restore": "List the backups of the ledger, or put one in its place.",
    "completions": "Print shell completions.",
}
"""Verb -> one line of help. Each verb is a module of `verbs` that holds one click command named `command`."""


class LazyVerbs(click.Group):
    """A group whose verbs are imported when called; their one-line help needs no import."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Name every verb, in the order of a working day."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Import the verb's module and return its command."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"cbi_queue.cli.verbs.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """Write the table of verbs from VERBS, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def shell_complete(self, _ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the verbs with their one line of help, without importing any of them."""
        return [CompletionItem(name, help=words) for name, words in VERBS.items() if name.startswith(incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; suggest the nearest one for a misspelling."""
        import difflib

        if args and args[0] not in VERBS and (near := difflib.get_close_matches(args[0], VERBS, n=1)):
            ctx.fail(f"no such command {args[0]!r}; did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyVerbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 done, 1 a job or command failed, 2 refused input, 75 the slot is taken.",
)
@click.version_option(cbi_queue.__version__, prog_name="cbi-queue")
def cli() -> None:
    """Train one model at a time, lose none.

    \b
    cbi-queue enqueue schedules/day1.yaml      put a day's jobs into the queue
    cbi-queue run schedules/quickstart.yaml    train it here and watch
    cbi-queue pause --reason "too hot"         stand still; `resume` goes on
    cbi-queue status --watch                   look, again and again
    """  # noqa: D301 - click reads the backspace


def main() -> None:
    """Run the command line; turn our own errors into a message and an exit code."""
    with guarded_output():
        _run()


def _run() -> None:
    try:
        cli(standalone_mode=True)
    except CbiError as exc:
        from cbi_queue.cli.output import printable_lines

        click.secho(printable_lines(f"Error: {exc.message}"), fg="red", err=True)
        if exc.hint:
            click.echo(printable_lines(f"Hint: {exc.hint}"), err=True)
        sys.exit(exc.exit_code)
