"""`cbi-queue runtime install|list|check|remove`: a separate Python for each backend that needs other packages."""

from __future__ import annotations

import platform
import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from cbi_queue.cli.arguments import VerbGroup, examples, json_option
from cbi_queue.cli.output import print_json, print_table
from cbi_queue.errors import Refused
from cbi_queue.runtimes import BACKENDS, install, recipe_for, remove, runtime_of, try_out
from cbi_queue.runtimes.install import commands, find_python
from cbi_queue.settings import load_settings
from cbi_queue.wording import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from cbi_queue.runtimes import Runtime
    from cbi_queue.settings import Settings

_ORIGINS = {
    "settings": "set in [runtimes]",
    "installed": "`runtime install`",
    "own": "cbi-queue's own Python",
    "absent": "not installed",
}
_SHOWN = ("native", "torch", *BACKENDS)


def _backend(*, required: bool = True) -> Callable[[Any], Any]:
    return click.argument("backend", type=click.Choice(BACKENDS), required=required)


@click.group(
    cls=VerbGroup,
    epilog=examples(
        "runtime install tensorflow", "runtime check", "runtime remove tensorflow", more="See docs/runtimes.md."
    ),
)
def command() -> None:
    """Install and check a separate Python for a backend whose packages conflict with those of cbi-queue."""


@command.command(
    "install",
    epilog=examples(
        "runtime install tensorflow --dry-run   print the commands",
        "runtime install tensorflow",
        "runtime install tensorflow --python /opt/homebrew/bin/python3.12",
        "runtime install tensorflow --newer     macOS: 2.19.1, not 2.16.2",
    ),
)
@_backend()
@click.option("--python", metavar="PATH", help="Python to build it from. Default: the first that fits.")
@click.option("--newer", is_flag=True, help="On macOS: the newest TensorFlow that works with tensorflow-metal.")
@click.option("--dry-run", is_flag=True, help="Print the commands; change nothing.")
@json_option
def install_verb(backend: str, python: str | None, newer: bool, dry_run: bool, as_json: bool) -> None:
    """Install a runtime in the state folder.

    Jobs of its backend then use it without any setting. pip fetches pinned versions, with your pip configuration. An
    existing runtime is replaced only when the new one has trained a tiny net for one step; if anything fails, nothing
    is changed. Running it again changes nothing.
    """
    settings = load_settings()
    recipe = recipe_for(backend, system=sys.platform, machine=platform.machine(), newer=newer)
    if dry_run:
        chosen = find_python(recipe, python)
        steps = commands(recipe, chosen.path, settings.runtimes_dir / backend)
        if as_json:
            print_json({"commands": steps})
        for step in [] if as_json else steps:
            click.echo(shlex.join(step))
        return
    _refuse_in_use(settings, backend)
    done = install(
        settings,
        recipe,
        python=python,
        report=lambda words: click.echo(words, err=as_json),
        output_fd=2 if as_json else 1,
    )
    if as_json:
        print_json({"backend": backend, "folder": str(done.folder), "change": done.change})
        return
    click.echo({
        "made": f"Installed in {done.folder}. Jobs with `backend: {backend}` use it from now on.",
        "refreshed": f"Updated cbi-queue itself in {done.folder}; its packages were up to date.",
        "none": f"The runtime in {done.folder} is up to date; nothing changed.",
    }[done.change])  # fmt: skip


@command.command("list", epilog=examples("runtime list", "runtime list --json"))
@json_option
def list_verb(as_json: bool) -> None:
    """List the Python of each backend. Starts none of them; `check` does."""
    settings = load_settings()
    runtimes = [runtime_of(settings, backend) for backend in dict.fromkeys((*_SHOWN, *settings.runtimes))]
    if as_json:
        print_json([_plain(runtime) for runtime in runtimes])
        return
    rows = [(r.backend, _ORIGINS[r.origin], _made(r), r.interpreter or UNKNOWN) for r in runtimes]
    print_table("", ("backend", "comes from", "?made from", "Python"), rows)
    for runtime in runtimes:
        if runtime.interpreter is None:
            click.echo(f"Jobs with `backend: {runtime.backend}` need `cbi-queue runtime install {runtime.backend}`.")


@command.command("check", epilog=examples("runtime check", "runtime check tensorflow --json"))
@_backend(required=False)
@json_option
@click.pass_context
def check_verb(ctx: click.Context, backend: str | None, as_json: bool) -> None:
    """Train a tiny net for one step on each runtime. Exit code 1 when one cannot."""
    settings = load_settings()
    settings.make_state_dir()
    found = [
        (b, try_out(settings.interpreter_for(b), b, settings.state_dir)) for b in ([backend] if backend else BACKENDS)
    ]
    if as_json:
        print_json([{"backend": b, "fault": trial.fault, **trial.seen} for b, trial in found])
    for name, trial in [] if as_json else found:
        if trial.fault is None:
            seen = ", ".join(f"{key} {value}" for key, value in trial.seen.items() if key != "devices")
            click.echo(f"{name}: works on {', '.join(trial.seen.get('devices', []))}; {seen}")
        else:
            click.echo(f"{name}: {trial.fault}")
    ctx.exit(1 if any(trial.fault for _, trial in found) else 0)


@command.command("remove", epilog=examples("runtime remove tensorflow"))
@_backend()
def remove_verb(backend: str) -> None:
    """Delete an installed runtime."""
    settings = load_settings()
    _refuse_in_use(settings, backend)
    if remove(settings, backend):
        click.echo(f"Removed {settings.runtimes_dir / backend}.")
    else:
        click.echo(f"{settings.runtimes_dir / backend} does not exist; nothing changed.")


def _refuse_in_use(settings: Settings, backend: str) -> None:
    """Raise Refused while a trainer runs on the runtime that would be replaced or removed."""
    from cbi_queue.cli.ledger_access import existing_ledger
    from cbi_queue.ledger.queries import job_in_slot

    with existing_ledger(settings) as ledger:
        job = job_in_slot(ledger) if ledger else None
    if job is not None and job.backend == backend:
        raise Refused(
            f"job {job.id} ({job.name}) is training on the {backend} runtime",
            hint=f"wait for it (`cbi-queue wait {job.name}`), or stop it first with `cbi-queue pause --evict`",
        )


def _made(runtime: Runtime) -> str:
    record = runtime.record
    return "" if record is None else f"{record.recipe}, Python {record.python}, cbi-queue {record.cbi_queue}"


def _plain(runtime: Runtime) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(runtime)
