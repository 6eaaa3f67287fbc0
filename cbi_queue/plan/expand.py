"""One written job -> its combinations: the matrix multiplied out, placeholders filled in. Pure.

Counts before it multiplies, so that a matrix of a million jobs costs one complaint. Each combination records where each of
its values was written, so that a later complaint points at the entry of the matrix and not at the job.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cbi_queue.identity import NAME_PATTERN
from cbi_queue.models.kinds import HORIZONS
from cbi_queue.values.words import KeyPath, did_you_mean, not_allowed, seen, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_JOBS = 10_000
"""Most jobs of one plan: what checking, enqueuing and listing are quick with (`python -m benchmarks large-queue`)."""

_PLAIN_AXES = ("horizon", "model", "dataset")
"""Keys of a job that a matrix may list; the others are `params.NAME`."""

Complain = Callable[[KeyPath, str], None]
"""Records a complaint about a key of the current file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One element of `jobs` whose keys were checked one by one."""

    index: int
    values: dict[str, Any]
    """The keys that are right, defaults of the file filled in."""
    broken: frozenset[str]
    """Keys that already drew a complaint; what depends on them is not checked."""

    @property
    def at(self) -> KeyPath:
        """Its place in the file."""
        return ("jobs", self.index)


@dataclass(frozen=True, slots=True)
class Axis:
    """One key of a matrix."""

    key: str
    """`horizon`, `model`, `dataset` or `params.NAME`."""
    choices: tuple[tuple[Any, KeyPath], ...]
    """Each value with the place where it is written."""

    @property
    def placeholder(self) -> str:
        """The name that stands for it in braces."""
        return self.key.removeprefix("params.")


@dataclass(frozen=True, slots=True)
class Combination:
    """One job of an entry: plain values, and where those from the matrix were written."""

    values: dict[str, Any]
    origins: dict[KeyPath, KeyPath]
    """`("horizon",)` or `("params", name)` -> place in the file."""
    appended: tuple[str, ...]
    """Values of the matrix that the name does not mention and therefore ends in."""


def axes_of(entry: Entry, complain: Complain) -> list[Axis]:
    """Check the matrix of *entry* and return its usable axes, in written order."""
    axes = []
    for key, listed in entry.values.get("matrix", {}).items():
        place = (*entry.at, "matrix", key)
        if _is_axis(key, place, entry, complain):
            axes.append(Axis(key, tuple(_choices(key, listed, place, complain))))
    return axes


def _is_axis(key: str, place: KeyPath, entry: Entry, complain: Complain) -> bool:
    name = key.removeprefix("params.")
    if key not in _PLAIN_AXES and (name == key or not name):
        params = [f"params.{known}" for known in entry.values.get("params", {})]
        meant = did_you_mean(key, [*_PLAIN_AXES, *params])
        complain(place, f"unknown matrix key {seen(key)}{meant}; allowed: {', '.join(_PLAIN_AXES)}, params.NAME")
        return False
    is_written = entry.values.get(key) is not None if name == key else name in entry.values.get("params", {})
    if is_written:
        complain(place, f"{key!r} is given twice: here and in the job itself; keep one")
    return not is_written


def _choices(key: str, listed: list[Any], place: KeyPath, complain: Complain) -> list[tuple[Any, KeyPath]]:
    choices: list[tuple[Any, KeyPath]] = []
    taken: set[str] = set()
    for i, value in enumerate(listed):
        at = (*place, i)
        if repr(value) in taken:
            complain(at, f"{seen(value)} appears twice in this list")
        elif key == "horizon" and value not in HORIZONS:
            complain(at, not_allowed(value, f"one of {', '.join(HORIZONS)}"))
        elif key == "model" and not isinstance(value, str):
            complain(at, not_allowed(value, "the name of a model"))
        elif key == "dataset" and not (isinstance(value, str) and re.fullmatch(NAME_PATTERN, value)):
            complain(at, not_allowed(value, "the name of a data set"))
        else:
            choices.append((value, at))
        taken.add(repr(value))
    return choices


def count_of(axes: list[Axis]) -> int:
    """Count the combinations without making them."""
    return math.prod(len(axis.choices) for axis in axes)


def combinations(entry: Entry, axes: list[Axis]) -> Iterator[Combination]:
    """Multiply *axes* out; the last axis changes fastest, as written."""
    template = entry.values.get("name", "")
    mentioned = set(_PLACEHOLDER.findall(template))
    for chosen in itertools.product(*(axis.choices for axis in axes)):
        values = {key: value for key, value in entry.values.items() if key != "matrix"}
        values["params"] = dict(values.get("params", {}))
        origins: dict[KeyPath, KeyPath] = {}
        for axis, (value, at) in zip(axes, chosen, strict=True):
            if axis.key in _PLAIN_AXES:
                values[axis.key] = value
                origins[axis.key,] = at
            else:
                values["params"][axis.placeholder] = value
                origins["params", axis.placeholder] = at
        appended = tuple(
            name_safe(value) for axis, (value, _) in zip(axes, chosen, strict=True) if axis.placeholder not in mentioned
        )
        yield Combination(values, origins, appended)


_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_UNSAFE = re.compile(r"[^a-z0-9._-]")


def filled(template: str, facts: Mapping[str, Any]) -> str:
    """Fill `{name}` from *facts* by plain substitution: attributes, indices and formats are not evaluated.

    Raises:
        ValueError: when a placeholder is not among *facts*.
    """
    parts = list(_parts(template))
    for place in range(1, len(parts), 2):
        if parts[place] not in facts:
            raise ValueError(unknown("placeholder", parts[place], facts))
        parts[place] = name_safe(facts[parts[place]])
    return "".join(parts)


@lru_cache
def _parts(template: str) -> tuple[str, ...]:
    """Cut *template* into text, placeholder, text, …, text."""
    return tuple(_PLACEHOLDER.split(template))


def name_safe(value: Any) -> str:
    """Write a value as part of a job name: lower case; lists joined by `x`; other characters become dashes."""
    if isinstance(value, list | tuple):
        return "x".join(name_safe(item) for item in value)
    return _UNSAFE.sub("-", str(value).lower())
