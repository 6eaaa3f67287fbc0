"""Named arrays as a safetensors file, in pieces that are the arrays' own memory.

The library's own writer copies every array and then the whole file, and aborts the process when there is no memory for
that. The file: the length of a JSON header in 8 bytes, the header, then each array's bytes, all little-endian. It is
read with the library.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LENGTH_BYTES = 8
"""Bytes at the start of a file that hold the length of its header."""
_ALIGNMENT_BYTES = 8
"""The header is filled up with spaces to a multiple of this, so that the first array is aligned."""
_NAMES = {
    "bool": "BOOL",
    "int8": "I8",
    "uint8": "U8",
    "int16": "I16",
    "uint16": "U16",
    "float16": "F16",
    "int32": "I32",
    "uint32": "U32",
    "float32": "F32",
    "int64": "I64",
    "uint64": "U64",
    "float64": "F64",
    "complex64": "C64",
}
"""numpy's name of a number type -> the format's."""


def pieces_of(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    """Yield the file's content in order. An array is copied only where it is not contiguous, and then alone.

    Args:
        arrays: any shape; number types of at most 8 bytes, the ones that the library reads back.
        metadata: texts stored in the header.

    Raises:
        TypeError: for an array of another type, before anything is yielded.
    """
    # wide types first: each array then begins at a multiple of its item's size
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    yield _header({name: arrays[name] for name in names}, metadata)
    for name in names:
        yield _bytes_of(arrays[name])


def _header(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, array in arrays.items():
        if array.dtype.name not in _NAMES:
            msg = f"array {name!r} is of type {array.dtype}; a tensor file can hold {', '.join(_NAMES)}"
            raise TypeError(msg)
        begin, end = end, end + array.nbytes
        entries[name] = {"dtype": _NAMES[array.dtype.name], "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT_BYTES)
    return len(text).to_bytes(LENGTH_BYTES, "little") + text


def _bytes_of(array: np.ndarray) -> memoryview:
    little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return np.ascontiguousarray(little_endian).reshape(-1).view(np.uint8).data
