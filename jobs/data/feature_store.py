"""The feature cache's two files per horizon, and when they may be used.

`<horizon>_features.parquet` holds the columns; `<horizon>_features.manifest.json`, written after it, records what it was
built from (SHA-256 of the export, the parameters, the code) and its checksum. After a crash between the two the checksum
does not match, and both are built again. Writers are `jobs.families.feature_cache` and, for a damaged one, `cache_repair`.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import sha256_of, write_json
from cbi_queue.datasets.choices import no_returns_words
from cbi_queue.datasets.place import manifest_path
from cbi_queue.datasets.snapshots import built_from
from cbi_queue.models.catalogue import MODELS
from cbi_queue.regular_files import LARGE, read_whole
from jobs.data.label import Label
from jobs.trainer import BrokenSpec

if TYPE_CHECKING:
    from cbi_queue.spec import JobSpec

FEATURE_CODE_VERSION = 1
"""Raise it when features change for a reason outside the files below."""
_CODE = (
    "as_of.py",
    "columns.py",
    "export_check.py",
    "export_file.py",
    "feature_names.py",
    "feature_cap.py",
    "features.py",
    "news.py",
    "rolling_moments.py",
    "safe_names.py",
)
"""Files of this package whose text decides what a feature is."""


@dataclass(frozen=True, slots=True)
class CacheFiles:
    """Where one horizon's cache lives."""

    parquet: Path
    manifest: Path

    def read_manifest(self) -> dict[str, Any] | None:
        """Return the manifest, or None when there is none, it is a link, or it cannot be read."""
        try:
            if not _is_own_file(self.manifest):
                return None
            body = json.loads(read_whole(self.manifest, LARGE))
        except (OSError, ValueError):
            return None
        return body if isinstance(body, dict) else None

    def why_not_reusable(self, key: dict[str, Any]) -> str | None:
        """Return None when the cache was built from *key* and is whole, else the reason in words."""
        body = self.read_manifest()
        if body is None:
            return "there is no cache yet" if not self.parquet.exists() else "the cache has no readable manifest"
        if changed := sorted(name for name, value in key.items() if body.get(name) != value):
            return f"{', '.join(changed)} changed"
        return self._damage_of_parquet(body)

    def damage(self) -> str | None:
        """Return what is wrong with the cache, in words; None when it is whole, or when there is none at all."""
        body = self.read_manifest()
        if body is not None:
            return self._damage_of_parquet(body)
        if not os.path.lexists(self.parquet) and not os.path.lexists(self.manifest):
            return None
        return f"its manifest is {'damaged, or a link' if os.path.lexists(self.manifest) else 'missing'}"

    def _damage_of_parquet(self, body: dict[str, Any]) -> str | None:
        if not os.path.lexists(self.parquet):
            return "the cache's Parquet file is missing"
        if not _is_own_file(self.parquet):
            return "the cache's Parquet file is a link, or no regular file"
        if sha256_of(self.parquet) != body.get("output_sha256"):
            return "the cache's Parquet file does not match its checksum"
        return None

    def write_manifest(self, body: dict[str, Any]) -> None:
        """Complete the pair; call it last."""
        write_json(self.manifest, body)

    def remove_leftovers(self) -> None:
        """Remove the unfinished files of a killed build. Only one trainer runs at a time, so none is being written."""
        for final in (self.parquet, self.manifest):
            for part in final.parent.glob(f".{final.name}.*.part"):
                part.unlink(missing_ok=True)


def _is_own_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def cache_files(processed_dir: Path, horizon: str) -> CacheFiles:
    """Return the two files of *horizon*."""
    return CacheFiles(processed_dir / f"{horizon}_features.parquet", manifest_path(processed_dir, horizon))


def cache_key(
    source_sha256: str, params: dict[str, Any], snapshot: str | None = None, scores_sha256: str | None = None
) -> dict[str, Any]:
    """Return everything that decides the cache's content: equal keys, equal columns.

    Args:
        source_sha256: of the export.
        params: of the features job.
        snapshot: of the data set.
        scores_sha256: of the scores of its headlines, where it has some.
    """
    scores = {"headline_scores": scores_sha256} if scores_sha256 else {}
    return scores | {
        "source_sha256": source_sha256,
        "snapshot": snapshot or source_sha256,
        "params": params,
        "code_version": code_version(),
    }


def check_snapshot(processed_dir: Path, spec: JobSpec) -> str | None:
    """Return which snapshot a model is going to train on; None when the features do not say.

    Raises:
        BrokenSpec: when it is another one than the job was enqueued for.
    """
    built = built_from(processed_dir, spec.horizon)
    if built is None or spec.snapshot in {None, built}:
        return built
    raise BrokenSpec(
        f"the features of {spec.horizon} in {processed_dir} are of snapshot {built[:8]}, and this job was enqueued for "
        f"{str(spec.snapshot)[:8]}; `cbi-queue retry {spec.name}` trains it on the features as they are"
    )


def check_returns(processed_dir: Path, spec: JobSpec) -> None:
    """Check that the features are of a price with log returns, where the model needs them.

    Raises:
        BrokenSpec: when they are not.
    """
    manifest = cache_files(processed_dir, spec.horizon).read_manifest() or {}
    if MODELS[spec.model].needs_returns and not Label(manifest.get("label", Label.LOG_RETURN)).is_relative:
        raise BrokenSpec(no_returns_words(spec.model, spec.dataset))


def code_version() -> str:
    """Return `<FEATURE_CODE_VERSION>-<SHA-256 over the feature code>`."""
    digest = hashlib.sha256()
    for name in _CODE:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return f"{FEATURE_CODE_VERSION}-{digest.hexdigest()[:16]}"
