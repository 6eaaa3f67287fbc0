"""Add the parameters that decide what a sample costs to a fingerprint: only runs of equal cost are compared with each other.

Trainers name shapes, rows, device, threads and library; without the parameters, a cheap variant would become the cold
baseline of an expensive one. Which parameters do not change the cost is in the model's catalogue row.
"""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cbi_queue.protocol import Started
    from cbi_queue.spec import JobSpec


def with_cost(started: Started, spec: JobSpec) -> Started:
    """Return *started* with the parameters that decide the cost of a sample in its fingerprint, where it has one."""
    if started.fingerprint is None:
        return started
    model = spec.entry
    params = spec.typed_params.model_dump(mode="json", exclude=set(model.same_cost))
    params = {name: bool(value) if name in model.same_cost_unless_zero else value for name, value in params.items()}
    digest = sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:8]
    return replace(started, fingerprint=f"{started.fingerprint} params={digest}")
