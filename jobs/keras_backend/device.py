"""TensorFlow and Keras, imported once and here: threads, repeatability, precision, device.

Every other module of the Keras backend takes `tf` and `keras` from here, so that a missing library or a tensorflow-metal
that does not fit fails the job with the remedy, before anything else is done.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

from jobs.trainer import BrokenRuntime

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # leaves out its message about the processor's instructions
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ["KERAS_BACKEND"] = "tensorflow"  # Keras on torch is 30 times slower for an LSTM

try:
    import tensorflow as tf
except Exception as exc:
    words = " ".join(str(exc).split())[:240]
    msg = (
        f"{sys.executable} cannot import TensorFlow ({type(exc).__name__}: {words}); install its runtime again with "
        "`cbi-queue runtime install tensorflow`, or write `backend: torch` into the plan"
    )
    raise BrokenRuntime(msg) from exc

import keras

__all__ = [
    "clear",
    "compute_repeatably",
    "gpu_name",
    "keras",
    "scope",
    "set_policy",
    "tf",
]

POLICIES = {"float32": "float32", "float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}
"""Precision -> Keras' name for it; weights stay float32."""


def scope(device: str) -> AbstractContextManager[object]:
    """Return TensorFlow's context that places everything on *device*: cpu | mps | cuda."""
    context: AbstractContextManager[object] = tf.device("/CPU:0" if device == "cpu" else "/GPU:0")
    return context


def compute_repeatably(threads: int, seed: int) -> None:
    """Compute with *threads* threads, repeatable operations, and first weights that depend on *seed* alone.

    Threads can only be set before TensorFlow has done anything; a second run in one process keeps those of the first.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        pass
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def set_policy(precision: str) -> None:
    """Make Keras compute in *precision* from now on."""
    keras.mixed_precision.set_dtype_policy(POLICIES[precision])


def gpu_name() -> str | None:
    """Return what our devices call the GPU that TensorFlow sees, `mps` or `cuda`; None when it sees none."""
    if not tf.config.list_physical_devices("GPU"):
        return None
    return "mps" if sys.platform == "darwin" else "cuda"


def clear() -> None:
    """Discard every graph and name, and free what they held."""
    keras.backend.clear_session()
    gc.collect()
