"""The file of the fits so far, for models that are fitted again and again: JSON with the checksum of its content.

A fit that was stored is never made again, so a flipped bit in it would become a forecast: like a checkpoint of a net, the
file is believed only when its checksum matches.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from cbi_queue.artifacts import write_atomic
from cbi_queue.regular_files import LARGE, read_whole

if TYPE_CHECKING:
    from pathlib import Path


def write_fits(path: Path, content: dict[str, Any]) -> int:
    """Write *content*, JSON values, whole or not at all; return the bytes of the file.

    Raises:
        OSError: from the file system.
        ValueError: for NaN or infinity.
    """
    file = _as_json({"content": content, "sha256": _checksum(content)})
    write_atomic(path, file)
    return len(file)


def read_fits(path: Path) -> dict[str, Any]:
    """Return what `write_fits` wrote.

    Raises:
        OSError: from the file system, or with what is there instead of a file.
        ValueError: when it is not whole, in words.
    """
    try:
        file = json.loads(read_whole(path, LARGE))
        content: dict[str, Any] = file["content"]
        is_whole = file["sha256"] == _checksum(content)
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise ValueError("it is incomplete or changed") from exc
    if not is_whole:
        raise ValueError("it is incomplete or changed: its content does not match its checksum")
    return content


def _checksum(content: Any) -> str:
    return hashlib.sha256(_as_json(content)).hexdigest()


def _as_json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, allow_nan=False).encode()
