"""`cbi-queue service install|uninstall|status|restart`: the worker and the status page as background services."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cbi_queue import service
from cbi_queue.cli.arguments import VerbGroup, examples, json_option
from cbi_queue.cli.output import print_json
from cbi_queue.errors import SlotTaken
from cbi_queue.service.definition import PARTS, define, risks
from cbi_queue.settings import load_settings
from cbi_queue.wording import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cbi_queue.service.commands import Command
    from cbi_queue.service.definition import Definition, PartStatus
    from cbi_queue.settings import Settings

_only = click.option("--only", type=click.Choice(PARTS), help="Only this part. Default: both.")
_manager = click.option(
    "--manager", type=click.Choice(service.MANAGERS), help="Service manager. Default: the one of this platform."
)
_dry_run = click.option("--dry-run", is_flag=True, help="Print the files and commands; change nothing.")


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def add(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return add


@click.group(
    cls=VerbGroup,
    epilog=examples("service install", "service status", "service uninstall", more="See docs/service.md."),
)
def command() -> None:
    """Run the worker and the status page in the background: started at login, restarted after a crash."""


@command.command(
    epilog=examples(
        "service install --dry-run     print files and commands",
        "service install",
        "service install --only worker --no-start",
    )
)
@_options(_only, _manager, _dry_run)
@click.option("--no-start", is_flag=True, help="Write the files, but do not start the services.")
def install(only: str | None, manager: str | None, dry_run: bool, no_start: bool) -> None:
    """Write the service files and start the services.

    The files hold the current settings. Run it again after a change of settings or of the installation: the running
    services are stopped (the trainer writes its checkpoint) and started with the new ones.
    """
    settings, chosen = load_settings(), service.manager_named(manager)
    definitions = _definitions(settings, only)
    for risk in dict.fromkeys(risk for definition in definitions for risk in risks(definition, settings)):
        click.secho(f"Warning: {risk}", fg="yellow", err=True)
    if dry_run:
        service.require_readable(chosen, definitions)
        _show_files(chosen, definitions)
        _show_steps([] if no_start else chosen.start_steps(_parts(only)))
        return
    done = service.install(chosen, definitions, settings, start=not no_start)
    _report(done, "wrote")
    if not no_start:
        click.echo(f"started by {chosen.name}; `cbi-queue service status` shows their state")


@command.command(epilog=examples("service uninstall", "service uninstall --only api --dry-run"))
@_options(_only, _manager, _dry_run)
def uninstall(only: str | None, manager: str | None, dry_run: bool) -> None:
    """Stop the services and remove their files. The queue, models and logs stay."""
    chosen = service.manager_named(manager)
    if dry_run:
        _show_steps(chosen.remove_steps(_parts(only)))
        for part in _parts(only):
            click.echo(f"# would remove, if it exists: {chosen.path_of(part)}")
        return
    done = service.uninstall(chosen, _parts(only))
    _report(done, "removed")
    if not done.changed:
        click.echo("there was no service file; nothing changed")


@command.command(epilog=examples("service status", "service status --json | jq '.[].state'"))
@_options(_only, _manager, json_option)
def status(only: str | None, manager: str | None, as_json: bool) -> None:
    """Show the state of the services in the service manager. `cbi-queue status` shows what the worker does."""
    chosen = service.manager_named(manager)
    found = service.statuses(chosen, _definitions(load_settings(), only))
    if as_json:
        print_json([{"manager": chosen.name, **asdict(part)} for part in found])
        return
    for part in found:
        click.echo("\n".join(_words(part)))


@command.command(epilog=examples("service restart", "service restart --only worker"))
@_options(_only, _manager, _dry_run)
def restart(only: str | None, manager: str | None, dry_run: bool) -> None:
    """Stop the services and start them again.

    The trainer continues from its checkpoint. The service files stay as they are: after a change of settings, run
    `install`.
    """
    chosen = service.manager_named(manager)
    if dry_run:
        _show_steps(chosen.restart_steps(_parts(only)))
        return
    chosen.restart(_parts(only))
    click.echo(f"restarted {', '.join(map(chosen.name_of, _parts(only)))}")


def _parts(only: str | None) -> list[str]:
    return [only] if only else list(PARTS)


def _definitions(settings: Settings, only: str | None) -> list[Definition]:
    return [define(settings, os.environ, sys.executable, part) for part in _parts(only)]


def _show_files(manager: service.ServiceManager, definitions: Iterable[Definition]) -> None:
    for definition in definitions:
        click.echo(f"# would write {manager.path_of(definition.part)}")
        click.echo(manager.render(definition).decode())


def _show_steps(steps: Iterable[Command]) -> None:
    for step in steps:
        click.echo(f"# would run: {step}")


def _report(done: service.ServiceChange, verb: str) -> None:
    for path in done.changed:
        click.echo(f"{verb} {path}")
    for path in done.unchanged:
        click.echo(f"unchanged {path}")
    for note in done.notes:
        click.echo(f"Note: {note}", err=True)


def _words(part: PartStatus) -> list[str]:
    """Return one part in words: a line on its state, a line on its file."""
    facts = [part.state]
    facts += [f"pid {part.pid}"] * (part.pid is not None)
    facts += [counted(part.restarts or 0, "restart")] * bool(part.restarts)
    meaning = " (another daemon holds the slot)" if part.last_exit == str(SlotTaken.exit_code) else ""
    facts += [f"last exit {part.last_exit}{meaning}"] * (part.last_exit not in {None, "(never exited)"})
    file = {
        None: "not installed",
        True: part.file,
        False: f"{part.file}, out of date: run `cbi-queue service install`",
    }[part.current]
    return [f"{part.part}: {', '.join(facts)}", f"  {file}"]
