"""`cbi-queue doctor`: can this machine and this installation train?"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cbi_queue.cli.arguments import examples, json_option
from cbi_queue.cli.output import print_json
from cbi_queue.settings import load_settings

if TYPE_CHECKING:
    from cbi_queue.doctor import Finding

MARKS = {"ok": ("ok  ", "green"), "note": ("note", "yellow"), "bad": ("BAD ", "red")}


@click.command(epilog=examples("doctor", "doctor --json"))
@json_option
def command(as_json: bool) -> None:
    """Check this machine and this installation; each problem is printed with its remedy.

    Exit codes: 0 nothing stops the queue (a `note` does not), 1 something does, or a result is damaged (marked BAD).
    """
    from cbi_queue.doctor import examine

    findings = examine(load_settings())
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            _print(finding)
    sys.exit(1 if any(finding.verdict == "bad" for finding in findings) else 0)


def _print(finding: Finding) -> None:
    mark, colour = MARKS[finding.verdict]
    click.echo(f"{click.style(mark, fg=colour)} {finding.subject}: {finding.seen}")
    if finding.advice:
        click.echo(f"     {finding.advice}")
