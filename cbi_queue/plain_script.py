"""A command of the user's own as a job, where it is plain: the text that `spec.strict_spec` makes, without pydantic.

A script adds a thousand commands, and the import of pydantic would be half of the time of each. No limit is told here:
what is not plain, and so whatever is wrong, is left to `strict_spec`, and a test compares the two.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cbi_queue.datasets.place import DEFAULT
from cbi_queue.identity import MAX_TIMEOUT_S, NAME_PATTERN, canonical_json
from cbi_queue.models.kinds import NO_HORIZON, Family

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(NAME_PATTERN)
_MOST = 100
"""Texts of a plain command: arguments, variables, files."""
_LONGEST = 1000
"""Characters of each."""
_SHORT = 80
"""Characters of the name of a variable, a project or a figure."""


@dataclass(frozen=True)
class PlainScript:
    """What `JobSpec` has, of a script that needs no further check."""

    name: str
    params: dict[str, Any]
    needs: tuple[str, ...]
    after: tuple[str, ...]
    priority: int
    retries: int
    timeout_s: float | None
    snapshot: str | None = None
    day: int = 0
    family: Family = Family.SCRIPT
    model: str = "command"
    horizon: str = NO_HORIZON
    backend: str = "native"
    dataset: str = DEFAULT
    combines: None = None

    def canonical_json(self) -> str:
        """The spec as JSON with sorted keys: what is stored and hashed (`identity.canonical_json`)."""
        return canonical_json(self.__dict__)

    def on_snapshot(self, snapshot: str | None) -> PlainScript:
        """Return the job on another snapshot."""
        return replace(self, snapshot=snapshot)


@dataclass(frozen=True)
class PlainPlan:
    """What `DayPlan` has, of one such script."""

    jobs: tuple[PlainScript]
    source: str
    day: int = 0
    title: str = ""


def plain_script(spec: Mapping[str, Any]) -> PlainScript | None:
    """Return the job of a spec as `add` writes it, when it is plain; None: only `strict_spec` can judge.

    Args:
        spec: with every parameter of a script but `values`; numbers are in the ranges of the verb's options.
    """
    params, timeout_s = dict(spec["params"]), spec["timeout_s"]
    variables, figures, outputs = params["environment"], params["rank_by"] or {}, params["outputs"]
    paths = [params["workdir"], *filter(None, [params["environment_file"]]), *params["inputs"], *outputs]
    texts = [*params["command"], *variables.values(), *paths]
    is_plain = (
        all(map(_NAME.fullmatch, (spec["name"], *spec["needs"], *spec["after"])))
        and len(texts) <= _MOST
        and all(len(text) <= _LONGEST and text.isprintable() for text in texts)
        and all(len(name) <= _SHORT and name.isascii() and name.isidentifier() for name in variables)
        and all(0 < len(name) <= _SHORT and name.isprintable() for name in (params["project"] or "-", *figures))
        and params["project"] != ""
        and not any(not pattern or pattern.startswith("/") or ".." in pattern for pattern in outputs)
        and (timeout_s is None or 0 < timeout_s <= MAX_TIMEOUT_S)
    )
    if not is_plain:
        return None
    return PlainScript(
        spec["name"], {**params, "values": {}}, tuple(spec["needs"]), tuple(spec["after"]),
        priority=spec["priority"], retries=spec["retries"], timeout_s=None if timeout_s is None else float(timeout_s),
    )  # fmt: skip
