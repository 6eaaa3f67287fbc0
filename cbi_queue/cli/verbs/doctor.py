"""`cbi-queue doctor`: can this machine and this installation train?"""

from __future__ import annotations

import shlex
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.output import print_json
from cbi_queue.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cbi_queue.findings import Finding

MARKS = {"ok": ("ok  ", "green"), "note": ("note", "yellow"), "bad": ("BAD ", "red")}


@click.command(epilog=examples("doctor", "doctor --fix", "doctor --json", "doctor --mac-checklist"))
@click.option(
    "--mac-checklist", is_flag=True, help="On a Mac: the first checks for a new machine; writes a file to hand back."
)
@click.option("--fix", is_flag=True, help="Offer to do what can be done safely: each command is shown and asked for.")
@click.option("--yes", is_flag=True, help="With --fix: do not ask.")
@json_option
def command(as_json: bool, mac_checklist: bool, fix: bool, yes: bool) -> None:
    """Check this machine and this installation; each problem is printed with its remedy.

    Exit codes: 0 nothing stops the queue (a `note` does not), 1 something does, or a result is damaged (marked BAD), or
    a command of --fix failed.
    """
    if (yes and not fix) or (fix and (as_json or mac_checklist)):
        raise click.UsageError("--yes goes with --fix, and --fix with neither --json nor --mac-checklist")
    if mac_checklist:
        _run_mac_checklist(as_json=as_json)
        return
    from cbi_queue.doctor import examine

    found = examine(load_settings())
    findings = list(found if as_json else _shown(found))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    done = not fix or _fix(findings, ask=not yes)
    sys.exit(0 if done and all(finding.verdict != "bad" for finding in findings) else 1)


def _shown(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Print each finding as it comes; on a terminal a last line says meanwhile that more will."""
    is_watched = sys.stdout.isatty() and sys.stderr.isatty()
    waiting, gone = (
        ("Checking; loading the trainers' libraries takes longest …", "\r\x1b[K") if is_watched else ("", "")
    )
    try:
        for finding in findings:
            click.echo(gone, err=True, nl=False)
            _print(finding)
            click.echo(waiting, err=True, nl=False)
            yield finding
    finally:
        click.echo(gone, err=True, nl=False)


def _fix(findings: list[Finding], *, ask: bool) -> bool:
    """Run the command of each finding that has one, after asking; return True if none failed."""
    from cbi_queue.programs import run

    fixable = [finding for finding in findings if finding.command]
    if not fixable:
        click.echo("Nothing to fix that a program should change by itself.")
    all_done = True
    for finding in fixable:
        typed = shlex.join(finding.command)
        if ask and not click.confirm(f"{finding.subject}: run `{typed}`?"):
            continue
        answer = run(finding.command)
        all_done = all_done and answer.code == 0
        click.echo(f"done: {typed}" if answer.code == 0 else f"failed: {typed}: {answer.words}", err=answer.code != 0)
    return all_done


def _print(finding: Finding) -> None:
    mark, colour = MARKS[finding.verdict]
    click.echo(f"{click.style(mark, fg=colour)} {finding.subject}: {finding.seen}")
    if finding.advice:
        click.echo(f"     {finding.advice}")


def _run_mac_checklist(*, as_json: bool, platform: str = sys.platform) -> None:
    from cbi_queue.mac_checklist import run_checks, write

    is_mac = platform == "darwin"
    checked = run_checks(load_settings(), is_mac=is_mac)
    path = write(checked, Path.cwd()) if is_mac else None
    if as_json:
        rows = [
            {"number": each.number, "title": each.check.title, "commands": each.check.commands,
             "expected": each.check.expected, "seen": each.seen}
            for each in checked
        ]  # fmt: skip
        print_json({"file": str(path) if path else None, "checks": rows})
        return
    for each in checked:
        click.secho(f"{each.number}. {each.check.title}", bold=True)
        for typed in each.check.commands:
            click.echo(f"   $ {typed}")
        for label, words in (("expected", each.check.expected), ("seen", each.seen)):
            _print_wrapped(label, words)
    if path is None:
        click.echo("\nThis is not a Mac: nothing was run and no file was written. docs/mac.md explains the checks.")
    else:
        click.echo(
            f"\nWrote {path}: complete it by hand and hand it back. It names no person, machine or disk; read it first."
        )


def _print_wrapped(label: str, words: str) -> None:
    indent = " " * 13
    for number, line in enumerate(words.splitlines()):
        first = f"   {label + ':':<10}" if number == 0 else indent
        click.echo(textwrap.fill(line, 79, initial_indent=first, subsequent_indent=indent, break_long_words=False))
