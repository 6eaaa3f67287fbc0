"""The checkpoints of one job: written whole or not at all, verified before use, the last two kept.

A checkpoint is one safetensors file of arrays and JSON facts; nothing in it is executable and nothing is pickled. Its
name is `checkpoint-<sequence>-<sha256 of the file>.safetensors`: the sequence orders (exFAT keeps times to two seconds,
so times order nothing), the checksum detects an incomplete file. Knows no ML library and not what the arrays mean.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import safetensors.numpy

from cbi_queue.artifacts import atomic_file, flush_folder
from cbi_queue.regular_files import check_folder, plain_words, read_whole
from jobs.training.tensor_file import LENGTH_BYTES, pieces_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FORMAT = 1
MAX_BYTES = 1 << 32
"""Bytes that a checkpoint may have; those of the nets here have a few million."""
KEPT = 2
"""Checkpoints kept: the newest, and the one that is used when the newest is damaged."""

_NAME = re.compile(r"checkpoint-(\d{8,})-([0-9a-f]{64})\.safetensors")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a training has come, and all that it takes to continue from there."""

    epoch: int
    """Finished epochs (rounds, fits)."""
    step: int
    """Finished steps of the epoch after those; 0 between epochs."""
    facts: dict[str, Any]
    """Plain JSON values."""
    arrays: dict[str, np.ndarray]
    """Any shape; booleans, integers, floats of 2 to 8 bytes."""

    def arrays_of(self, owner: str) -> dict[str, np.ndarray]:
        """Return the arrays called `<owner>.<name>`, by name."""
        start = f"{owner}."
        return {name.removeprefix(start): array for name, array in self.arrays.items() if name.startswith(start)}


class Saved(NamedTuple):
    """A checkpoint that is on disk."""

    path: Path
    bytes: int
    wall_s: float


class Found(NamedTuple):
    """What `load_latest` found: the newest usable checkpoint, if any, and the newer ones that were not."""

    state: Checkpoint | None
    path: Path | None
    rejected: tuple[str, ...]
    """'<file>: <why>', newest first."""


class CheckpointFolder:
    """The checkpoints of one spec in one folder, shared by its attempts."""

    def __init__(self, folder: Path, identity: str) -> None:
        """Use *folder*, made at the first save, for checkpoints of the spec *identity*; others are refused."""
        self.folder = folder
        self._identity = identity
        self._trusted: list[Path] = []

    def save(self, checkpoint: Checkpoint) -> Saved:
        """Write *checkpoint*, flush it to the drive, then delete all but the last two that are known to be whole.

        The arrays are written from their own memory, without a copy. None may change until this returns.

        Raises:
            OSError: from the file system (no space, volume gone); the earlier checkpoints then remain.
        """
        started = time.monotonic()
        checksum, size = hashlib.sha256(), 0
        for piece in _pieces(checkpoint, self._identity):
            checksum.update(piece)
            size += len(piece)
        self._make_folder()
        path = self.folder / f"checkpoint-{self._next_sequence():08d}-{checksum.hexdigest()}.safetensors"
        with atomic_file(path) as part, part.open("wb") as file:
            file.writelines(_pieces(checkpoint, self._identity))
        self._trusted = [*self._trusted, path][-KEPT:]
        self._prune()
        return Saved(path, size, time.monotonic() - started)

    def load_latest(self, misfit: Callable[[Checkpoint], str | None] = lambda _checkpoint: None) -> Found:
        """Return the newest checkpoint that is whole, of this spec and usable.

        Args:
            misfit: returns why a whole checkpoint cannot be used here, or None when it can.

        Raises:
            FileNotFoundError: when the run's folder is gone: an unmounted volume is no reason to start from nothing.
        """
        if not self.folder.parent.is_dir():
            raise FileNotFoundError(
                errno.ENOENT, "the run's folder does not exist; is its volume mounted?", str(self.folder)
            )
        rejected: list[str] = []
        for path in reversed(self._paths()):
            try:
                state = self._read(path)
                why = misfit(state)
            except (_RejectedError, OSError) as exc:
                why = plain_words(exc)
            if why is None:
                self._trusted = [path]
                return Found(state, path, tuple(rejected))
            rejected.append(f"{path.name}: {why}")
        return Found(None, None, tuple(rejected))

    def _make_folder(self) -> None:
        """Make the folder, never its parents: a missing parent means that the volume is gone."""
        check_folder(self.folder)
        if not self.folder.is_dir():
            self.folder.mkdir(exist_ok=True)
            flush_folder(self.folder.parent)

    def _paths(self) -> list[Path]:
        """Return the checkpoints by rising sequence, without other files (`.part`, macOS's `._` files)."""
        if not self.folder.is_dir():
            return []
        return sorted((path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)), key=_sequence)

    def _next_sequence(self) -> int:
        return max((_sequence(path) for path in self._paths()), default=0) + 1

    def _read(self, path: Path) -> Checkpoint:
        content = read_whole(path, MAX_BYTES)
        if path.name.split("-")[2].removesuffix(path.suffix) != hashlib.sha256(content).hexdigest():
            msg = f"incomplete or changed: its {len(content)} bytes do not match the checksum in its name"
            raise _RejectedError(msg)
        return _decode(content, self._identity)

    def _prune(self) -> None:
        """Delete old ones once two are known to be whole; until then any of them may be needed."""
        if len(self._trusted) < KEPT:
            return
        for path in self._paths():
            if path not in self._trusted:
                with contextlib.suppress(OSError):  # one too many does no harm, and the next save tries again
                    path.unlink()


