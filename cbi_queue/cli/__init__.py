"""The command line: one file per verb, imported only when it is called, so that `--help` and `status` stay fast."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import sys
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

import cbi_queue
from cbi_queue.errors import CbiError
from cbi_queue.orderly_end import repeat_lost_interruptions
from cbi_queue.standard_streams import guarded_output, leave

VERBS: dict[str, str] = {
    "plan": "Write, check or show day plans; changes nothing.",
    "estimate": "Estimate the memory that each job of a plan needs; changes nothing.",
    "profile": "Show the hardware profiles and the one that fits this machine.",
    "data": "Import your own data, look at data sets, or build sample data.",
    "text": "Bring headlines in, choose what scores them, hand them over for fine-tuning.",
    "enqueue": "Add the jobs of day plans to the queue.",
    "add": "Add a command of your own to the queue: `add -- python train.py`.",
    "client": "Write the client beside a script of your own: it reports to the queue.",
    "refresh": "Queue the jobs of plans again whose data have changed.",
    "run": "Enqueue plans and train until the queue is empty, with a live display.",
    "worker": "Run the daemon in this terminal.",
    "status": "Show the slot, the queue, the holds and the budget of the week.",
    "list": "List jobs.",
    "show": "Show one job: its spec, scores, forecast, attempts and events.",
    "logs": "Print or follow a job's training log.",
    "eta": "Show when the queue or a plan will be done, and which jobs are at risk.",
    "budget": "Show how many of the week's planned models are done.",
    "leaderboard": "Rank the trained models of each horizon against the baselines.",
    "results": "Ask the results of all runs with SQL.",
    "backtest": "Trade the best models of a horizon on their backtest block.",
    "forecast": "Forecast today's price with the best model of each horizon.",
    "drift": "Show whether the newest rows still look like those that the models were trained on.",
    "export": "Write the best model of a horizon as a package for Vertex AI.",
    "track": "Write finished runs to MLflow's store, or as TensorBoard files.",
    "verify": "Check that the results of finished runs are what they were.",
    "pause": "Pause the slot: pause, drain or evict the job in it.",
    "resume": "Lift the hold of `pause`: the job in the slot resumes, new jobs start.",
    "cancel": "Cancel jobs; a running trainer is ended with its child processes.",
    "hold": "Hold queued jobs until `release`.",
    "release": "Release held jobs.",
    "accept": "Accept results that a guardrail vetoed.",
    "retry": "Queue failed, cancelled or vetoed jobs again.",
    "priority": "Change the priority of jobs that have not ended.",
    "edit": "Change the parameters, priority, retries or timeout of a waiting job.",
    "wait": "Wait until jobs, or the whole queue, have finished.",
    "serve": "Serve the status page and the API.",
    "open": "Open the status page in a browser, which may then change the queue.",
    "mcp": "Serve the queue to an MCP client, such as an assistant.",
    "notify": "Show who is told of failures and the end of the week; send a test.",
    "service": "Install, check, restart or remove the background service.",
    "sensors": "Show the sensor readings, or record them as a trace.",
    "governor": "Show the governor's diagnosis, decisions and baselines; reset baselines.",
    "runtime": "Install and check a separate Python for a backend such as TensorFlow.",
    "doctor": "Check this machine and this installation.",
    "restore": "List the backups of the ledger, or restore one.",
    "completions": "Print the completion script for your shell.",
}
"""Verb -> one line of help. Each verb is a module of `verbs` that holds one click command named `command`."""

WORDS_OF_OTHERS = {
    "follow": "logs -f", "kill": "cancel", "ls": "list", "predict": "forecast", "ps": "status", "remove": "cancel",
    "restart": "retry", "rm": "cancel", "start": "resume", "stop": "pause", "train": "run", "why": "governor why",
}  # fmt: skip
"""What pueue and others call it -> the verb here."""

SAY_IT_THEMSELVES = frozenset({"worker", "doctor", "completions"})
"""Verbs that name every unknown variable, and the one whose output a shell runs."""


class LazyVerbs(click.Group):
    """A group that imports a verb only when it is called; the list of verbs needs no import."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; Ctrl-C ends it with 130, without a traceback however often it is pressed."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            from cbi_queue.cli.output import STOPPED_BY_CTRL_C

            signal.signal(signal.SIGINT, signal.SIG_IGN)
            ctx.exit(STOPPED_BY_CTRL_C)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return every verb, in the order of a working day."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        """Import the verb's module and return its command."""
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"cbi_queue.cli.verbs.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - as above
        """Write the table of verbs from VERBS."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def shell_complete(self, _ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the verbs that begin with *incomplete*, each with its line of help."""
        return [CompletionItem(name, help=words) for name, words in VERBS.items() if name.startswith(incomplete)]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; suggest the nearest one when it does not exist."""
        import difflib

        if args and args[0] not in VERBS and not args[0].startswith("-"):
            near = WORDS_OF_OTHERS.get(args[0]) or next(iter(difflib.get_close_matches(args[0], VERBS, n=1)), None)
            meant = f"did you mean {near!r}?" if near else "`cbi-queue --help` lists them"
            ctx.fail(f"there is no command {args[0]!r}; {meant}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyVerbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="`cbi-queue VERB --help` shows examples. Exit codes: 0 done, 1 a job or the command failed, 2 the input was "
    "refused and nothing was changed, 75 another daemon holds the slot, 130 stopped by Ctrl-C.",
)
@click.version_option(cbi_queue.__version__, prog_name="cbi-queue")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Train a queue of models on this machine, one at a time, without losing a job.

    \b
    cbi-queue enqueue schedules/day1.yaml      add a day's jobs to the queue
    cbi-queue run schedules/quickstart.yaml    train a plan here and watch it
    cbi-queue pause --reason "too hot"         pause the job; `resume` ends it
    cbi-queue status --watch                   show the queue until Ctrl-C
    """  # noqa: D301 - click reads the backspace
    if ctx.invoked_subcommand not in SAY_IT_THEMSELVES:
        _warn_of_slips()


def _warn_of_slips() -> None:
    """Name variables that are nearly a setting; other programs may have names of that kind, so `doctor` lists the rest."""
    if not any(name.upper().startswith("CBI_") for name in os.environ):
        return
    from cbi_queue.settings import SURELY_MEANT, unknown_variables

    for words in unknown_variables(likeness=SURELY_MEANT):
        click.secho(f"Warning: {words}", fg="yellow", err=True)


def main() -> NoReturn:
    """Run the command line; print a CbiError as message and hint, and end the process with its code."""
    gc.set_threshold(20_000)  # what is imported stays: looking through it 30 times is a tenth of a short verb's time
    repeat_lost_interruptions()
    try:
        with guarded_output():
            _run()
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            leave(end.code or 0)
        raise
    leave(0)


def _run() -> None:
    try:
        cli(standalone_mode=True)
    except CbiError as exc:
        _refuse(exc)
    except OSError as exc:
        if exc.filename is None:
            raise
        from cbi_queue.regular_files import in_words

        _refuse(in_words(exc))


def _refuse(exc: CbiError) -> NoReturn:
    from cbi_queue.cli.output import printable_lines

    click.secho(printable_lines(f"Error: {exc.message}"), fg="red", err=True)
    if exc.hint:
        click.echo(printable_lines(f"Hint: {exc.hint}"), err=True)
    sys.exit(exc.exit_code)
