"""The content of a job as text, and its hash: what makes two jobs the same.

Plain values, so that a verb can ask without pydantic, whose import takes as long as the rest of a short verb.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from cbi_queue.datasets.place import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,79}$"
"""Names become folder names: lower case, no separators, no leading dot, at most 80 characters."""

MAX_TIMEOUT_S = 14 * 86400


def canonical_json(fields: Mapping[str, Any]) -> str:
    """Return the fields of a spec as JSON with sorted keys: what is stored and hashed.

    The default data set, an unknown snapshot, no quarantine, no project and what only ensembles have are left out, so
    jobs of older versions keep their identity.
    """
    params = dict(fields["params"])
    body = {**fields, "params": params}
    for place, key, default in (
        (body, "dataset", DEFAULT),
        (body, "snapshot", None),
        (body, "after", ()),
        (body, "combines", None),
        (params, "quarantine_psi", None),
        (params, "project", None),
        (params, "rank_by", None),
        (params, "mlflow", False),
    ):
        if place.get(key, default) == default:
            place.pop(key, None)
    return _canonical(body)


def identity_of(canonical_json: str) -> str:
    """Return the hex SHA-256 of a spec's canonical JSON."""
    return hashlib.sha256(canonical_json.encode()).hexdigest()


def content_of(spec: Mapping[str, Any]) -> str:
    """Return the identity of a stored spec apart from what it reads: equal for the same job on two snapshots."""
    return identity_of(_canonical({key: value for key, value in spec.items() if key not in {"snapshot", "combines"}}))


def on_snapshot(spec: Mapping[str, Any], snapshot: str) -> str:
    """Return the canonical JSON of a stored spec that reads *snapshot* instead."""
    return _canonical({**spec, "snapshot": snapshot})


def combining(spec: Mapping[str, Any], runs: Sequence[str]) -> str:
    """Return the canonical JSON of a stored spec that combines *runs*."""
    return _canonical({**spec, "combines": list(runs)})


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode
