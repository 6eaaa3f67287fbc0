"""Headlines as `text import` stored them, and the scores that FinBERT gave their texts.

A score belongs to a text, read by certain weights up to a certain length: whatever day a headline is from, and
however often it comes, its text is scored once. Scores of other weights stay in the file until it is deleted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from cbi_queue.artifacts import atomic_file, sha256_of
from cbi_queue.datasets.headlines import FILE
from cbi_queue.regular_files import check_file, plain_words
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np

    from cbi_queue.datasets.headlines import Headlines

PUBLISHED, TEXT = "published_at", "text"
SCHEMA = pa.schema([(PUBLISHED, pa.timestamp("us", tz="UTC")), (TEXT, pa.string())])
_SCORES = pa.schema(
    [
        ("text_sha256", pa.binary(32)),
        ("model_sha256", pa.string()),
        ("max_length", pa.int32()),
        ("positive", pa.float32()),
        ("negative", pa.float32()),
    ]
)
Score = tuple[float, float]
"""P(positive) and P(negative)."""
Owner = tuple[str, int]
"""SHA-256 of the weights, and tokens that were read."""


@dataclass(frozen=True, slots=True)
class Read:
    """The headlines of one data set, by rising time."""

    published: np.ndarray
    """(n,) int64, microseconds since 1970, UTC."""
    texts: tuple[str, ...]

    @property
    def keys(self) -> list[bytes]:
        """What each text is known by in the file of the scores."""
        return [key_of(text) for text in self.texts]


def key_of(text: str) -> bytes:
    """Return the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).digest()


def read_headlines(exports_dir: Path, chosen: Headlines | None) -> Read:
    """Read the headlines that the data set's description speaks of.

    Raises:
        BrokenSpec: when there are none, or they are not those that were imported.
    """
    path = exports_dir / FILE
    again = "`cbi-queue text import FILE` brings them in"
    if chosen is None:
        raise BrokenSpec(f"the data set in {exports_dir} has no headlines; {again}")
    try:
        check_file(path)
        if not path.is_file():
            raise BrokenSpec(f"{path} is missing; {again} again")
        if sha256_of(path) != chosen.sha256:
            raise BrokenSpec(f"{path} is not the file that `cbi-queue text import` wrote; {again} again")
        table = pq.read_table(path, schema=SCHEMA)
    except (OSError, pa.ArrowException) as exc:
        if isinstance(exc, OSError) and exc.errno is not None and not path.is_symlink():
            raise
        raise BrokenSpec(f"{path} cannot be read: {' '.join(plain_words(exc).split())[:200]}; {again} again") from exc
    published = table[PUBLISHED].cast(pa.int64()).to_numpy()
    return Read(published, tuple(table[TEXT].to_pylist()))


def read_scores(path: Path) -> dict[Owner, dict[bytes, Score]]:
    """Read every score in *path*; none when there is no such file.

    Raises:
        ValueError: when it is damaged, in words; scores are then made again.
    """
    found: dict[Owner, dict[bytes, Score]] = {}
    try:
        check_file(path)
        if not path.exists():
            return found
        table = pq.read_table(path, schema=_SCORES, page_checksum_verification=True)
    except (OSError, pa.ArrowException) as exc:
        raise ValueError(f"{path} cannot be read ({' '.join(plain_words(exc).split())[:200]})") from exc
    for key, model, length, positive, negative in zip(
        *(table[name].to_pylist() for name in _SCORES.names), strict=True
    ):
        found.setdefault((model, length), {})[key] = (positive, negative)
    return found


def write_scores(path: Path, scores: Mapping[Owner, Mapping[bytes, Score]]) -> int:
    """Write every score, the file whole or not at all; return its bytes."""
    rows = [(key, *owner, *score) for owner, of in scores.items() for key, score in of.items()]
    columns = list(zip(*rows, strict=True)) or [()] * len(_SCORES)
    table = pa.table([pa.array(column, kind) for column, kind in zip(columns, _SCORES.types, strict=True)], _SCORES)
    with atomic_file(path) as part:
        pq.write_table(table, part, compression="zstd", compression_level=1, write_page_checksum=True)
        return part.stat().st_size
