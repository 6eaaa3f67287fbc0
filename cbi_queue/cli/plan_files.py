"""The FILE... argument of verbs that read day plans: a path, or the name of a plan that ships with cbi-queue."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from collections.abc import Callable

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
