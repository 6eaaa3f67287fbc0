"""Have exports opened and checked on the trainers' Python: every fault, and what is worth knowing, before a job is claimed."""

from __future__ import annotations

import hashlib
import json
import os
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
from cbi_queue.models.parameters.features import FeatureParams

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
    known, prepared = _known(memory), _prepared(requests, hashes)
    keys = [key for key, _ in prepared]
    known |= {key: body for key, body in prepared if "faults" in body}
    todo = [body for key, body in prepared if key not in known]
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


def _prepared(requests: Sequence[Request], hashes: Path | None) -> list[tuple[str, dict[str, Any]]]:
    """Return what decides the answer to each request, and what to ask; where the description is wrong, the answer."""
    remembered, code, prepared = Remembered(hashes), _code_stamp(), []
    for request in requests:
        body: dict[str, Any] = {"path": str(request.path)}
        try:
            choices = read_description(request.path.parent)
        except Refused as exc:
            prepared.append((f"refused {request.path}", {**body, "faults": [exc.message]}))
            continue
        params = FeatureParams.model_validate(request.params).model_dump(mode="json")
        body |= {"params": params, "choices": choices.model_dump(mode="json", exclude={"source"})}
        content = remembered.sha256_of(request.path)
        text = json.dumps([content, body["path"], params, choices.reading(), code], sort_keys=True)
        prepared.append((hashlib.sha256(text.encode()).hexdigest() if content else "", body))
    remembered.save()
    return prepared


def _code_stamp() -> list[tuple[str, int, int]]:
    """Return size and time of change of the files that check an export."""
    spec = find_spec("jobs")
    folders = [Path(place) / "data" for place in (spec.submodule_search_locations or ())] if spec else []
    files = sorted(path for folder in folders for path in folder.glob("*.py"))
    return [(path.name, status.st_size, status.st_mtime_ns) for path in files for status in [path.stat()]]


def _ask(interpreter: str, wanted: Sequence[dict[str, Any]]) -> list[dict[str, Any]] | None:
    try:
        done = subprocess.run(
            [interpreter, "-P", "-m", "jobs.data_check"],
            input=json.dumps(list(wanted)), capture_output=True, text=True, timeout=LONGEST_S, check=False,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # threads cost more than these small sums
        )  # fmt: skip
        bodies: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    if done.returncode == 0 and len(bodies) == len(wanted):
        return bodies
    if "ModuleNotFoundError" in done.stderr or "No module named" in done.stderr or len(bodies) >= len(wanted):
        return None
    # The library itself ended on a file, past every guard: that is the next one without an answer; the others follow.
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    broken = wanted[len(bodies)]["path"]
    fault = f"cannot be read: the data library ended with {last[:200]}"
    rest = _ask(interpreter, wanted[len(bodies) + 1 :]) if len(bodies) + 1 < len(wanted) else []
    return None if rest is None else [*bodies, {"path": broken, "faults": [fault]}, *rest]


def _inspection(body: dict[str, Any]) -> Inspection:
    return Inspection(
        path=body["path"],
        faults=tuple(body.get("faults", ())),
        warnings=tuple(body.get("warnings", ())),
        rows=body.get("rows"),
        body=body,
    )
