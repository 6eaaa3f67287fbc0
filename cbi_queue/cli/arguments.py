"""What verbs share on the command line: NAME, MODEL and FILE with completion, durations, `--json`, examples."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from cbi_queue.values.written import core_value, seconds_of

if TYPE_CHECKING:
    from collections.abc import Callable


def examples(*commands: str, more: str = "") -> str:
    """Return the end of a help text: commands as typed after `cbi-queue`, and *more*, such as exit codes."""
    lines = "".join(f"\n  cbi-queue {command}" for command in commands)
    return f"Examples:\n\n\b{lines}" + (f"\n\n{more}" if more else "")


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json`, passed as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(function)


class VerbGroup(click.Group):
    """A verb of several, whose help has their first sentences whole: click cuts them at the width of a line."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of its verbs."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, verb.get_short_help_str(400)) for name, verb in found if verb and not verb.hidden]
            )


class DurationType(click.ParamType[float]):
    """A length of time on the command line: `90`, `90s`, `30m`, `2h`, `1d`."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Turn the text into seconds."""
        seconds = seconds_of(core_value(value) if isinstance(value, str) else value)
        if seconds is None or not 0 < seconds <= 366 * 86400:
            self.fail(f"{value!r} is not a length of time; write 90s, 30m, 2h or 1d (at most 366d)", param, ctx)
        return seconds


class MemoryType(click.ParamType[float]):
    """An amount of memory on the command line: `800M`, `12G`; a bare number is MiB."""

    name = "memory"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Turn the text into MiB."""
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,6})?)([MG]?)(?:i?B)?", str(value), re.ASCII)
        mib = float(found[1]) * (1024 if found[2] == "G" else 1) if found else 0.0
        if not 0 < mib <= 16_777_216:
            self.fail(f"{value!r} is no amount of memory; write 800M or 12G (at most 16384G)", param, ctx)
        return mib


class Whole(click.IntRange):
    """A whole number on the command line, read as in a plan: `12`, not `012`, `1_2` or `12.0`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number, when it is one and in range."""
        if isinstance(value, str) and type(core_value(value)) is not int:
            self.fail(f"{value!r} is not a whole number such as 12", param, ctx)
        number: int = super().convert(value, param, ctx)
        return number


def ranking(written: str) -> tuple[str, str]:
    """Return the figure and the direction of `NAME=lower` or `NAME=higher`.

    Raises:
        click.BadParameter: when it is neither.
    """
    figure, _, better = written.rpartition("=")
    if not figure or better not in {"lower", "higher"}:
        words = f"{written!r} is not NAME=lower or NAME=higher, as in error=lower"
        raise click.BadParameter(words, param_hint="'--rank-by'")
    return figure, better


def job_names_argument(*, required: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add `NAME...`: names or numbers of jobs."""
    metavar = "NAME..." if required else "[NAME]..."
    return click.argument("names", nargs=-1, required=required, shell_complete=complete_names, metavar=metavar)


def job_name_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add one `NAME`: the name or number of a job."""
    return click.argument("name", shell_complete=complete_names)(function)


def complete_names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of jobs that begin with *incomplete*."""
    from cbi_queue.cli.ledger_access import readonly_ledger
    from cbi_queue.errors import CbiError
    from cbi_queue.ledger.queries import job_names

    try:
        with readonly_ledger() as ledger:
            return [name for name in job_names(ledger) if name.startswith(incomplete)]
    except CbiError:
        return []


def model_names_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `MODEL...`: models or fingerprints that have a cold baseline, or the first words of a fingerprint."""
    add = click.argument("names", nargs=-1, shell_complete=complete_models, metavar="[MODEL]...")
    return add(function)


def complete_models(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return the models with a cold baseline that begin with *incomplete*."""
    from cbi_queue.cli.ledger_access import readonly_ledger
    from cbi_queue.errors import CbiError
    from cbi_queue.ledger.learned import what_was_learned

    try:
        with readonly_ledger() as ledger:
            return [model for model in what_was_learned(ledger).models if model.startswith(incomplete)]
    except CbiError:
        return []


SHIPPED = "schedules"


class PlanPath(click.ParamType[Path]):
    """A day plan or a folder of them: the user's own, else the shipped one of that name, such as `schedules/day1.yaml`."""

    name = "plan"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:  # noqa: ARG002
        """Return what the user has if it exists, else what ships under that name, else the path as given."""
        given = Path(value)
        if given.exists() or given.parts[:1] != (SHIPPED,) or ".." in given.parts:
            return given
        shipped = shipped_folder().joinpath(*given.parts[1:])
        return shipped if shipped.exists() else given

    def shell_complete(self, _ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the shipped plans that begin with *incomplete*, else let the shell complete files."""
        paths = sorted(shipped_folder().rglob("*.yaml"))
        shipped = (f"{SHIPPED}/{path.relative_to(shipped_folder())}" for path in paths)
        near = [CompletionItem(name) for name in shipped if incomplete and name.startswith(incomplete)]
        return near or [CompletionItem(incomplete, type="file")]


def shipped_folder() -> Path:
    """Return the folder of the plans that ship with cbi-queue."""
    from importlib import resources

    return Path(str(resources.files(SHIPPED)))


def plan_files_argument(*, required: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add `FILE...`, passed as `files`; a folder among them stands for its days."""

    def with_days(_ctx: click.Context, _param: click.Parameter, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(day for path in paths for day in (days_in(path) if path.is_dir() else [path]))

    metavar = "FILE..." if required else "[FILE]..."
    return click.argument("files", nargs=-1, required=required, type=PlanPath(), metavar=metavar, callback=with_days)


def _one_copy(ctx: click.Context, _param: click.Parameter, name: str | None) -> str | None:
    if name is not None and len(ctx.params.get("files", ())) > 1:
        raise click.BadParameter("it names one text; give one FILE")
    return name


copy_of_option = click.option(
    "--copy-of", metavar="NAME", hidden=True, callback=_one_copy,
    help="FILE is a copy of a text called NAME, which has no folder: complaints and the ledger call it so.",
)  # fmt: skip


def days_in(folder: Path) -> list[Path]:
    """Return `day1.yaml`, `day2.yaml`, … of *folder*, by number. Other plans there, such as the quickstart, are no days.

    Raises:
        click.BadParameter: when it holds no day, or cannot be read.
    """
    try:
        days = {int(found[1]): path for path in folder.iterdir() if (found := _DAY_FILE.fullmatch(path.name))}
    except OSError as exc:
        raise click.BadParameter(f"the folder {str(folder)!r} cannot be read: {exc.strerror}") from exc
    if not days:
        others = ", ".join(sorted(path.name for path in folder.glob("*.y*ml"))[:5])
        holds = f"it holds {others}: name the file" if others else "it holds no plan"
        text = f"{str(folder)!r} is a folder without day1.yaml, day2.yaml, …, for which a folder stands; {holds}"
        raise click.BadParameter(text)
    return [days[number] for number in sorted(days)]


_DAY_FILE = re.compile(r"day([1-9][0-9]{0,2})\.yaml")