def digest_of(sequence_length: int, x: np.ndarray, y: np.ndarray, *row_blocks: np.ndarray) -> str:
    """Return a digest of the data and the blocks trained on: a checkpoint of other data must not be continued.

    Args:
        sequence_length: rows of a window.
        x: features, any shape.
        y: labels.
        row_blocks: row numbers of each block.
    """
    seen = hashlib.sha256(f"L={sequence_length} x={x.shape}".encode())
    for array in (x, y, *row_blocks):
        seen.update(np.ascontiguousarray(array).tobytes())
    return seen.hexdigest()


class _RejectedError(Exception):
    """A checkpoint cannot be used; the message says why."""


def _sequence(path: Path) -> int:
    return int(path.name.split("-")[1])


def _pieces(checkpoint: Checkpoint, identity: str) -> Iterator[bytes | memoryview]:
    facts = {
        "format": FORMAT,
        "identity": identity,
        "epoch": checkpoint.epoch,
        "step": checkpoint.step,
        "facts": checkpoint.facts,
    }
    metadata = {"checkpoint": json.dumps(facts, sort_keys=True, allow_nan=False)}
    return pieces_of(checkpoint.arrays, metadata)


def _decode(content: bytes, identity: str) -> Checkpoint:
    body = _facts_in(content)
    if body.get("format") != FORMAT:
        msg = f"in format {body.get('format')!r}; this version reads format {FORMAT}"
        raise _RejectedError(msg)
    if body["identity"] != identity:
        msg = f"of another spec: its identity is {body['identity'][:12]}, this job's is {identity[:12]}"
        raise _RejectedError(msg)
    return Checkpoint(body["epoch"], body["step"], body["facts"], safetensors.numpy.load(content))


def _facts_in(content: bytes) -> dict[str, Any]:
    """Read our facts from the file's header; safetensors' own reader of bytes omits them."""
    length = int.from_bytes(content[:LENGTH_BYTES], "little")
    try:
        header = json.loads(content[LENGTH_BYTES : LENGTH_BYTES + length])
        facts: dict[str, Any] = json.loads(header["__metadata__"]["checkpoint"])
    except (ValueError, KeyError, TypeError) as exc:
        msg = f"not written by cbi-queue ({exc!r})"
        raise _RejectedError(msg) from exc
    return facts
