"""The NAME... argument of verbs that work on jobs, MODEL... of those on baselines, with completion from the ledger."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from collections.abc import Callable


def job_names_argument(*, required: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add `NAME...`: numbers or names of jobs."""
    return click.argument("names", nargs=-1, required=required, shell_complete=complete_names, metavar="NAME...")


def job_name_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add one `NAME`: the number or name of a job."""
    return click.argument("name", shell_complete=complete_names)(function)


def complete_names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the names of jobs that begin with what was typed."""
    from cbi_queue.cli.ledger_access import ledger_for_looking
    from cbi_queue.errors import CbiError
    from cbi_queue.ledger.queries import job_names

    try:
        with ledger_for_looking() as ledger:
            return [name for name in job_names(ledger) if name.startswith(incomplete)]
    except CbiError:
        return []


def model_names_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `MODEL...`: models, fingerprints or leading words of fingerprints that have a cold baseline."""
    add = click.argument("names", nargs=-1, shell_complete=complete_models, metavar="[MODEL]...")
    return add(function)


def complete_models(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Offer the models of cold baselines that begin with what was typed."""
    from cbi_queue.cli.ledger_access import ledger_for_looking
    from cbi_queue.errors import CbiError
    from cbi_queue.ledger.learned import what_was_learned

    try:
        with ledger_for_looking() as ledger:
            return [model for model in what_was_learned(ledger).models if model.startswith(incomplete)]
    except CbiError:
        return []


SHELF = "schedules"


class PlanFile(click.ParamType[Path]):
    """A day plan: a file of the user's, else `schedules/day1.yaml` of the installation."""

    name = "plan"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:  # noqa: ARG002
        """Return the user's own file when there is one, else the shipped plan of that name, else the path as given."""
        given = Path(value)
        if given.exists() or given.parent != Path(SHELF):
            return given
        shipped = shipped_folder() / given.name
        return shipped if shipped.is_file() else given

    def shell_complete(self, _ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Offer files, and the shipped plans for what begins like them."""
        shipped = (f"{SHELF}/{path.name}" for path in sorted(shipped_folder().glob("*.yaml")))
        near = [CompletionItem(name) for name in shipped if incomplete and name.startswith(incomplete)]
        return near or [CompletionItem(incomplete, type="file")]


def shipped_folder() -> Path:
    """Return the folder of the plans that ship with cbi-queue."""
    return Path(str(resources.files(SHELF)))


def plan_files_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `FILE...`, passed as `files`."""
    return click.argument("files", nargs=-1, required=True, type=PlanFile(), metavar="FILE...")(function)
