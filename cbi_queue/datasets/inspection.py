"""Have exports opened and checked on the trainers' Python: every fault, and what is worth knowing, before a job is claimed."""

from __future__ import annotations

import hashlib
import json
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import write_json
from cbi_queue.datasets.description import read_description
from cbi_queue.datasets.snapshots import Remembered
from cbi_queue.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_REMEMBERED = 100
"""Answers that are kept."""
LONGEST_S = 300.0
"""Seconds for all exports together; a million rows take about one."""


@dataclass(frozen=True, slots=True)
class Request:
    """One export, as the features job that reads it would."""

    path: Path
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found in one export."""

    path: str
    faults: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    """What a horizon means here, days that are left out, jumps."""
    rows: int | None = None
    """None when the file could not be read that far."""
    body: dict[str, Any] = field(default_factory=dict)
    """Everything that `jobs.data_check` said."""


def inspect_exports(
    interpreter: str, requests: Sequence[Request], memory: Path | None = None, hashes: Path | None = None
) -> list[Inspection] | None:
    """Check every export of *requests*, in their order.

    Args:
        interpreter: the trainers' Python.
        requests: the exports.
        memory: file that remembers what was found, by content: the same bytes are opened once. None: each time.
        hashes: as for `snapshots.look`.

    Returns:
        None when *interpreter* cannot: it does not start, or lacks a library.
    """
    known, keys = _known(memory), _keys(requests, hashes)
    todo = [request for request, key in zip(requests, keys, strict=True) if key not in known]
    answers = _ask(interpreter, todo) if todo else []
    if answers is None:
        return None
    fresh = iter(answers)
    bodies = [known[key] if key in known else next(fresh) for key in keys]
    if todo and memory is not None and memory.parent.is_dir():
        kept = {key: body for key, body in zip(keys, bodies, strict=True) if key and body.get("rows") is not None}
        older = {key: body for key, body in known.items() if key not in kept}
        with suppress(OSError):  # what is remembered only saves time: a full disk must not stop the check
            write_json(memory, dict([*older.items(), *kept.items()][-MOST_REMEMBERED:]))
    return [_inspection(body) for body in bodies]


def _known(memory: Path | None) -> dict[str, dict[str, Any]]:
    try:
        found = json.loads(memory.read_bytes()) if memory is not None else {}
    except (OSError, ValueError, RecursionError):
        return {}
    is_ours = isinstance(found, dict) and all(isinstance(body, dict) and "path" in body for body in found.values())
    return found if is_ours else {}


def _keys(requests: Sequence[Request], hashes: Path | None) -> list[str]:
    """Return what decides the answer to each request, empty where the file cannot be read."""
    remembered, code, keys = Remembered(hashes), _code_stamp(), []
    for request in requests:
        content = remembered.sha256_of(request.path)
        try:
            choices = read_description(request.path.parent).reading()
        except Refused:
            content, choices = None, {}
        parts = [content, str(request.path), request.params, choices, code]
        text = json.dumps(parts, sort_keys=True, default=str)
        keys.append(hashlib.sha256(text.encode()).hexdigest() if content else "")
    remembered.save()
    return keys


def _code_stamp() -> list[tuple[str, int, int]]:
    """Return size and time of change of the files that check an export."""
    spec = find_spec("jobs")
    folders = [Path(place) / "data" for place in (spec.submodule_search_locations or ())] if spec else []
    files = sorted(path for folder in folders for path in folder.glob("*.py"))
    return [(path.name, status.st_size, status.st_mtime_ns) for path in files for status in [path.stat()]]


def _ask(interpreter: str, requests: Sequence[Request]) -> list[dict[str, Any]] | None:
    wanted = [{"path": str(request.path), "params": request.params} for request in requests]
    try:
        done = subprocess.run(
            [interpreter, "-P", "-m", "jobs.data_check"],
            input=json.dumps(wanted), capture_output=True, text=True, timeout=LONGEST_S, check=False,
        )  # fmt: skip
        bodies: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    if done.returncode == 0 and len(bodies) == len(requests):
        return bodies
    if "ModuleNotFoundError" in done.stderr or "No module named" in done.stderr or len(bodies) >= len(requests):
        return None
    # The library itself ended on a file, past every guard: that is the next one without an answer; the others follow.
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    broken = requests[len(bodies)]
    fault = f"cannot be read: the data library ended with {last[:200]}"
    rest = _ask(interpreter, requests[len(bodies) + 1 :]) if len(bodies) + 1 < len(requests) else []
    return None if rest is None else [*bodies, {"path": str(broken.path), "faults": [fault]}, *rest]


def _inspection(body: dict[str, Any]) -> Inspection:
    return Inspection(
        path=body["path"],
        faults=tuple(body.get("faults", ())),
        warnings=tuple(body.get("warnings", ())),
        rows=body.get("rows"),
        body=body,
    )
