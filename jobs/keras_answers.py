"""`python -m jobs.keras_answers MODEL.keras`: a trained Keras net, on the Python that has Keras. Arrays in, arrays out.

Run by a forecast or an export, whose own Python has no TensorFlow. Standard output: first the weights, layer by layer, as
npz with the names LAYER.NUMBER; then, for each (n, L, I) float32 npy of standard input, the (n,) float32 npy of what the
net forecasts. Every array is preceded by its length, eight bytes. What libraries print goes to standard error.
"""

from __future__ import annotations

import io
import os
import sys
from typing import IO, Any

import numpy as np

from cbi_queue.regular_files import failure_of
from jobs.trainer import BrokenRuntime

LENGTH_BYTES = 8
WINDOWS_AT_ONCE = 256


def write_frame(stream: IO[bytes], content: bytes) -> None:
    """Write *content* after its length."""
    stream.write(len(content).to_bytes(LENGTH_BYTES, "big") + content)
    stream.flush()


def read_frame(stream: IO[bytes]) -> bytes | None:
    """Return the next content; None at the end, and where it ends too early."""
    length = stream.read(LENGTH_BYTES)
    content = stream.read(int.from_bytes(length, "big")) if len(length) == LENGTH_BYTES else b""
    return content if content and len(content) == int.from_bytes(length, "big") else None


def as_npy(values: np.ndarray) -> bytes:
    """Return an array as a file of numpy."""
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=False)
    return stream.getvalue()


def from_npy(content: bytes) -> np.ndarray:
    """Return the array of a file of numpy."""
    return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))


def main() -> int:
    """Answer until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        from jobs.keras_backend.device import keras

        net = _in_single_precision(keras, sys.argv[1])
    except Exception as exc:  # noqa: BLE001 - whatever a library raises is the reason
        print(exc if isinstance(exc, BrokenRuntime) else f"{failure_of(exc):.240}", file=sys.stderr)
        return 1
    weights = io.BytesIO()
    layers = [layer.get_weights() for layer in net.layers]
    kept = [arrays for arrays in layers if arrays]  # dropout and flattening have none
    np.savez(weights, **{f"{at}.{n}": value for at, arrays in enumerate(kept) for n, value in enumerate(arrays)})
    write_frame(answers, weights.getvalue())
    while (content := read_frame(sys.stdin.buffer)) is not None:
        windows = from_npy(content)  # (n, L, I)
        parts = [
            np.asarray(net(windows[at : at + WINDOWS_AT_ONCE], training=False), dtype=np.float32)
            for at in range(0, len(windows), WINDOWS_AT_ONCE)
        ]
        write_frame(answers, as_npy(np.concatenate(parts)[:, 0]))
    return 0


def _in_single_precision(keras: Any, path: str) -> Any:
    """Load the net; one that was trained in half precision computes in single here, as a package does."""
    net = keras.models.load_model(path, compile=False, safe_mode=True)
    told = net.to_json()
    if "mixed_" not in told:
        return net
    same = keras.models.model_from_json(told.replace("mixed_float16", "float32").replace("mixed_bfloat16", "float32"))
    same.set_weights(net.get_weights())
    return same


if __name__ == "__main__":
    sys.exit(main())
