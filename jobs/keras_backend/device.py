"""TensorFlow and Keras, imported once and here: what a broken runtime says, threads, repeatability, precision, device.

Every other module of the Keras backend takes `tf` and `keras` from here, so that a missing library or a Metal plug-in
that does not fit ends the job with the remedy, before anything else is done. Neighbours: `jobs.keras_backend.parity`, which
chooses the device; `cbi_queue.runtimes`, which makes the runtime.
"""

from __future__ import annotations

import gc
import os
import sys
from dataclasses import dataclass

from jobs.trainer import BrokenRuntime

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # its word about the processor's instructions is of no use
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ["KERAS_BACKEND"] = "tensorflow"  # Keras on torch is 30 times slower for an LSTM

try:
    import tensorflow as tf
except Exception as exc:
    words = " ".join(str(exc).split())[:240]
    msg = (
        f"{sys.executable} cannot import TensorFlow ({type(exc).__name__}: {words}); make its runtime anew with "
        "`cbi-queue runtime install tensorflow`, or write `backend: torch` into the plan"
    )
    raise BrokenRuntime(msg) from exc

import keras

__all__ = [
    "Placement",
    "clear",
    "compute_repeatably",
    "gpu_name",
    "keras",
    "set_policy",
    "tf",
]

POLICIES = {"float32": "float32", "float16": "mixed_float16", "bfloat16": "mixed_bfloat16"}
"""What nets compute in -> Keras' name for it; weights stay float32."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and in what a run computes, and what was refused on the way there."""

    device: str
    """cpu | mps | cuda."""
    precision: str
    """float32 | bfloat16 | float16."""
    refusals: tuple[str, ...] = ()
    """Sentences for people."""

    def scope(self):
        """Return TensorFlow's context in which everything is placed on the device."""
        return tf.device("/CPU:0" if self.device == "cpu" else "/GPU:0")


def compute_repeatably(threads: int, seed: int) -> None:
    """Compute with *threads* threads, repeatable operations, and first weights that follow from *seed*.

    Threads can only be set before TensorFlow has done anything; a second run in one process keeps the first one's.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        pass
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def set_policy(precision: str) -> None:
    """Make Keras compute in *precision* from here on."""
    keras.mixed_precision.set_dtype_policy(POLICIES[precision])


def gpu_name() -> str | None:
    """Return what our devices call the GPU that TensorFlow sees, `mps` or `cuda`; None when it sees none."""
    if not tf.config.list_physical_devices("GPU"):
        return None
    return "mps" if sys.platform == "darwin" else "cuda"


def clear() -> None:
    """Forget every graph and name, and give back what they held."""
    keras.backend.clear_session()
    gc.collect()
