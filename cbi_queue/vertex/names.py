"""The two names of a package, one for commands and one for people, and its version, found by looking at what exists.

`cbi-zl-1m-v01` and "CBI V14 Vertex \N{EN DASH} Neural 1M v01"; an endpoint has a pair of its own and keeps it from version to version.
Pure but for `versions_in`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cbi_queue.datasets.place import DEFAULT, ROOM
from cbi_queue.models.kinds import Family

if TYPE_CHECKING:
    from pathlib import Path

TITLE = "CBI V14 Vertex \N{EN DASH}"
COMMODITY = "zl"
"""Soybean oil: what the default data set is about."""
MOST_ID_CHARACTERS = 40
"""Of the data set's part of a model's id, which may have 63 in all."""
_KIND_WORDS = {
    Family.TREES: "Trees",
    Family.SIMPLE_NEURAL: "Neural",
    Family.ADVANCED_NEURAL: "Neural",
}
_VERSION = re.compile(r"v(\d{2,6})\Z")


@dataclass(frozen=True, slots=True)
class Names:
    """What one package is called."""

    version: str
    """`v01`."""
    model_id: str
    display_name: str
    endpoint_id: str
    endpoint_name: str
    bucket_path: str
    """Below the bucket: `1m/v01`."""


def names_of(family: str, horizon: str, dataset: str, number: int) -> Names:
    """Return the names of version *number* of a model of *family*."""
    version = f"v{number:02d}"
    stem = f"cbi-{_slug(dataset)}-{horizon}"
    kind = _KIND_WORDS.get(Family(family), Family(family).value.replace("_", " ").capitalize())
    of = "" if dataset == DEFAULT else f" ({dataset})"
    shelf = shelf_name(horizon, dataset)
    return Names(
        version,
        model_id=f"{stem}-{version}",
        display_name=f"{TITLE} {kind} {horizon.upper()} {version}{of}",
        endpoint_id=f"{stem}-endpoint",
        endpoint_name=f"{TITLE} {horizon.upper()} Endpoint{of}",
        bucket_path=f"{shelf}/{version}",
    )


def shelf_name(horizon: str, dataset: str) -> str:
    """Return where the versions of one horizon lie below `vertex-ai`: `1m`, or `datasets/NAME/1m`."""
    return horizon if dataset == DEFAULT else f"{ROOM}/{dataset}/{horizon}"


def _slug(dataset: str) -> str:
    """Return the data set's part of an id: letters, digits and hyphens. A long name is cut, and its hash keeps it apart."""
    if dataset == DEFAULT:
        return COMMODITY
    safe = dataset.replace(".", "-").replace("_", "-")
    if safe == dataset and len(safe) <= MOST_ID_CHARACTERS and safe != COMMODITY:
        return safe
    return f"{safe[: MOST_ID_CHARACTERS - 9]}-{hashlib.sha256(dataset.encode()).hexdigest()[:8]}"


def versions_in(shelf: Path) -> list[int]:
    """Return the numbers of the versions that lie in *shelf*, rising; none where it does not exist."""
    if not shelf.is_dir():
        return []
    return sorted(int(found[1]) for path in shelf.iterdir() if (found := _VERSION.match(path.name)))
