"""`cbi-queue doctor`: is this machine, and this installation, fit to train?"""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from cbi_queue.cli.output import json_option, print_json
from cbi_queue.settings import load_settings

if TYPE_CHECKING:
    from cbi_queue.doctor import Finding

MARKS = {"ok": ("ok  ", "green"), "note": ("note", "yellow"), "bad": ("BAD ", "red")}


@click.command(epilog="Examples:\n\n\b\n  cbi-queue doctor\n  cbi-queue doctor --json")
@json_option
def command(as_json: bool) -> None:
    """Check this machine and installation. Exit code 1 when something would stop the queue."""
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
