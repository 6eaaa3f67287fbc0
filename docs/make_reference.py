"""Write `docs/reference.md`: every verb with its arguments and options, from the commands themselves.

`make docs` calls it; a test holds the file current. Run it by hand with `python docs/make_reference.py`.
"""

# ruff: noqa: INP001 - a script, not a package

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cbi_queue.cli import VERBS, cli

if TYPE_CHECKING:
    from collections.abc import Iterator

TARGET = Path(__file__).with_name("reference.md")
HEAD = """# Reference

Every verb of `cbi-queue`, with its arguments and options. Generated from the commands by `make docs`; do not edit.

NAME is the number or the name of a job. A duration is written `90s`, `30m`, `2h30m` or `1d`. `-h` or `--help` after any verb prints
the same as here. Exit codes, unless stated otherwise: 0 done, 1 a job or the command failed, 2 refused input, 75 another daemon holds the slot.
"""


def render() -> str:
    """Return the whole page."""
    root = click.Context(cli, info_name="cbi-queue")
    parts = [HEAD, "\n".join(_index())]
    for verb in VERBS:
        command = cli.get_command(root, verb)
        if command is None:
            msg = f"the verb {verb} has no command"
            raise LookupError(msg)
        parts += _sections(command, root, verb, level=2)
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _index() -> Iterator[str]:
    yield "| verb | does |"
    yield "|---|---|"
    for verb, words in VERBS.items():
        yield f"| [`{verb}`](#{verb}) | {words} |"


def _sections(command: click.Command, parent: click.Context, name: str, level: int) -> Iterator[str]:
    """Yield the section of *command*, then those of its own commands."""
    context = click.Context(command, info_name=name, parent=parent)
    yield f"{'#' * level} {context.command_path.removeprefix('cbi-queue ')}"
    yield f"```\n{' '.join([context.command_path, *command.collect_usage_pieces(context)])}\n```"
    yield from _paragraphs(command.help or "")
    if table := list(_parameters(command, context)):
        yield "\n".join(["| option | meaning |", "|---|---|", *table])
    yield from _paragraphs(command.epilog or "")
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            found = command.get_command(context, sub)
            if found is not None:
                yield from _sections(found, context, sub, level + 1)


def _paragraphs(text: str) -> Iterator[str]:
    """Turn click's text into Markdown: a paragraph that click does not wrap becomes a code block."""
    for raw in text.replace("\r", "").split("\n\n"):
        paragraph = raw.strip("\n ")
        if paragraph.startswith("\b"):
            lines = [line.removeprefix("  ") for line in raw.strip("\b\n ").splitlines()]
            yield "\n".join(["```", *lines, "```"])
        elif paragraph:
            yield " ".join(paragraph.split())


def _parameters(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield a row per option; arguments are in the usage line."""
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if isinstance(parameter, click.Option) and record is not None and "--help" not in parameter.opts:
            yield f"| `{_cell(record[0])}` | {_cell(record[1])} |"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def main() -> None:
    """Write the file."""
    TARGET.write_text(render(), encoding="utf-8")
    print(TARGET)


if __name__ == "__main__":
    main()
